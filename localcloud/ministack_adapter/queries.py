"""DynamoDB's key conditions, read once instead of once for each item of the partition.

ministack parses the whole expression for every item, some 50 µs each: a ledger of a year then costs more than all that
reads it. The forms that a Query knows for a partition and its sort key are few; others go to ministack's evaluator.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from ministack.services import dynamodb

from localcloud.ministack_adapter.patching import wrap

_NAME = r"([A-Za-z_][A-Za-z0-9_]*)"
_VALUE = r"(:[A-Za-z0-9_]+)"
_FORM = re.compile(
    rf"\s*{_NAME} = {_VALUE}"
    rf"(?: AND (?:begins_with\({_NAME}, {_VALUE}\)|{_NAME} BETWEEN {_VALUE} AND {_VALUE}))?\s*"
)
Item = Mapping[str, Mapping[str, Any]]


def install() -> None:
    """Put the quick reading in front of ministack's evaluator."""
    wrap(dynamodb, "_evaluate_condition", _quickly)


def _quickly(original: Callable[..., bool]) -> Callable[..., bool]:
    def evaluate(expression: str, item: Item, values: Any, names: Any, slot: str = "ConditionExpression") -> bool:
        form = _form(expression) if slot == "KeyConditionExpression" else None
        found = None if form is None else matches(form, item, values)
        return original(expression, item, values, names, slot) if found is None else found

    return evaluate


@lru_cache(maxsize=256)
def _form(expression: str) -> tuple[str | None, ...] | None:
    found = _FORM.fullmatch(expression)
    return None if found is None else found.groups()


def matches(form: tuple[str | None, ...], item: Item, values: Mapping[str, Mapping[str, Any]]) -> bool | None:
    """Whether an item of text keys meets the condition; None where ministack has to say."""
    partition, is_value, prefixed, prefix, between, low, high = form
    if prefixed is not None:
        texts = _texts(item, (partition, prefixed), values, (is_value, prefix))
        return None if texts is None else texts[0] == texts[2] and texts[1].startswith(texts[3])
    if between is not None:
        texts = _texts(item, (partition, between), values, (is_value, low, high))
        # Bounds in the wrong order are the caller's mistake, and ministack's to tell.
        if texts is None or texts[3] > texts[4]:
            return None
        return texts[0] == texts[2] and texts[3] <= texts[1] <= texts[4]
    texts = _texts(item, (partition,), values, (is_value,))
    return None if texts is None else texts[0] == texts[1]


def _texts(
    item: Item, names: tuple[str | None, ...], values: Mapping[str, Mapping[str, Any]], refs: tuple[str | None, ...]
) -> list[str] | None:
    found = [item.get(name or "", {}).get("S") for name in names] + [values.get(ref or "", {}).get("S") for ref in refs]
    return None if any(not isinstance(text, str) for text in found) else [str(text) for text in found]
