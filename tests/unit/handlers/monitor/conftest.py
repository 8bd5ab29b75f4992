"""A ledger in memory, with the operations that the monitors use."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest


class RowExists(Exception):
    """The fake's ConditionalCheckFailedException."""


class Ledger:
    """The rows of one model by sort key."""

    exceptions = SimpleNamespace(ConditionalCheckFailedException=RowExists)

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}

    def put_item(self, *, TableName: str, Item: dict[str, Any], ConditionExpression: str = "") -> None:
        assert TableName == "ledger"
        if ConditionExpression and Item["sk"]["S"] in self.rows:
            raise RowExists(Item["sk"]["S"])
        self.rows[Item["sk"]["S"]] = Item

    def query(self, *, ExpressionAttributeValues: dict[str, Any], Limit: int, **_: Any) -> dict[str, Any]:
        values = {name: value["S"] for name, value in ExpressionAttributeValues.items()}
        prefix, skipped_steps = values.pop(":prefix"), set(values.values())
        found = [row for key, row in sorted(self.rows.items(), reverse=True) if key.startswith(prefix)]
        return {"Items": [row for row in found[:Limit] if row["step"]["S"] not in skipped_steps]}

    def get_paginator(self, name: str) -> "Ledger":
        assert name == "query"
        return self

    def paginate(self, *, ExpressionAttributeValues: dict[str, Any], **_: Any) -> Iterator[dict[str, Any]]:
        first, last = (ExpressionAttributeValues[name]["S"] for name in (":first", ":last"))
        yield {"Items": [row for key, row in sorted(self.rows.items()) if first <= key <= last]}


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()
