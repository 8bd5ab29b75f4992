"""Whoever must act hears it once: failures, waits without end, conditions that last, rows that cannot be read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from tests.unit.handlers.simulated_aws import Cloud, Version, invoke, without_copying
from tests.unit.handlers.test_release_simulation import play, with_first_release

TICK = timedelta(minutes=15)
DAY = 24 * 4


@pytest.fixture(autouse=True)
def no_copying() -> Iterator[None]:
    with without_copying():
        yield


def last(cloud: Cloud) -> dict[str, Any]:
    return cloud.rows[max(key for key in cloud.rows if key.startswith("decision#"))]


def look(cloud: Cloud, ticks: int) -> None:
    for _ in range(ticks):
        cloud.now += TICK
        invoke(cloud)


@pytest.mark.parametrize(
    "operation",
    [
        "create_change_set",
        "set_stack_policy",
        "describe_change_set",
        "put_parameter",
        "describe_model_package",
        "describe_endpoint",
        "describe_stacks",
    ],
)
def test_a_denied_call_is_a_row_and_one_sentence_until_it_is_allowed(operation: str) -> None:
    cloud = with_first_release()
    play(cloud, ("approve", 1))
    cloud.denied = operation
    look(cloud, DAY)
    told = len(cloud.alerts)
    assert told == len(set(cloud.alerts))
    assert told == (2 if operation == "put_parameter" else 1), "what was begun is told to be undone"
    assert any(f"{operation} answered AccessDenied" in alert for alert in cloud.alerts)
    assert last(cloud)["step"]["S"] in {"Failed", "Abandon"}
    cloud.denied = ""
    look(cloud, 1)
    cloud.finish("success")
    look(cloud, 2)
    assert cloud.serves == 2
    assert len(cloud.alerts) == told
    cloud.denied = "describe_endpoint"
    look(cloud, 2)
    assert len(cloud.alerts) == told + 1, "a failure that was resolved and comes back is news"


def test_an_unreadable_alarm_history_keeps_no_release_from_being_rolled_back() -> None:
    cloud = with_first_release()
    play(cloud, ("approve", 1))
    invoke(cloud)
    cloud.finish("stack rolls back")
    cloud.denied = "describe_alarm_history"
    look(cloud, 1)
    assert "quarantine#000002" in cloud.rows
    assert "v2-00000002 was rolled back" in cloud.alerts[0]


def test_a_condition_that_lasts_is_told_once_while_the_endpoint_scales() -> None:
    cloud = with_first_release()
    cloud.policy = json.dumps({"pin": {"version": 1, "until": "2026-01-01", "reason": "audit"}})
    for _ in range(DAY):
        look(cloud, 1)
        cloud.busy = not cloud.busy
    assert len(cloud.alerts) == 1
    cloud.busy, cloud.policy = False, "{}"
    look(cloud, 1)
    cloud.policy = json.dumps({"pin": {"version": 1, "until": "2026-01-01", "reason": "audit"}})
    look(cloud, 2)
    assert len(cloud.alerts) == 2


def endpoint_hangs(cloud: Cloud) -> None:
    cloud.busy = True


def stack_hangs(cloud: Cloud) -> None:
    cloud.stack.status = "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"


def lease_by_hand(cloud: Cloud) -> None:
    names = {"owner": {"S": "ada"}, "purpose": {"S": "holiday"}}
    cloud.rows["lease"] = names | {"acquired_at": {"N": "0"}, "expires_at": {"N": "9999999999"}}


@pytest.mark.parametrize("hang", [endpoint_hangs, stack_hangs, lease_by_hand])
def test_a_wait_without_an_end_is_told_once(hang: Any) -> None:
    cloud = with_first_release()
    hang(cloud)
    play(cloud, ("reject", 0))
    look(cloud, 11)
    assert cloud.alerts == []
    look(cloud, 3 * DAY)
    (told,) = cloud.alerts
    assert "for more than 3 hours" in told
    assert "Overdue" in {row["step"]["S"] for key, row in cloud.rows.items() if key.startswith("decision#")}


@pytest.mark.parametrize("at", [{}, {"at": {"S": "yesterday"}}, {"at": {"N": "1"}}])
def test_a_damaged_quarantine_never_frees_its_version(at: dict[str, Any]) -> None:
    cloud = with_first_release()
    cloud.rows["quarantine#000002"] = {"pk": {"S": "x"}, "sk": {"S": "quarantine#000002"}, **at}
    cloud.packages[2] = Version("Approved", cloud.now)
    look(cloud, 4)
    assert (cloud.serves, cloud.stack.pending) == (1, None)


def test_a_damaged_approval_is_named_once_and_keeps_nothing_from_its_release() -> None:
    cloud = with_first_release()
    cloud.rows["approval#000009"] = {"pk": {"S": "x"}, "sk": {"S": "approval#000009"}, "at": {"S": "yesterday"}}
    play(cloud, ("approve", 1))
    look(cloud, 4)
    cloud.finish("success")
    look(cloud, 4)
    assert cloud.serves == 2
    (told,) = cloud.alerts
    assert "the ledger has rows that cannot be read: approval#000009" in told


def test_rows_without_a_zone_or_a_schema_are_read() -> None:
    cloud = with_first_release()
    row = {"sk": {"S": "quarantine#000002"}, "at": {"S": "2030-01-01T00:00:00"}, "reason": {"S": "old"}}
    cloud.rows["quarantine#000002"] = {"pk": {"S": "x"}, **row}
    play(cloud, ("approve", 1))
    look(cloud, 2)
    assert cloud.stack.pending is None
    assert not [alert for alert in cloud.alerts if "cannot" in alert]


@pytest.mark.parametrize("policy", ["{}", json.dumps({"approval": "life-cycle"})])
def test_a_look_costs_the_same_however_many_versions_are_approved(policy: str) -> None:
    def calls_of_a_look(versions: int) -> int:
        cloud = with_first_release()
        cloud.policy = policy
        cloud.packages[1] = Version("Approved", cloud.now, life_cycle="Production/Approved")
        for version in range(2, versions):
            cloud.packages[version] = Version("Approved", cloud.now)
        cloud.stack.status = "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"
        look(cloud, 1)
        before = cloud.calls
        look(cloud, 1)
        return cloud.calls - before

    assert calls_of_a_look(300) == calls_of_a_look(3) <= 20
