"""Build `statistics.json` and `constraints.json` from reference data in time order, as Model Monitor does.

The calibrated mode needs two additions: quantile bins, and the distances of the reference's own windows from the rest
of it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from drift_analyzer.baseline_files import BINS, OWN
from drift_analyzer.cells import LIMIT, category, number
from drift_analyzer.kll import buckets, sketch
from drift_analyzer.window_state import Floats, distinct

_MAX_CATEGORIES = 1000
_SMALLEST_WINDOW, _FEWEST_WINDOWS, _MOST_WINDOWS = 200, 5, 200


@dataclass(frozen=True)
class ReferenceColumn:
    """One reference column in time order, either numbers or strings.

    Attributes:
        numbers: NaN is missing, infinity is mistyped.
        strings: None is missing.
        source: `input` or `output`: the captured side that holds the column.
        importance: Weight of the feature in the data set's verdict.
        critical: Whether drift of this feature alone is drift of the data set.
        fractional: Whether fractions are expected although the reference holds none (such as rain in a dry month).
    """

    name: str
    numbers: Floats | None = None
    strings: Sequence[str | None] | None = None
    source: str = "input"
    importance: float = 1.0
    critical: bool = False
    fractional: bool = False


def infer_column(name: str, cells: Sequence[object], source: str = "input") -> ReferenceColumn:
    """Return raw cells as a column: of numbers if every present cell is one, otherwise of strings."""
    try:
        numbers = np.array(cells, dtype=np.float64)
        if np.isinf(numbers).any():
            raise ValueError
    except (ValueError, TypeError, OverflowError):
        numbers = np.array([number(cell) for cell in cells], dtype=np.float64)
    present = ~np.isnan(numbers)
    if present.any() and np.isfinite(numbers[present]).all():
        return ReferenceColumn(name, numbers=numbers, source=source)
    return ReferenceColumn(name, strings=[category(cell) for cell in cells], source=source)


def build_baseline(columns: Iterable[ReferenceColumn]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Build both files of a baseline.

    Returns:
        The bodies of `statistics.json` and `constraints.json`.

    Raises:
        ValueError: There are no rows, or a numeric column holds no number.
    """
    statistics, constraints, rows = [], [], 0
    for column in columns:
        if column.numbers is not None:
            rows = len(column.numbers)
            stats, rule = _numeric(column, column.numbers)
        else:
            strings = column.strings or []
            rows = len(strings)
            stats, rule = _strings(column, strings)
        rule[OWN] = {"importance": column.importance, "critical": column.critical}
        statistics.append(stats)
        constraints.append(rule)
    if not rows:
        raise ValueError("the reference data has no rows")
    return (
        {"version": 0.0, "dataset": {"item_count": rows}, "features": statistics},
        {"version": 0.0, "features": constraints, "monitoring_config": monitoring_config()},
    )


def monitoring_config() -> dict[str, Any]:
    """Return the `monitoring_config` that Model Monitor suggests."""
    return {
        "evaluate_constraints": "Enabled",
        "emit_metrics": "Enabled",
        "datatype_check_threshold": 1.0,
        "domain_content_threshold": 1.0,
        "distribution_constraints": {
            "perform_comparison": "Enabled",
            "comparison_threshold": 0.1,
            "comparison_method": "Robust",
            "categorical_comparison_threshold": 0.1,
            "categorical_drift_method": "LInfinity",
        },
    }


def _numeric(column: ReferenceColumn, raw: Floats) -> tuple[dict[str, Any], dict[str, Any]]:
    usable = np.abs(raw) <= LIMIT
    values = raw[usable]
    if not len(values):
        raise ValueError(f"column {column.name!r} holds no number")
    missing = int(np.isnan(raw).sum())
    kind = "Integral" if not column.fractional and (values == np.rint(values)).all() else "Fractional"
    edges = _quantile_edges(values)
    bins = np.searchsorted(edges, values, side="left")
    counts = np.bincount(bins, minlength=len(edges) + 1)
    stats = {
        "name": column.name,
        "inferred_type": kind,
        "numerical_statistics": {
            "common": {"num_present": len(values), "num_missing": missing},
            "mean": float(values.mean()),
            "sum": float(values.sum()),
            "std_dev": float(values.std()),
            "min": float(values.min()),
            "max": float(values.max()),
            "distribution": {"kll": {"buckets": buckets(values), "sketch": sketch(values)}},
        },
        OWN: {
            "source": column.source,
            "edges": edges.tolist(),
            "counts": counts.tolist(),
            "calibration": _calibrate(bins, len(edges) + 1, cumulative=True),
        },
    }
    rule = {
        "name": column.name,
        "inferred_type": kind,
        "completeness": len(values) / (len(values) + missing),
        "num_constraints": {"is_non_negative": bool(values.min() >= 0)},
    }
    return stats, rule


def _quantile_edges(values: Floats) -> Floats:
    """Return at most 255 inner bin edges: every distinct value if there are few, otherwise the 256-quantiles."""
    ordered = np.sort(values)
    few = distinct(ordered)[0]
    if len(few) <= BINS:
        inner: Floats = few[:-1] if len(few) > 1 else few
        return inner
    ranks = np.minimum((np.arange(1, BINS) * len(ordered)) // BINS, len(ordered) - 1)
    edges: Floats = distinct(ordered[ranks])[0]
    return edges


def _strings(column: ReferenceColumn, strings: Sequence[str | None]) -> tuple[dict[str, Any], dict[str, Any]]:
    counts = Counter(value for value in strings if value is not None)
    present = counts.total()
    kept = dict(counts.most_common(_MAX_CATEGORIES))
    code = {value: index for index, value in enumerate(kept)}
    codes = np.array([code.get(value, len(code)) for value in strings if value is not None], dtype=np.int64)
    stats = {
        "name": column.name,
        "inferred_type": "String" if present else "Unknown",
        "string_statistics": {
            "common": {"num_present": present, "num_missing": len(strings) - present},
            "distinct_count": float(len(counts)),
            "distribution": {
                "categorical": {"buckets": [{"value": value, "count": count} for value, count in kept.items()]}
            },
        },
        OWN: {
            "source": column.source,
            "other": present - sum(kept.values()),
            "calibration": _calibrate(codes, len(code) + 1, cumulative=False),
        },
    }
    rule: dict[str, Any] = {
        "name": column.name,
        "inferred_type": "String" if present else "Unknown",
        "completeness": present / max(len(strings), 1),
    }
    if present and len(counts) <= 100:
        rule["string_constraints"] = {"domains": list(kept)}
    return stats, rule


def _calibrate(codes: np.ndarray[Any, np.dtype[np.int64]], bins: int, *, cumulative: bool) -> list[list[float]]:
    """Measure the distance of the reference's time-ordered windows from the rest of the reference.

    Windows are compared with the rest because each is part of the whole and would look nearer than a future window.

    Returns:
        Rows of (window size, mean, standard deviation), for doubling sizes while there are at least five windows.
    """
    total = np.bincount(codes, minlength=bins).astype(np.float64)
    rows, size = [], _SMALLEST_WINDOW
    while len(codes) // size >= _FEWEST_WINDOWS:
        windows = len(codes) // size
        chosen = np.unique(np.linspace(0, windows - 1, min(windows, _MOST_WINDOWS)).astype(int))
        distances = []
        for window in chosen:
            counts = np.bincount(codes[window * size : (window + 1) * size], minlength=bins).astype(np.float64)
            rest = total - counts
            gap = counts / counts.sum() - rest / rest.sum()
            distances.append(float(np.abs(np.cumsum(gap) if cumulative else gap).max()))
        rows.append([float(size), float(np.mean(distances)), float(np.std(distances, ddof=1))])
        size *= 2
    return rows


def with_weights(
    columns: Iterable[ReferenceColumn], importances: Mapping[str, float], critical: Iterable[str]
) -> Iterable[ReferenceColumn]:
    """Set the columns' importance and critical flags.

    Raises:
        ValueError: A name is not a column's.
    """
    known = list(columns)
    names, critical_names = {column.name for column in known}, set(critical)
    if unknown := (importances.keys() | critical_names) - names:
        raise ValueError(f"not a feature: {', '.join(sorted(unknown))}")
    return [
        replace(column, importance=float(importances.get(column.name, 1.0)), critical=column.name in critical_names)
        for column in known
    ]
