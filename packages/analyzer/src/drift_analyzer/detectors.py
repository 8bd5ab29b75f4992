"""Measure how far a feature of a window is from its baseline, and which statistics are beyond their threshold."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from drift_analyzer import distances
from drift_analyzer.baseline_files import Config, Feature
from drift_analyzer.calibration import VANISHED, expected, moments, spread_change
from drift_analyzer.checked_values import BaselineError
from drift_analyzer.verdict import FeatureDrift, Move, Rules
from drift_analyzer.window_state import CategoryState, Floats, NumericState, WindowState

_HIGHEST = 0.95
"""A threshold near 1 can hardly be exceeded, because no distance is greater than 1."""
_BLIND = 0.8
"""A feature with a higher threshold is not judged by its distance."""
_SIGMA = 5.0


@dataclass(frozen=True)
class Measured:
    """The statistic that decides, with its threshold."""

    distance: float
    threshold: float
    p: float
    low_power: bool = False


def measure(
    feature: Feature, state: WindowState, config: Config, rules: Rules, *, was_drifted: bool, weight: float
) -> FeatureDrift:
    """Return a feature's distance.

    Args:
        feature: The feature.
        state: The window's state.
        config: The feature's thresholds.
        rules: The parameters.
        was_drifted: Whether the feature drifted in the previous window; it clears at a lower threshold.
        weight: Independent rows ÷ rows: below 1 where the same requests were sent again and again.
    """
    current = state.features[feature.name]
    rows = current.present * weight
    if rules.mode == "calibrated":
        found = _calibrated(feature, current, config, rules, was_drifted, rows)
    else:
        found = _model_monitor(feature, current, config)
    why = _not_judged(feature, current, config, rules, found, rows)
    base, now = _coarse_counts(feature, current)
    calibrated = rules.mode == "calibrated" and config.compare and rows >= rules.min_rows and feature.present > 0
    return FeatureDrift(
        name=feature.name,
        distance=found.distance,
        threshold=found.threshold,
        p=found.p,
        drifted=not why and found.distance > found.threshold,
        low_power=not why and found.low_power,
        judged=not why,
        importance=feature.importance,
        critical=feature.critical,
        psi=distances.psi(base, now),
        jensen_shannon=distances.jensen_shannon(base, now),
        wasserstein=distances.wasserstein(feature.counts, current.bins.astype(float), feature.edges)
        if isinstance(current, NumericState)
        else None,
        completeness=current.present / state.rows,
        new_values=dict(current.new) if isinstance(current, CategoryState) else {},
        moves=tuple(moves(feature, current, rows, rules)) if isinstance(current, NumericState) and calibrated else (),
        not_judged=why,
    )


def _not_judged(
    feature: Feature,
    current: NumericState | CategoryState,
    config: Config,
    rules: Rules,
    found: Measured,
    rows: float,
) -> str:
    """Return why the distance of a feature is no evidence; empty if it is."""
    if not config.compare:
        return "comparison is disabled"
    if not feature.present:
        return "the baseline has no value"
    if not current.present:
        return "the window has no value"
    if isinstance(current, CategoryState) and not feature.categories:
        return "the baseline has no distribution of its values"
    if rules.mode != "calibrated":
        return ""
    if rows < rules.min_rows:
        return f"{rows:.0f} values; a verdict needs {rules.min_rows}"
    if found.threshold > _BLIND:
        return f"windows of the baseline differ by up to {found.threshold:.2f}, so drift cannot be told from them"
    return ""


def _coarse_counts(feature: Feature, current: NumericState | CategoryState) -> tuple[Floats, Floats]:
    if isinstance(current, NumericState):
        return distances.coarse(feature.counts), distances.coarse(current.bins.astype(float))
    base, now = categories(feature, current)
    names = sorted(base.keys() | now.keys())
    return (
        np.array([base.get(name, 0.0) for name in names] or [0.0]),
        np.array([now.get(name, 0.0) for name in names] or [0.0]),
    )


def categories(feature: Feature, current: CategoryState) -> tuple[dict[str, float], dict[str, float]]:
    """Return the counts by value in baseline and window, with unlisted values under the empty string."""
    base: dict[str, float] = {value: float(count) for value, count in feature.categories.items()}
    now: dict[str, float] = {value: float(count) for value, count in (current.known | current.new).items()}
    unlisted = float(current.unknown - sum(current.new.values()))
    if feature.other:  # the baseline does not list all its values, so an unlisted value may not be new
        unlisted += sum(now.pop(value) for value in current.new)
        base[""] = float(feature.other)
    if unlisted:
        now[""] = float(unlisted)
    return base, now


def _model_monitor(feature: Feature, current: NumericState | CategoryState, config: Config) -> Measured:
    """Measure by Model Monitor's formulas."""
    if isinstance(current, NumericState):
        distance = distances.ks(feature.counts, current.bins.astype(float))
        p = distances.ks_p(distance, feature.present, current.present)
        if config.robust:
            distance = distances.robust(distance, feature.present, current.present)
        return Measured(distance, config.threshold, p)
    if config.categorical_method != "LInfinity":
        raise BaselineError(
            f"{feature.name}: categorical_drift_method {config.categorical_method} is not supported in mode "
            "model-monitor, AWS does not publish its formula; use LInfinity or mode calibrated"
        )
    base, now = categories(feature, current)
    distance = distances.linf(base, now)
    if config.categorical_robust:
        distance = distances.robust(distance, feature.present, current.present)
    return Measured(distance, config.categorical_threshold, distances.chi2_p(base, now))


def _calibrated(
    feature: Feature,
    current: NumericState | CategoryState,
    config: Config,
    rules: Rules,
    was_drifted: bool,
    rows: float,
) -> Measured:
    """Measure by the calibrated rules."""
    if isinstance(current, NumericState):
        distance = distances.ks(feature.counts, current.bins.astype(float))
        p, floor = distances.ks_p(distance, feature.present, rows), config.threshold
    else:
        distance = category_distance(feature, current)
        scale = rows / current.present if current.present else 1.0
        base, now = categories(feature, current)
        p = distances.chi2_p(base, {value: count * scale for value, count in now.items()})
        floor = config.categorical_threshold
    threshold = min(max(floor, expected(feature.calibration, rows)), _HIGHEST)
    return Measured(distance, threshold * (rules.clear if was_drifted else 1.0), p, threshold > rules.low_power)


def category_distance(feature: Feature, current: CategoryState) -> float:
    """Return the greater of max |p - q| over listed values and the share of new and vanished values.

    New values count beyond the share of them that is expected (`Feature.unseen`).
    """
    if not feature.present or not current.present:
        return 0.0
    gaps = [
        abs(count / feature.present - current.known.get(value, 0) / current.present)
        for value, count in feature.categories.items()
    ]
    new = max(0.0, current.unknown / current.present - feature.unseen)
    vanished = sum(
        count / feature.present
        for value, count in feature.categories.items()
        if not current.known.get(value) and count / feature.present * current.present >= VANISHED
    )
    return max(max(gaps, default=0.0), min(1.0, new + vanished))


def moves(feature: Feature, current: NumericState, rows: float, rules: Rules) -> list[Move]:
    """Return the statistics of a numeric feature that are beyond their threshold.

    Each threshold is the greatest of mean and three standard deviations of the reference's windows, of five standard
    errors of independent rows, and of a least effect.
    """
    counts, base = current.bins.astype(float), feature.counts
    total = base.sum()
    if not total:
        return []
    values, noise = feature.representatives, 1 / rows + 1 / total
    base_mean, base_spread = moments(base, values)
    mean, spread = moments(counts, values)
    found = []
    if base_spread > 0:
        fourth = float(base @ (values - base_mean) ** 4 / total) / base_spread**4
        found.append(("mean", abs(mean - base_mean) / base_spread, max(0.2, _SIGMA * math.sqrt(noise))))
        error = math.sqrt(max(fourth - 1, 0.2) / 4 * noise)
        found.append(("spread", float(spread_change(spread, base_spread)), max(0.25, _SIGMA * error)))
    shares = base / total
    gaps = counts / current.present - shares
    place = int(gaps.argmax())
    chance = 6 * math.sqrt(shares[place] * (1 - shares[place]) * noise) + 12 * noise
    found.append(("repeated", float(gaps[place]), max(0.03, chance)))
    outside = sum(current.beyond) / current.present
    found.append(("outside", outside, max(rules.least, 5 / rows)))
    if len(feature.blocks):
        window = distances.blocks_of(counts)
        block = total / len(feature.blocks)
        nearest = distances.nearest_two(window, feature.blocks)
        found.append(("nearest", nearest, max(0.1, 1.9 * math.sqrt(1 / rows + 1 / block))))
    result = []
    for name, value, floor in found:
        table: Any = feature.tables.get(name)
        if table is None and name != "outside":
            continue  # without the reference's own windows, only what never occurred there is known
        threshold = max(floor, expected(table or (), rows))
        if value > threshold:
            result.append(Move(name, float(value), float(threshold)))
    return result


SENTENCES: Mapping[str, str] = {
    "mean": "Standardised mean",
    "spread": "Log standard deviation",
    "repeated": "Most repeated value",
    "outside": "Share outside the baseline's range",
    "nearest": "Nearest reference windows",
}
"""Names of the statistics in violations."""
