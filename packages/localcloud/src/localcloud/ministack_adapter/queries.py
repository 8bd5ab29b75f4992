"""DynamoDB's conditions on the items of a partition, read once a query instead of once for each item.

ministack parses the whole expression for every item, some 50 µs each, and sorts a whole partition before it looks for a
range of it: a ledger of a year then costs more than all that reads it. The forms that are read here are few: a Query's
for a partition and its sort key, and a filter that leaves values out. Others go to ministack's evaluator.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import FunctionType
from typing import Any

from ministack.services import dynamodb

from localcloud.ministack_adapter.patching import wrap

_NAME = r"([A-Za-z_][A-Za-z0-9_]*)"
_VALUE = r"(:[A-Za-z0-9_]+)"
_KEYS = re.compile(
    rf"\s*{_NAME} = {_VALUE}"
    rf"(?: AND (?:begins_with\({_NAME}, {_VALUE}\)|{_NAME} BETWEEN {_VALUE} AND {_VALUE}))?\s*"
)
_FILTER = re.compile(rf"\s*NOT {_NAME} IN \(({_VALUE}(?:, {_VALUE})*)\)\s*")
Item = Mapping[str, Mapping[str, Any]]
Values = Mapping[str, Mapping[str, Any]]
# Whether an item meets the condition; None where ministack has to say.
Test = Callable[[Item], bool | None]


def install() -> None:
    """Put the quick reading in front of ministack's evaluator, and let a query see the items of its range alone."""
    wrap(dynamodb, "_evaluate_condition", _quickly)
    wrap(dynamodb, "_query", _narrowly)


def _narrowly(original: FunctionType) -> Callable[[Mapping[str, Any]], Any]:
    def query(data: Mapping[str, Any]) -> Any:
        narrow = in_range(data)
        if narrow is None:
            return original(data)
        # The same function on one table of our own: it asks for its table by a global name, and once.
        seen = {**original.__globals__, "_tables": {dynamodb._normalize_table_name(data["TableName"]): narrow}}
        return FunctionType(original.__code__, seen, original.__name__, original.__defaults__)(data)

    return query


def in_range(data: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The table of a Query with the items alone whose sort keys it asks for; None where that is not known here."""
    form = _form(_KEYS, data.get("KeyConditionExpression") or "")
    table = dynamodb._tables.get(dynamodb._normalize_table_name(data.get("TableName")))
    values = data.get("ExpressionAttributeValues")
    if form is None or not table or data.get("IndexName") or not isinstance(values, dict):
        return None
    partition, is_value, prefixed, prefix, between, low, high = form
    wanted, sort = _text(values, is_value), prefixed or between
    if wanted is None or sort is None or (partition, sort) != (table["pk_name"], table["sk_name"]):
        return None
    items = table["items"].get(wanted, {})
    if prefixed:
        start = _text(values, prefix)
        found = None if start is None else {key: item for key, item in items.items() if key.startswith(start)}
    else:
        first, last = _text(values, low), _text(values, high)
        unknown = first is None or last is None
        found = None if unknown else {key: item for key, item in items.items() if first <= key <= last}
    return None if found is None else {**table, "items": {wanted: found}}


def _quickly(original: Callable[..., bool]) -> Callable[..., bool]:
    # A query asks with the same two objects for item after item.
    last: tuple[str, Any, Test | None] = ("", None, None)

    def evaluate(expression: str, item: Item, values: Any, names: Any, slot: str = "ConditionExpression") -> bool:
        nonlocal last
        known = last
        if known[0] is not expression or known[1] is not values:
            known = last = (expression, values, test(expression, values, slot))
        found = None if known[2] is None else known[2](item)
        return original(expression, item, values, names, slot) if found is None else found

    return evaluate


def test(expression: str, values: Values, slot: str) -> Test | None:
    """The condition as a function of an item; None where the form, or the values' types, are not known here."""
    if slot == "KeyConditionExpression":
        keys = _form(_KEYS, expression)
        return None if keys is None else _of_keys(keys, values)
    if slot == "FilterExpression":
        left_out = _form(_FILTER, expression)
        return None if left_out is None else _of_filter(left_out, values)
    return None


@lru_cache(maxsize=256)
def _form(form: re.Pattern[str], expression: str) -> tuple[str | None, ...] | None:
    found = form.fullmatch(expression)
    return None if found is None else found.groups()


def _text(values: Values, name: str | None) -> str | None:
    text = values.get(name or "", {}).get("S")
    return text if isinstance(text, str) else None


def _of_keys(form: tuple[str | None, ...], values: Values) -> Test | None:
    partition, is_value, prefixed, prefix, between, low, high = form
    wanted = _text(values, is_value)
    if partition is None or wanted is None:
        return None
    if prefixed is not None:
        return _prefix_test(partition, wanted, prefixed, _text(values, prefix))
    if between is not None:
        return _range_test(partition, wanted, between, _text(values, low), _text(values, high))

    def alone(item: Item) -> bool | None:
        found = _text(item, partition)
        return None if found is None else found == wanted

    return alone


def _prefix_test(partition: str, wanted: str, sort: str, prefix: str | None) -> Test | None:
    if prefix is None:
        return None

    def prefixed(item: Item) -> bool | None:
        found, at = _text(item, partition), _text(item, sort)
        return None if found is None or at is None else at.startswith(prefix) and found == wanted

    return prefixed


def _range_test(partition: str, wanted: str, sort: str, low: str | None, high: str | None) -> Test | None:
    # Bounds in the wrong order are the caller's mistake, and ministack's to tell.
    if low is None or high is None or low > high:
        return None

    def between(item: Item) -> bool | None:
        found, at = _text(item, partition), _text(item, sort)
        return None if found is None or at is None else low <= at <= high and found == wanted

    return between


def _of_filter(form: tuple[str | None, ...], values: Values) -> Test | None:
    name, listed = form[0], form[1] or ""
    texts = [_text(values, ref.strip()) for ref in listed.split(",")]
    if name is None or None in texts:
        return None

    def others(item: Item) -> bool | None:
        found = _text(item, name)
        return None if found is None else found not in texts

    return others
