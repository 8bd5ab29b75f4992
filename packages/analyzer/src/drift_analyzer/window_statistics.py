"""Convert a window's state to Model Monitor's `statistics.json` and `constraints.json`, and back."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from drift_analyzer.baseline_builder import monitoring_config
from drift_analyzer.baseline_files import Baseline, Feature, read_baseline
from drift_analyzer.window_state import CategoryState, Floats, NumericState, WindowState


def statistics(baseline: Baseline, state: WindowState) -> dict[str, Any]:
    """Return the body of the window's `statistics.json`."""
    return {
        "version": 0.0,
        "dataset": {"item_count": state.rows},
        "features": [_entry(feature, state.features[feature.name]) for feature in baseline.features],
    }


def constraints(baseline: Baseline, state: WindowState) -> dict[str, Any]:
    """Return the body of the `constraints.json` that the window would suggest if it were the baseline."""
    entries = []
    for feature in baseline.features:
        current = state.features[feature.name]
        entry: dict[str, Any] = {
            "name": feature.name,
            "inferred_type": _type(current),
            "completeness": current.present / state.rows if state.rows else 0.0,
        }
        if isinstance(current, NumericState):
            entry["num_constraints"] = {"is_non_negative": current.negative == 0}
        else:
            entry["string_constraints"] = {"domains": sorted(current.known.keys() | current.new.keys())}
        entries.append(entry)
    return {"version": 0.0, "features": entries, "monitoring_config": monitoring_config()}


def _type(current: NumericState | CategoryState) -> str:
    if not current.present:
        return "Unknown"
    if isinstance(current, CategoryState):
        return "String"
    return "Integral" if current.integral == current.present else "Fractional"


def _entry(feature: Feature, current: NumericState | CategoryState) -> dict[str, Any]:
    common = {"num_present": current.present, "num_missing": current.missing}
    head = {"name": feature.name, "inferred_type": _type(current)}
    if isinstance(current, CategoryState):
        seen = dict(current.known) | current.new
        buckets = [{"value": value, "count": count} for value, count in sorted(seen.items())]
        distribution = {"categorical": {"buckets": buckets}}
        return head | {
            "string_statistics": {"common": common, "distinct_count": float(len(seen)), "distribution": distribution}
        }
    common["num_missing"] += current.mistyped
    numbers: dict[str, Any] = {"common": common}
    if current.present:
        mean = current.mean(feature)
        numbers |= {
            "mean": mean,
            "sum": mean * current.present,
            "std_dev": current.deviation(feature),
            "min": current.low,
            "max": current.high,
            "distribution": {"kll": {"buckets": _buckets(feature, current), "sketch": _sketch(feature, current)}},
        }
    return head | {"numerical_statistics": numbers}


def _points(feature: Feature, current: NumericState) -> Floats:
    """Return a value for each bin: its upper edge, within the observed range."""
    clipped: Floats = np.clip(np.append(feature.edges, current.high), current.low, current.high)
    return clipped


def _sketch(feature: Feature, current: NumericState) -> dict[str, Any]:
    """Write the bins as a KLL sketch: a count n is one item on each level of n's binary digits, so weight is exact."""
    counts, values = current.bins.tolist(), _points(feature, current).tolist()
    levels = max(counts).bit_length()
    data = [
        [value for value, count in zip(values, counts, strict=True) if count >> level & 1] for level in range(levels)
    ]
    return {"parameters": {"c": 0.64, "k": 2048.0}, "data": data}


def _buckets(feature: Feature, current: NumericState) -> list[dict[str, float]]:
    if current.low == current.high:
        return [{"lower_bound": current.low, "upper_bound": current.high, "count": float(current.present)}]
    bounds = np.linspace(current.low, current.high, 11)
    counts, _ = np.histogram(_points(feature, current), bins=bounds, weights=current.bins)
    return [
        {"lower_bound": float(bounds[i]), "upper_bound": float(bounds[i + 1]), "count": float(counts[i])}
        for i in range(10)
    ]


def state_from_statistics(baseline: Baseline, body: Mapping[str, Any]) -> WindowState:
    """Reconstruct a window's state from any `statistics.json`, as precisely as its sketches allow.

    The state lacks what the file lacks: types of single cells, and values beyond its list.
    """
    features = {feature.name: feature for feature in read_baseline(body, None).features}
    state = WindowState.empty(baseline.features)
    state.rows = int((body.get("dataset") or {}).get("item_count", 0))
    for feature in baseline.features:
        current, seen = state.features[feature.name], features.get(feature.name)
        if seen is None:
            continue
        current.present, current.missing = seen.present, max(state.rows - seen.present, 0)
        if isinstance(current, CategoryState):
            counts = Counter(seen.categories)
            current.known = Counter({value: n for value, n in counts.items() if value in feature.categories})
            current.new = {value: n for value, n in counts.items() if value not in feature.categories}
            current.unknown = sum(current.new.values())
        elif seen.numeric and seen.present:
            current.low, current.high = seen.span
            edges = np.clip(np.append(seen.edges, seen.span[1]), *seen.span)
            places = np.searchsorted(feature.edges, edges, side="left")
            counted = np.bincount(places, weights=seen.counts, minlength=len(feature.edges) + 1)
            current.bins = np.rint(counted).astype(np.int64)
    return state
