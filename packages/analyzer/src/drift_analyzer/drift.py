"""Judge a window of captured traffic, by Model Monitor's rules or by the calibrated ones (README.md, "Modes")."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from drift_analyzer import distances
from drift_analyzer.baseline_files import Baseline, BaselineError, Config, Feature
from drift_analyzer.window_state import CategoryState, NumericState, WindowState

Mode = Literal["calibrated", "model-monitor"]
Status = Literal["Ok", "Drift", "InsufficientData"]
MODES: tuple[Mode, ...] = ("calibrated", "model-monitor")
_SCHEMA_CHECKS = ("data_type_check", "completeness_check", "missing_column_check", "extra_column_check")


@dataclass(frozen=True)
class Rules:
    """The parameters of a verdict; all but `mode` apply to the calibrated mode.

    Attributes:
        mode: `calibrated` or `model-monitor`.
        min_rows: Fewer rows give no verdict.
        significance: Greatest Benjamini-Hochberg-adjusted p-value of a drifted feature.
        share: Share of the features' importance that must drift for the data set to drift.
        clear: A drifted feature clears below this fraction of its threshold.
        low_power: A feature with a higher threshold has low power: only large shifts are detected.
    """

    mode: Mode = "calibrated"
    min_rows: int = 200
    significance: float = 0.01
    share: float = 0.3
    clear: float = 0.8
    low_power: float = 0.25

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"mode is {' or '.join(MODES)}, got {self.mode!r}")


@dataclass(frozen=True)
class FeatureDrift:
    """The distance of a feature from its baseline.

    Attributes:
        p: p-value of the distance; in the calibrated mode Benjamini-Hochberg-adjusted.
        judged: Whether there were enough values for a verdict.
        psi: Reported only, as are `jensen_shannon` and `wasserstein`; they do not influence the verdict.
        completeness: Values ÷ rows.
        new_values: Counts of values that the baseline does not list.
    """

    name: str
    distance: float
    threshold: float
    p: float
    drifted: bool
    low_power: bool
    judged: bool
    importance: float
    critical: bool
    psi: float
    jensen_shannon: float
    wasserstein: float | None
    completeness: float
    new_values: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class DriftVerdict:
    """The verdict on the data of a window.

    Attributes:
        reason: One sentence for a person.
        bad: Number of records that could not be read.
        share: Share of the judged features' importance that drifted.
        violations: Violations in the form of `constraint_violations.json`.
    """

    status: Status
    reason: str
    mode: Mode
    rows: int
    bad: int
    share: float
    features: tuple[FeatureDrift, ...]
    violations: tuple[Mapping[str, str], ...]

    @property
    def drifted(self) -> tuple[str, ...]:
        """Names of the drifted features."""
        return tuple(feature.name for feature in self.features if feature.drifted)

    @property
    def low_power(self) -> tuple[str, ...]:
        """Names of the features with low power."""
        return tuple(feature.name for feature in self.features if feature.low_power)

    @property
    def schema_violations(self) -> tuple[Mapping[str, str], ...]:
        """Violations of schema or completeness: the sender of the data must fix them; retraining does not help."""
        return tuple(found for found in self.violations if found["constraint_check_type"] in _SCHEMA_CHECKS)


def judge(
    baseline: Baseline, state: WindowState, rules: Rules, previously_drifted: Collection[str] = ()
) -> DriftVerdict:
    """Judge a window.

    Args:
        baseline: The baseline.
        state: The window's state, counted by the same baseline.
        rules: The parameters.
        previously_drifted: Features that drifted in the previous window; they clear at a lower threshold.

    Raises:
        BaselineError: The baseline requires a method that the mode does not support.
    """
    checks = _schema_violations(baseline, state, rules)
    if not state.rows:
        reason = f"no rows could be read ({state.bad} bad records)" if state.bad else "no rows"
        return DriftVerdict("InsufficientData", reason, rules.mode, 0, state.bad, 0.0, (), tuple(checks))
    measured = [
        _measure(feature, state, baseline.config.of(feature), rules, previously_drifted)
        for feature in baseline.features
    ]
    if rules.mode == "calibrated":
        measured = _significant(measured, rules)
    checks += [_drift_violation(feature) for feature in measured if feature.drifted]
    return _conclude(state, rules, measured, checks)


def alarm(statuses: Sequence[Status], needed: int = 2, of: int = 3) -> bool:
    """Return whether verdicts, oldest first, raise an alarm: drift in 2 of the last 3 that are conclusive."""
    conclusive = [status for status in statuses if status != "InsufficientData"]
    return conclusive[-of:].count("Drift") >= needed


def _conclude(
    state: WindowState, rules: Rules, measured: Sequence[FeatureDrift], checks: Sequence[Mapping[str, str]]
) -> DriftVerdict:
    judged = [feature for feature in measured if feature.judged]
    drifted = [feature for feature in judged if feature.drifted]
    total = sum(feature.importance for feature in judged)
    share = sum(feature.importance for feature in drifted) / total if total else 0.0
    critical = [feature.name for feature in drifted if feature.critical]
    status: Status
    if not judged:
        status = "InsufficientData"
        reason = f"{state.rows} rows; a verdict needs {rules.min_rows}"
    elif rules.mode == "model-monitor":
        status = "Drift" if drifted else "Ok"
        reason = f"{len(drifted)} of {len(judged)} features beyond their threshold"
    elif critical:
        status, reason = "Drift", f"critical features drifted: {', '.join(critical)}"
    else:
        status = "Drift" if drifted and share >= rules.share else "Ok"
        reason = f"{len(drifted)} of {len(judged)} features drifted, {share:.0%} by importance"
    return DriftVerdict(status, reason, rules.mode, state.rows, state.bad, share, tuple(measured), tuple(checks))


def _measure(
    feature: Feature, state: WindowState, config: Config, rules: Rules, previously_drifted: Collection[str]
) -> FeatureDrift:
    current = state.features[feature.name]
    judged = current.present > 0 and feature.present > 0
    if rules.mode == "calibrated":
        judged = judged and current.present >= rules.min_rows
        numbers = _calibrated(feature, current, config, rules, feature.name in previously_drifted)
    else:
        numbers = _model_monitor(feature, current, config)
    distance, threshold, p, low_power = numbers
    base, now = _coarse_counts(feature, current)
    return FeatureDrift(
        name=feature.name,
        distance=distance,
        threshold=threshold,
        p=p,
        drifted=judged and config.compare and distance > threshold,
        low_power=judged and low_power,
        judged=judged and config.compare,
        importance=feature.importance,
        critical=feature.critical,
        psi=distances.psi(base, now),
        jensen_shannon=distances.jensen_shannon(base, now),
        wasserstein=distances.wasserstein(feature.counts, current.bins.astype(float), feature.edges)
        if isinstance(current, NumericState)
        else None,
        completeness=current.present / state.rows,
        new_values=dict(current.new) if isinstance(current, CategoryState) else {},
    )


def _coarse_counts(feature: Feature, current: NumericState | CategoryState) -> tuple[Any, Any]:
    if isinstance(current, NumericState):
        return distances.coarse(feature.counts), distances.coarse(current.bins.astype(float))
    base, now = categories(feature, current)
    keys = sorted(base.keys() | now.keys())
    return np.array([base.get(key, 0.0) for key in keys]), np.array([now.get(key, 0.0) for key in keys])


def categories(feature: Feature, current: CategoryState) -> tuple[dict[str, float], dict[str, float]]:
    """Return counts by value, baseline and current; values that neither side lists are under the empty string."""
    base: dict[str, float] = {value: float(count) for value, count in feature.categories.items()}
    now: dict[str, float] = {value: float(count) for value, count in (current.known | current.new).items()}
    unlisted = float(current.unknown - sum(current.new.values()))
    if feature.other:  # the baseline does not list all its values, so an unlisted value may not be new
        unlisted += sum(now.pop(value) for value in current.new)
        base[""] = float(feature.other)
    if unlisted:
        now[""] = float(unlisted)
    return base, now


def _model_monitor(
    feature: Feature, current: NumericState | CategoryState, config: Config
) -> tuple[float, float, float, bool]:
    """Return distance, threshold, p-value and low power by Model Monitor's formulas."""
    if isinstance(current, NumericState):
        distance = distances.ks(feature.counts, current.bins.astype(float))
        p = distances.ks_p(distance, feature.present, current.present)
        if config.robust:
            distance = distances.robust(distance, feature.present, current.present)
        return distance, config.threshold, p, False
    if config.categorical_method != "LInfinity":
        raise BaselineError(
            f"{feature.name}: categorical_drift_method {config.categorical_method} is not supported in mode "
            "model-monitor, AWS does not publish its formula; use LInfinity or mode calibrated"
        )
    base, now = categories(feature, current)
    distance = distances.linf(base, now)
    if config.categorical_robust:
        distance = distances.robust(distance, feature.present, current.present)
    return distance, config.categorical_threshold, distances.chi2_p(base, now), False


def _calibrated(
    feature: Feature, current: NumericState | CategoryState, config: Config, rules: Rules, was_drifted: bool
) -> tuple[float, float, float, bool]:
    """Return distance, threshold, p-value and low power by the calibrated rules."""
    if isinstance(current, NumericState):
        distance = distances.ks(feature.counts, current.bins.astype(float))
        p, floor = distances.ks_p(distance, feature.present, current.present), config.threshold
    else:
        base, now = categories(feature, current)
        distance = max(distances.linf(base, now), _new_and_vanished(base, now))
        p, floor = distances.chi2_p(base, now), config.categorical_threshold
    expected = calibrated_distance(feature.calibration, current.present)
    threshold = max(floor, expected)
    return distance, threshold * (rules.clear if was_drifted else 1.0), p, threshold > rules.low_power


def _new_and_vanished(base: Mapping[str, float], now: Mapping[str, float]) -> float:
    """Return the share of new values plus that of vanished ones; a vanished value was expected at least ten times."""
    total_base, total_now = sum(base.values()), sum(now.values())
    if not total_base or not total_now:
        return 0.0
    new = sum(count for value, count in now.items() if value not in base) / total_now
    expected = {value: count / total_base for value, count in base.items() if count / total_base * total_now >= 10}
    return new + sum(share for value, share in expected.items() if not now.get(value))


def calibrated_distance(calibration: Sequence[tuple[float, float, float]], rows: int) -> float:
    """Return mean + 3 standard deviations of the distance of reference windows of `rows` rows.

    Args:
        calibration: Rows of (window size, mean, standard deviation), interpolated by the logarithm of the size.
        rows: Size of the window.
    """
    if not calibration or rows <= 0:
        return 0.0
    points = [(math.log(size), mean + 3 * sd) for size, mean, sd in calibration]
    at = math.log(rows)
    if at <= points[0][0]:
        return points[0][1]
    for (left, low), (right, high) in pairwise(points):
        if at <= right:
            return low + (high - low) * (at - left) / (right - left)
    return points[-1][1]


def _significant(measured: Sequence[FeatureDrift], rules: Rules) -> list[FeatureDrift]:
    """Adjust the p-values, and clear the features whose drift is not significant."""
    adjusted = iter(distances.adjusted([feature.p for feature in measured if feature.judged]))
    result = []
    for feature in measured:
        p = next(adjusted) if feature.judged else feature.p
        result.append(replace(feature, p=p, drifted=feature.drifted and p < rules.significance))
    return result


def _drift_violation(feature: FeatureDrift) -> dict[str, str]:
    return {
        "feature_name": feature.name,
        "constraint_check_type": "baseline_drift_check",
        "description": f"Baseline drift distance: {feature.distance:.6g} exceeds threshold: {feature.threshold:.6g}",
    }


def _schema_violations(baseline: Baseline, state: WindowState, rules: Rules) -> list[Mapping[str, str]]:
    found = _width_violations(baseline, state)
    if not state.rows:
        return found
    for feature in baseline.features:
        config = baseline.config.of(feature)
        if not config.evaluate:
            continue
        current = state.features[feature.name]
        found += _type_violation(feature, current, config)
        found += _completeness_violation(feature, current, state.rows, rules)
        if isinstance(current, CategoryState):
            found += _domain_violation(feature, current, config, rules)
    return found


def _width_violations(baseline: Baseline, state: WindowState) -> list[Mapping[str, str]]:
    if not state.widths:
        return []
    width, expected = state.widths.most_common(1)[0][0], len(baseline.features)
    if width + sum(feature.source == "output" for feature in baseline.features) == expected or width == expected:
        return []
    kind = "missing" if width < expected else "extra"
    text = (
        f"There are {kind} columns in current dataset. Number of columns in current dataset: {width}, "
        f"Number of columns in baseline constraints: {expected}"
    )
    name = f"{'Missing' if kind == 'missing' else 'Extra'} columns"
    return [{"feature_name": name, "constraint_check_type": f"{kind}_column_check", "description": text}]


def _type_violation(feature: Feature, current: NumericState | CategoryState, config: Config) -> list[Mapping[str, str]]:
    if not isinstance(current, NumericState) or not (total := current.present + current.mistyped):
        return []
    matching = (current.integral if feature.type == "Integral" else current.present) / total
    if matching >= config.datatype_threshold:
        return []
    text = (
        f"Data type match requirement is not met. Expected data type: {feature.type}, "
        f"Expected match: {config.datatype_threshold * 100:.1f}%. "
        f"Observed: Only {matching * 100:.6g}% of data is {feature.type}."
    )
    return [{"feature_name": feature.name, "constraint_check_type": "data_type_check", "description": text}]


def _completeness_violation(
    feature: Feature, current: NumericState | CategoryState, rows: int, rules: Rules
) -> list[Mapping[str, str]]:
    expected = feature.completeness
    if expected is None:
        return []
    present = 1 - current.missing / rows
    allowed = expected
    if rules.mode == "calibrated":  # without a tolerance, half of all windows of incomplete data would fail
        allowed -= 3 * math.sqrt(expected * (1 - expected) / rows)
    if present >= allowed:
        return []
    text = (
        f"Data completeness requirement is not met. Expected completeness: {expected * 100:.6g}%. "
        f"Observed: Only {present * 100:.6g}% of data is complete."
    )
    return [{"feature_name": feature.name, "constraint_check_type": "completeness_check", "description": text}]


def _domain_violation(
    feature: Feature, current: CategoryState, config: Config, rules: Rules
) -> list[Mapping[str, str]]:
    if not feature.domains or not current.present:
        return []
    inside = sum(current.known.get(value, 0) + current.new.get(value, 0) for value in feature.domains)
    outside = 1 - inside / current.present
    allowed = 1 - config.domain_threshold
    if rules.mode == "calibrated" and feature.present:  # Good-Turing estimate of the rate of unseen values
        unseen = sum(count == 1 for count in feature.categories.values()) / feature.present
        allowed += unseen + 3 * math.sqrt(unseen * (1 - unseen) / current.present)
    if outside <= allowed + 1e-12:
        return []
    text = (
        f"Value domain requirement is not met. Expected share inside the domain: {(1 - allowed) * 100:.6g}%. "
        f"Observed: {(1 - outside) * 100:.6g}%. Unknown values: {', '.join(sorted(current.new)[:5])}"
    )
    return [{"feature_name": feature.name, "constraint_check_type": "categorical_values_check", "description": text}]
