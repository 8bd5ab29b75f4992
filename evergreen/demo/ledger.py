"""The ledger's rows about a model: what the monitors found and what the controllers decided."""

from __future__ import annotations

from typing import Any

from evergreen.demo.cloud import LocalCloud
from evergreen.demo.training import Model

Row = dict[str, str]


class Ledger:
    """Reads one model's rows of the stage's ledger (docs/reference/contracts.md)."""

    def __init__(self, cloud: LocalCloud, model: Model) -> None:
        self._dynamodb = cloud.client("dynamodb")
        self._table = cloud.outputs(f"{model.app}-platform-{model.stage}")["LedgerTableName"]
        self._pk = f"{model.name}#{model.stage}"

    @property
    def table(self) -> str:
        return self._table

    def rows(self, kind: str, after: str = "") -> list[Row]:
        """The rows whose key is `{kind}#…`, behind the key `after`, oldest first; every value as text."""
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression="pk = :pk AND sk BETWEEN :first AND :last",
            ExpressionAttributeValues={
                ":pk": {"S": self._pk},
                ":first": {"S": f"{after}\x01" if after else f"{kind}#"},
                ":last": {"S": f"{kind}#~"},
            },
        )
        return [_text(item) for page in pages for item in page["Items"]]


def _text(item: dict[str, dict[str, Any]]) -> Row:
    return {name: str(next(iter(value.values()))) for name, value in item.items()}
