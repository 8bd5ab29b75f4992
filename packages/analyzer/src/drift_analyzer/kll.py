"""KLL quantile sketches in Model Monitor's published form: items of level i weigh 2^i.

Source: Karnin, Lang, Liberty, "Optimal quantile approximation in streams" (2016). A sketch of few values is exact.
Compaction keeps the even and the odd items in turn instead of at random, so the same data always give the same file.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from drift_analyzer.window_state import Floats

_K, _C = 2048, 0.64


def sketch(values: Floats) -> dict[str, Any]:
    """Return the sketch of `values` (no NaN) in the form of `statistics.json`."""
    levels: list[Floats] = [np.sort(values)]
    while len(levels[-1]) > _K:
        full = levels[-1]
        keep = full[-1:] if len(full) % 2 else full[:0]
        body = full[: len(full) - len(keep)]
        levels[-1] = keep
        levels.append(body[len(levels) % 2 :: 2])
    return {"parameters": {"c": _C, "k": float(_K)}, "data": [level.tolist() for level in levels]}


def weighted(levels: Sequence[Sequence[float]]) -> tuple[Floats, Floats]:
    """Return the sorted items and their weights, both shape (items,)."""
    values = np.array([item for level in levels for item in level], dtype=np.float64)
    weights = np.array([float(2**index) for index, level in enumerate(levels) for _ in level])
    order = np.argsort(values, kind="stable")
    return values[order], weights[order]


def buckets(values: Floats, number: int = 10) -> list[dict[str, float]]:
    """Return `number` buckets of equal width, `[lower, upper)`, the last closed."""
    if not len(values):
        return []
    low, high = float(values.min()), float(values.max())
    if low == high:
        return [{"lower_bound": low, "upper_bound": high, "count": float(len(values))}]
    counts, bounds = np.histogram(values, bins=number, range=(low, high))
    return [
        {"lower_bound": float(bounds[i]), "upper_bound": float(bounds[i + 1]), "count": float(counts[i])}
        for i in range(number)
    ]
