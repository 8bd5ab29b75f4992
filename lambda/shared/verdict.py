"""The verdict row: the finding of one monitor in one window (docs/reference/contracts.md, "Verdicts").

The monitors write it and the retrain controller reads it. It is their only interface.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING

from shared.rows import SCHEMA_VERSION, moment, number, read_rows, text

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef, UniversalAttributeValueTypeDef

_PREFIX = "verdict#"
# Sorts after every time that an ISO year can begin with.
_LAST = f"{_PREFIX}:"
_VERDICT_SECONDS = 400 * 24 * 3600
_EVIDENCE_CHARACTERS = 1024
_BROKEN_NAMED = 100


class MonitorKind(StrEnum):
    """The kinds of monitor. The values are an audit schema."""

    DATA_QUALITY = "data_quality"
    MODEL_QUALITY = "model_quality"
    BIAS = "bias"
    EXPLAINABILITY = "explainability"


class VerdictStatus(StrEnum):
    """The statuses of a verdict. The values are an audit schema."""

    OK = "OK"
    DRIFT = "Drift"
    VIOLATION = "Violation"
    INSUFFICIENT_DATA = "InsufficientData"
    LOW_POWER = "LowPower"


KINDS = tuple(MonitorKind)
CONCLUSIVE = (VerdictStatus.OK, VerdictStatus.DRIFT, VerdictStatus.VIOLATION)
INCONCLUSIVE = (VerdictStatus.INSUFFICIENT_DATA, VerdictStatus.LOW_POWER)


@dataclass(frozen=True)
class Verdict:
    """The finding of one monitor for one window of one release.

    Attributes:
        kind: A `MonitorKind`.
        status: `OK`; `Drift` (moved beyond the baseline: data, attribution, bias, or quality below its constraint);
            `Violation` (something is broken: schema or types, which takes precedence over `Drift`, or the values of
            single features, which does not); or one of `INCONCLUSIVE`.
        window_start: Start of the window in inference time; inclusive.
        window_end: End of the window; exclusive.
        release_id: The release whose baseline the data were judged by.
        evidence: One sentence for a person.
        features: The features that drifted or violated the baseline, the most affected first.
        report: Address of the report.
        metric: The value judged: quality metric, share of drifted features, NDCG; None where there is none.
        labels: Labelled rows in the window; only quality verdicts have any.
        labels_coverage: Labelled rows ÷ captured rows, 0 to 1.
        broken: What is broken: pairs of a feature and the check that it failed.
        data_drifted: Whether the data set drifted; None where that cannot be judged, or in rows written before.
        blocks: Whether nothing may be retrained on such data. A `Violation` of a single feature's values blocks
            nothing; one of schema or types does.
    """

    kind: str
    status: str
    window_start: datetime
    window_end: datetime
    release_id: str
    evidence: str
    features: tuple[str, ...] = ()
    report: str = ""
    metric: float | None = None
    labels: int = 0
    labels_coverage: float = 0.0
    broken: tuple[tuple[str, str], ...] = ()
    data_drifted: bool | None = None
    blocks: bool = True

    @property
    def conclusive(self) -> bool:
        """True if there was enough data for a verdict."""
        return self.status in CONCLUSIVE


class Verdicts:
    """One model's verdict rows in one stage."""

    def __init__(self, dynamodb: DynamoDBClient, table: str, *, model: str, stage: str) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._pk: UniversalAttributeValueTypeDef = {"S": f"{model}#{stage}"}

    def write(self, verdict: Verdict, *, replace: bool = True) -> bool:
        """Write a verdict. A corrected label or a late file writes the same window and kind again.

        Args:
            verdict: The verdict to write.
            replace: Whether to replace a row of the same window and kind.

        Returns:
            Whether the row was written.

        Raises:
            ValueError: Kind or status is not in the contract, or the window ends before it starts.
        """
        if verdict.kind not in KINDS:
            raise ValueError(f"a verdict's kind is one of {', '.join(KINDS)}, got {verdict.kind!r}")
        if verdict.status not in CONCLUSIVE + INCONCLUSIVE:
            raise ValueError(
                f"a verdict's status is one of {', '.join(CONCLUSIVE + INCONCLUSIVE)}, got {verdict.status!r}"
            )
        if verdict.window_end <= verdict.window_start:
            raise ValueError(f"a window ends after it starts, got {verdict.window_start} to {verdict.window_end}")
        item: dict[str, UniversalAttributeValueTypeDef] = {
            "pk": self._pk,
            "sk": {"S": f"{_PREFIX}{_iso(verdict.window_end)}#{verdict.kind}"},
            "kind": {"S": verdict.kind},
            "status": {"S": verdict.status},
            "window_start": {"S": _iso(verdict.window_start)},
            "window_end": {"S": _iso(verdict.window_end)},
            "release_id": {"S": verdict.release_id},
            "evidence": {"S": verdict.evidence[:_EVIDENCE_CHARACTERS]},
            "features": {"S": json.dumps(verdict.features, ensure_ascii=False)},
            "report": {"S": verdict.report},
            "labels": {"N": str(verdict.labels)},
            "labels_coverage": {"N": _decimal(verdict.labels_coverage)},
            "ttl": {"N": str(int(verdict.window_end.timestamp()) + _VERDICT_SECONDS)},
            **SCHEMA_VERSION,
        }
        if verdict.broken:
            item["broken"] = {"S": json.dumps(verdict.broken[:_BROKEN_NAMED], ensure_ascii=False)}
        if verdict.data_drifted is not None:
            item["data_drifted"] = {"BOOL": verdict.data_drifted}
        if verdict.status == VerdictStatus.VIOLATION:
            item["blocks"] = {"BOOL": verdict.blocks}
        if verdict.metric is not None:
            item["metric"] = {"N": _decimal(verdict.metric)}
        try:
            if replace:
                self._dynamodb.put_item(TableName=self._table, Item=item)
            else:
                self._dynamodb.put_item(
                    TableName=self._table, Item=item, ConditionExpression="attribute_not_exists(pk)"
                )
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def since(self, earliest: datetime) -> tuple[Verdict, ...]:
        """Return the verdicts on windows that ended at `earliest` or later, oldest first."""
        return self.read(earliest)[0]

    def read(self, earliest: datetime) -> tuple[tuple[Verdict, ...], tuple[str, ...]]:
        """Return the verdicts as `since` does, and the rows that cannot be read."""
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._table,
            ConsistentRead=True,
            KeyConditionExpression="pk = :pk AND sk BETWEEN :first AND :last",
            ExpressionAttributeValues={
                ":pk": self._pk,
                ":first": {"S": f"{_PREFIX}{_iso(earliest)}"},
                ":last": {"S": _LAST},
            },
        )
        return read_rows((item for page in pages for item in page["Items"]), _verdict)


def _verdict(item: Mapping[str, AttributeValueTypeDef]) -> Verdict:
    return Verdict(
        kind=item["kind"]["S"],
        status=item["status"]["S"],
        window_start=moment(item, "window_start"),
        window_end=moment(item, "window_end"),
        release_id=item["release_id"]["S"],
        evidence=text(item, "evidence"),
        features=tuple(json.loads(text(item, "features", "[]"))),
        report=text(item, "report"),
        metric=number(item, "metric") if "metric" in item else None,
        labels=int(number(item, "labels")),
        labels_coverage=number(item, "labels_coverage"),
        broken=tuple((feature, check) for feature, check in json.loads(text(item, "broken", "[]"))),
        data_drifted=item["data_drifted"].get("BOOL") if "data_drifted" in item else None,
        blocks=item["blocks"].get("BOOL", True) if "blocks" in item else True,
    )


def _iso(at: datetime) -> str:
    """Return whole seconds in UTC, so that text sorts as time does."""
    return at.astimezone(UTC).isoformat(timespec="seconds")


def _decimal(number: float) -> str:
    """Return a number as DynamoDB takes it, with at most 38 digits. DynamoDB refuses NaN, an error of the caller."""
    return format(Decimal(repr(number)), "f")
