"""Earlier verdicts and the controllers' decisions, read from the ledger for the reports."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from shared.steps import Step
from shared.verdict import Verdict, Verdicts

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef

_DAYS = 60
_MAX_DECISIONS = 6
# Every tick writes a row, and most rows are of an idle step.
_MAX_ROWS = 400
_IDLE_STEPS = (Step.NOTHING, Step.WAIT, Step.OVERTAKEN)


@dataclass(frozen=True)
class PastDecision:
    """A controller's decision: its time (ISO), step and reason."""

    at: str
    step: str
    reason: str


@dataclass(frozen=True)
class ModelHistory:
    """Verdicts on earlier windows, oldest first, and the controllers' decisions, newest first."""

    verdicts: tuple[Verdict, ...]
    decisions: tuple[PastDecision, ...]


def read(dynamodb: DynamoDBClient, table: str, *, model: str, stage: str, until: datetime) -> ModelHistory:
    """Read the verdicts of the 60 days before `until`, and the last decisions on retraining and release.

    If no decision took a step, the last idle decision is returned.
    """
    verdicts = Verdicts(dynamodb, table, model=model, stage=stage).since(until - timedelta(days=_DAYS))
    pk = f"{model}#{stage}"
    decisions = _decisions(dynamodb, table, pk, _MAX_ROWS, skip_idle=True)[:_MAX_DECISIONS]
    decisions = decisions or _decisions(dynamodb, table, pk, 1, skip_idle=False)[:1]
    return ModelHistory(tuple(verdict for verdict in verdicts if verdict.window_end < until), tuple(decisions))


def _decisions(dynamodb: DynamoDBClient, table: str, pk: str, limit: int, *, skip_idle: bool) -> list[PastDecision]:
    """Read the last `limit` rows of each controller, newest first."""
    idle: dict[str, AttributeValueTypeDef] = (
        {f":{step.lower()}": {"S": step} for step in _IDLE_STEPS} if skip_idle else {}
    )
    condition: Any = {"FilterExpression": f"NOT step IN ({', '.join(idle)})"} if skip_idle else {}
    found = [
        PastDecision(item["sk"]["S"].split("#")[1], item["step"]["S"], item["reason"]["S"])
        for prefix in ("retrain-decision#", "decision#")
        for item in dynamodb.query(
            TableName=table,
            KeyConditionExpression="pk = :pk AND begins_with(sk, :prefix)",
            ExpressionAttributeValues={":pk": {"S": pk}, ":prefix": {"S": prefix}, **idle},
            ScanIndexForward=False,
            Limit=limit,
            **condition,
        )["Items"]
    ]
    return sorted(found, key=lambda decision: decision.at, reverse=True)
