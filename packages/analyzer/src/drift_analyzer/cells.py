"""Interpret one cell of a captured row. The bulk reader and the JSON reader share this definition."""

import re
from typing import Any

MISSING = float("nan")
_MISTYPED = float("inf")
LIMIT = 1e150
"""Greater magnitudes count as mistyped, because their squares overflow."""

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_WORDS = {"": MISSING, "nan": MISSING, "null": MISSING, "none": MISSING, "true": 1.0, "false": 0.0}


def number(cell: Any) -> float:
    """Return the cell as a number: NaN if it is missing, infinity if it is something else."""
    if isinstance(cell, str):
        text = cell.strip()
        if _NUMBER.fullmatch(text):
            value = float(text)
        else:
            return _WORDS.get(text.lower(), _MISTYPED)
    elif cell is None:
        return MISSING
    elif isinstance(cell, int | float):
        if isinstance(cell, int) and abs(cell) > LIMIT:
            return _MISTYPED
        value = float(cell)
    else:
        return _MISTYPED
    return value if abs(value) <= LIMIT else _MISTYPED


def category(cell: Any) -> str | None:
    """Return the cell as a category, or None if it is missing."""
    if cell is None:
        return None
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return str(cell).strip() or None
