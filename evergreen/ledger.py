"""Rows of the ledger about one model: what the monitors found and what the controllers decided."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Row = dict[str, str]

# Values of `step` in a decision's row (docs/reference/contracts.md, "Ledger"): the release controller's,
DEPLOYED = "Deploy"
ROLLED_BACK = "RollBack"
# and the retrain controller's.
RUN_STARTED = "Start"
RUN_ENDED = "ReportRun"
REQUEST_REFUSED = "Refuse"
# Both: nothing was done, and nobody has to do anything.
IDLE = frozenset({"Nothing", "Wait", "Overtaken"})


class Ledger:
    """Reads one model's rows in one stage (docs/reference/contracts.md, "Ledger").

    Args:
        table: Name of the stage's ledger table.
    """

    def __init__(self, dynamodb: DynamoDBClient, table: str, *, model: str, stage: str) -> None:
        self._dynamodb, self.table, self._pk = dynamodb, table, f"{model}#{stage}"

    def rows(self, kind: str, after: str = "") -> list[Row]:
        """Return the rows whose sort key is `{kind}#…` and above `after`, oldest first, every value as text."""
        return list(self._query(kind, after, newest_first=False))

    def newest(self, kind: str, count: int, wanted: Callable[[Row], bool] = lambda _: True) -> list[Row]:
        """Return the newest rows of a kind, newest first.

        Args:
            kind: What the sort keys begin with.
            count: How many at most.
            wanted: Say whether a row counts.
        """
        return list(islice(filter(wanted, self._query(kind, "", newest_first=True)), count))

    def row(self, key: str) -> Row | None:
        """Return the row of a sort key."""
        found = self._dynamodb.get_item(
            TableName=self.table, Key={"pk": {"S": self._pk}, "sk": {"S": key}}, ConsistentRead=True
        )
        return _as_text(found["Item"]) if "Item" in found else None

    def _query(self, kind: str, after: str, *, newest_first: bool) -> Iterator[Row]:
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self.table,
            KeyConditionExpression="pk = :pk AND sk BETWEEN :first AND :last",
            ExpressionAttributeValues={
                ":pk": {"S": self._pk},
                ":first": {"S": f"{after}\x01" if after else f"{kind}#"},
                ":last": {"S": f"{kind}#~"},
            },
            ScanIndexForward=not newest_first,
        )
        return (_as_text(item) for page in pages for item in page["Items"])


def _as_text(item: dict[str, Any]) -> Row:
    return {name: str(next(iter(value.values()))) for name, value in item.items()}
