"""Fast evaluation of DynamoDB queries: a condition is parsed once per query, not once per item.

ministack parses the whole expression for every item (about 50 µs) and sorts a whole partition before it selects a
range. A ledger of one year then takes longer to query than everything else its reader does. The forms here are few: a
Query's partition and sort key, and a filter that excludes values. ministack's evaluator handles the others.
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
# Whether an item meets the condition; None if ministack must evaluate it.
Test = Callable[[Item], bool | None]


def install() -> None:
    """Put these evaluations before ministack's, and show a query only the items of its range."""
    wrap(dynamodb, "_evaluate_condition", with_parsed_conditions)
    wrap(dynamodb, "_query", with_range_only)


def with_range_only(original: FunctionType) -> Callable[[Mapping[str, Any]], Any]:
    """Return ministack's query, which sees only the items of the requested range."""

    def query(data: Mapping[str, Any]) -> Any:
        narrow = in_range(data)
        if narrow is None:
            return original(data)
        # The same function with one table of ours: it reads the global `_tables` once.
        seen = {**original.__globals__, "_tables": {dynamodb._normalize_table_name(data["TableName"]): narrow}}
        return FunctionType(original.__code__, seen, original.__name__, original.__defaults__)(data)

    return query


def in_range(data: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return a Query's table reduced to the items in its range of sort keys; None if the form is not known here."""
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


def with_parsed_conditions(original: Callable[..., bool]) -> Callable[..., bool]:
    """Return ministack's evaluator with a fast path for the known forms."""
    # A query passes the same two objects for every item.
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
    """Return a condition as a function of an item; None if the form, or a value's type, is not known here."""
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
    # ministack reports bounds in the wrong order.
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
