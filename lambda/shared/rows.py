"""Lenient reading of ledger rows. A row that cannot be read is named, and keeps no other row from its use.

Rows carry the version of their schema, so that a later release can tell old rows from new ones. Rows without it are of
version 1, which was written before versions were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef, UniversalAttributeValueTypeDef

RowT = TypeVar("RowT")

SCHEMA_VERSION: dict[str, UniversalAttributeValueTypeDef] = {"schema": {"N": "1"}}
"""Attributes of every row that is written."""


def read_rows(
    items: Iterable[Mapping[str, AttributeValueTypeDef]], parse: Callable[[Mapping[str, AttributeValueTypeDef]], RowT]
) -> tuple[tuple[RowT, ...], tuple[str, ...]]:
    """Parse rows.

    Args:
        items: The items, which have the sort key `sk`.
        parse: Returns a row. It may raise `KeyError`, `TypeError` or `ValueError`.

    Returns:
        The rows that could be read, and for each other one its sort key and what is wrong with it.
    """
    rows, problems = [], []
    for item in items:
        try:
            rows.append(parse(item))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            name = item.get("sk", {}).get("S", "a row without a sort key")
            what = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
            problems.append(f"{name} ({what})")
    return tuple(rows), tuple(problems)


def moment(item: Mapping[str, AttributeValueTypeDef], name: str) -> datetime:
    """Return a time. One without a zone is in UTC.

    Raises:
        KeyError: The row does not have it.
        ValueError: It is not a time.
    """
    found = datetime.fromisoformat(item[name]["S"])
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def text(item: Mapping[str, AttributeValueTypeDef], name: str, default: str = "") -> str:
    """Return a text."""
    return item.get(name, {}).get("S", default)


def number(item: Mapping[str, AttributeValueTypeDef], name: str, default: float = 0) -> float:
    """Return a number."""
    return float(item.get(name, {}).get("N", default))


def flag(item: Mapping[str, AttributeValueTypeDef], name: str, *, default: bool = False) -> bool:
    """Return a flag."""
    return bool(item.get(name, {}).get("BOOL", default))
