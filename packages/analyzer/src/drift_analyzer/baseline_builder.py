"""Build `statistics.json` and `constraints.json` from reference data in time order, as Model Monitor does.

The calibrated mode needs two additions: quantile bins, and the distances of the reference's own windows from the rest
of it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from drift_analyzer import calibration
from drift_analyzer.baseline_files import BINS, OWN, representatives
from drift_analyzer.cells import LIMIT, category, number
from drift_analyzer.kll import buckets, sketch
from drift_analyzer.window_state import Floats, distinct

_MAX_CATEGORIES = 1000
_MAX_CALIBRATED = 20_000
"""Distinct values of a column that is calibrated; one with more holds identifiers."""


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
    order: list[float] = []
    checksums: np.ndarray[Any, np.dtype[np.uint64]] | None = None
    for place, column in enumerate(columns):
        codes, series = _series(column)
        order.append(calibration.order_z(series))
        if column.source == "input":
            mixed = codes * np.uint64(2 * place + 3) ** np.uint64(7)
            checksums = mixed if checksums is None else (checksums * np.uint64(1099511628211)) ^ mixed
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
    own = {
        "ordered": calibration.is_ordered(order),
        "repetition": [] if checksums is None else calibration.repetition_table(checksums),
    }
    return (
        {"version": 0.0, "dataset": {"item_count": rows, OWN: own}, "features": statistics},
        {"version": 0.0, "features": constraints, "monitoring_config": monitoring_config()},
    )


def _series(column: ReferenceColumn) -> tuple[np.ndarray[Any, np.dtype[np.uint64]], Floats]:
    """Return a column as bits that distinguish its values, and as numbers whose order in time can be tested."""
    if column.numbers is not None:
        numbers = np.ascontiguousarray(column.numbers)
        return numbers.view(np.uint64), np.nan_to_num(numbers, nan=0.0, posinf=0.0, neginf=0.0)
    known: dict[str | None, int] = {}
    codes = np.array([known.setdefault(value, len(known)) for value in column.strings or []], dtype=np.uint64)
    if not len(codes):
        return codes, np.empty(0)
    most = np.argmax(np.bincount(codes.astype(np.int64)))
    return codes + np.uint64(1), (codes == most).astype(np.float64)


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
    counts = np.bincount(bins, minlength=len(edges) + 1).astype(np.float64)
    measured = calibration.numeric_tables(values, bins, representatives(edges, counts, float(values.max())))
    measured["tables"]["missing"] = calibration.share_table(np.isnan(raw))
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
            "counts": counts.astype(int).tolist(),
            "calibration": measured["tables"].pop("distance", []),
            **measured,
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
    values = list(counts)
    amounts = np.array([counts[value] for value in values], dtype=np.float64)
    listed = _listed(amounts, 0.0)
    # By number and then by name, so that the file does not depend on the order of the rows.
    kept = dict(sorted(((v, counts[v]) for v, keep in zip(values, listed, strict=True) if keep), key=_by_count))
    tables: dict[str, Any] = {"missing": calibration.share_table(np.array([value is None for value in strings]))}
    distance: list[list[float]] = []
    if 1 < len(values) <= _MAX_CALIBRATED:
        code = {value: index for index, value in enumerate(values)}
        codes = np.array([code[value] for value in strings if value is not None], dtype=np.int64)
        found = calibration.category_tables(codes, _listed, float(amounts[~listed].max(initial=0.0)))["tables"]
        distance = found.pop("distance", [])
        tables |= found
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
            "unseen": calibration.unseen_share(amounts, listed),
            "calibration": distance,
            "tables": tables,
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


def _by_count(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def _listed(counts: Floats, listable: float) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which values a baseline lists: the 1,000 most frequent ones, without those that tie with the next."""
    listed: np.ndarray[Any, np.dtype[np.bool_]] = counts > listable
    if np.count_nonzero(listed) > _MAX_CATEGORIES:
        listed = counts > np.partition(counts, -_MAX_CATEGORIES - 1)[-_MAX_CATEGORIES - 1]
    return listed


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
