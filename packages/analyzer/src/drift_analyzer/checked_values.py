"""Read values of a JSON file that others wrote, with an error of one line that names the value."""

import math
from collections.abc import Mapping, Sequence
from typing import Any


class BaselineError(ValueError):
    """A baseline that cannot be used; the message names the file or feature and the mistake."""


def mapping(value: Any, name: str) -> Mapping[str, Any]:
    """Return an object of a JSON file; empty where it is absent."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise BaselineError(f"{name} is an object, got {shown(value)}")
    return value


def shown(value: Any) -> str:
    """Return a value for a message, shortened."""
    return repr(value)[:60]


def real(value: Any, name: str) -> float:
    """Return a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise BaselineError(f"{name} is a number, got {shown(value)}")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise BaselineError(f"{name} is a number, got {shown(value)}")
    return number


def count(value: Any, name: str) -> int:
    """Return a whole number, 0 or more."""
    number = real(value, name)
    if number < 0:
        raise BaselineError(f"{name} is 0 or more, got {shown(value)}")
    return int(number)


def share(value: Any, name: str) -> float:
    """Return a number from 0 to 1."""
    number = real(value, name)
    if not 0 <= number <= 1:
        raise BaselineError(f"{name} is a share from 0 to 1, got {shown(value)}")
    return number


def items(value: Any, name: str) -> Sequence[Any]:
    """Return a list of a JSON file; empty where it is absent."""
    if value is None:
        return ()
    if not isinstance(value, list):
        raise BaselineError(f"{name} is a list, got {shown(value)}")
    return value


def table(value: Any) -> tuple[tuple[float, float, float], ...]:
    """Return rows of (window size, mean, standard deviation); sizes are positive and ascend."""
    found = []
    for row in items(value, "a calibration"):
        cells = items(row, "a row of a calibration")
        if len(cells) != 3:
            raise BaselineError(f"a row of a calibration is size, mean, deviation, got {shown(row)}")
        found.append((real(cells[0], "a size"), real(cells[1], "a mean"), real(cells[2], "a deviation")))
    sizes = [size for size, _, _ in found]
    if any(size <= 0 for size in sizes) or sorted(set(sizes)) != sizes:
        raise BaselineError(f"the sizes of a calibration are positive and ascend, got {shown(sizes)}")
    return tuple(found)
