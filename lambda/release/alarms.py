"""The alarm that rolled a release back, and its figure."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shared.clients import Alarms
    from shared.ledger import Lease

# docs/reference/contracts.md, "Names". constructs/mlops/serving creates the alarms.
_KINDS = ("5xx", "latency")


def rollback_alarm_name(endpoint: str, release_id: str, kind: str = "5xx") -> str:
    """Return the name of a rollback alarm of a release."""
    return f"{endpoint}-{release_id}-{kind}"


def rollback_alarm(cloudwatch: Alarms, endpoint: str, lease: Lease) -> str:
    """Return which rollback alarm of a release went off, and why, in a clause; "" for none.

    The alarm's history is read, because CloudFormation deletes the alarms with the release that it rolls back.
    CloudWatch keeps the history of a deleted alarm.
    """
    for kind in _KINDS:
        name = rollback_alarm_name(endpoint, lease.release_id, kind)
        items = cloudwatch.describe_alarm_history(
            AlarmName=name,
            HistoryItemType="StateUpdate",
            StartDate=datetime.fromtimestamp(lease.acquired_at, UTC),
            ScanBy="TimestampAscending",
            MaxRecords=50,
        )["AlarmHistoryItems"]
        for item in items:
            state = _new_state(item)
            if state.get("stateValue") == "ALARM":
                return f"the alarm {name} went off ({str(state.get('stateReason', 'no reason given')).rstrip('.')})"
    return ""


def _new_state(item: dict[str, Any]) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(item["HistoryData"]).get("newState", {})
    return state
