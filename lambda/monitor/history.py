"""What was found before and what was done about it, out of the ledger, for the reports."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from shared.verdict import Verdict, Verdicts

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_DAYS = 60
_DEEDS = 6
# Rows are written at each tick, too, and most of them say that nothing is to be done.
_LOOKED_AT = 400
_QUIET = ("Nothing", "Wait", "Overtaken")


@dataclass(frozen=True)
class Deed:
    """A controller's decision: when (ISO), which step, and why."""

    at: str
    step: str
    reason: str


@dataclass(frozen=True)
class History:
    """Verdicts on earlier windows, oldest first; what the controllers did, newest first."""

    verdicts: tuple[Verdict, ...]
    deeds: tuple[Deed, ...]


def read(dynamodb: DynamoDBClient, table: str, *, model: str, stage: str, until: datetime) -> History:
    """The last 60 days of verdicts before a window's end, and the last decisions on retraining and release."""
    verdicts = Verdicts(dynamodb, table, model=model, stage=stage).since(until - timedelta(days=_DAYS))
    deeds = [
        Deed(item["sk"]["S"].split("#")[1], item["step"]["S"], item["reason"]["S"])
        for prefix in ("retrain-decision#", "decision#")
        for item in dynamodb.query(
            TableName=table,
            KeyConditionExpression="pk = :pk AND begins_with(sk, :prefix)",
            ExpressionAttributeValues={":pk": {"S": f"{model}#{stage}"}, ":prefix": {"S": prefix}},
            ScanIndexForward=False,
            Limit=_LOOKED_AT,
        )["Items"]
    ]
    done = [deed for deed in deeds if deed.step not in _QUIET] or deeds[:1]
    newest = sorted(done, key=lambda deed: deed.at, reverse=True)[:_DEEDS]
    return History(tuple(verdict for verdict in verdicts if verdict.window_end < until), tuple(newest))
