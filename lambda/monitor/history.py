"""What was found before and what was done about it, out of the ledger, for the reports."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from shared.verdict import Verdict, Verdicts

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef

_DAYS = 60
_DEEDS = 6
# Rows are written at each tick, too, and most of them say that nothing is to be done.
_LOOKED_AT = 400
_QUIET = ("Nothing", "Wait", "Overtaken")


@dataclass(frozen=True)
class Decision:
    """A controller's decision: when (ISO), which step, and why."""

    at: str
    step: str
    reason: str


@dataclass(frozen=True)
class History:
    """Verdicts on earlier windows, oldest first; what the controllers did, newest first."""

    verdicts: tuple[Verdict, ...]
    deeds: tuple[Decision, ...]


def read(dynamodb: DynamoDBClient, table: str, *, model: str, stage: str, until: datetime) -> History:
    """The last 60 days of verdicts before a window's end, and the last decisions on retraining and release."""
    verdicts = Verdicts(dynamodb, table, model=model, stage=stage).since(until - timedelta(days=_DAYS))
    pk = f"{model}#{stage}"
    deeds = _decisions(dynamodb, table, pk, _LOOKED_AT, acted=True)[:_DEEDS]
    deeds = deeds or _decisions(dynamodb, table, pk, 1, acted=False)[:1]
    return History(tuple(verdict for verdict in verdicts if verdict.window_end < until), tuple(deeds))


def _decisions(dynamodb: DynamoDBClient, table: str, pk: str, limit: int, *, acted: bool) -> list[Decision]:
    """The controllers' last decisions, newest first; `acted` leaves those out that did nothing."""
    quiet: dict[str, AttributeValueTypeDef] = {f":{step.lower()}": {"S": step} for step in _QUIET} if acted else {}
    only: Any = {"FilterExpression": f"NOT step IN ({', '.join(quiet)})"} if acted else {}
    found = [
        Decision(item["sk"]["S"].split("#")[1], item["step"]["S"], item["reason"]["S"])
        for prefix in ("retrain-decision#", "decision#")
        for item in dynamodb.query(
            TableName=table,
            KeyConditionExpression="pk = :pk AND begins_with(sk, :prefix)",
            ExpressionAttributeValues={":pk": {"S": pk}, ":prefix": {"S": prefix}, **quiet},
            ScanIndexForward=False,
            Limit=limit,
            **only,
        )["Items"]
    ]
    return sorted(found, key=lambda deed: deed.at, reverse=True)
