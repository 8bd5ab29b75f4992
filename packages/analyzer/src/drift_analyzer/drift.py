"""The verdict on a window: Model Monitor's own rules, or the calibrated ones (docs/monitoring.md says why)."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from drift_analyzer import distances
from drift_analyzer.schema import BadBaseline, Baseline, Config, Feature
from drift_analyzer.state import CategoryState, NumericState, WindowState

Mode = Literal["calibrated", "model-monitor"]
Status = Literal["Ok", "Drift", "InsufficientData"]
MODES: tuple[Mode, ...] = ("calibrated", "model-monitor")
SCHEMA_CHECKS = ("data_type_check", "completeness_check", "missing_column_check", "extra_column_check")


@dataclass(frozen=True)
class Rules:
    """How a verdict is reached.

    Attributes:
        min_rows: rows below which there is no verdict on drift (calibrated).
        significance: of the Benjamini-Hochberg-adjusted p (calibrated).
        share: of the features' importance that must have drifted for the data set to have drifted.
        clear: a feature that had drifted is clear below this part of its threshold.
        low_power: a calibrated threshold above it can only see huge shifts, which is said.
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
class Moved:
    """How far a feature is from its baseline. PSI, Jensen-Shannon and Wasserstein are reported and decide nothing."""

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
class Verdict:
    """What a window says: `status`, why in one sentence, and the violations in Model Monitor's form."""

    status: Status
    reason: str
    mode: Mode
    rows: int
    bad: int
    share: float
    features: tuple[Moved, ...]
    violations: tuple[Mapping[str, str], ...]

    @property
    def drifted(self) -> tuple[str, ...]:
        return tuple(moved.name for moved in self.features if moved.drifted)

    @property
    def low_power(self) -> tuple[str, ...]:
        return tuple(moved.name for moved in self.features if moved.low_power)

    @property
    def schema_violations(self) -> tuple[Mapping[str, str], ...]:
        """Those that are the fault of whoever sends the data: page a person, never retrain."""
        return tuple(found for found in self.violations if found["constraint_check_type"] in SCHEMA_CHECKS)


def judge(baseline: Baseline, state: WindowState, rules: Rules, before: Collection[str] = ()) -> Verdict:
    """The verdict on a window. `before`: features that had drifted in the previous one (they clear later)."""
    checks = _schema_violations(baseline, state, rules)
    if not state.rows:
        reason = f"no rows could be read ({state.bad} bad records)" if state.bad else "no rows"
        return Verdict("InsufficientData", reason, rules.mode, 0, state.bad, 0.0, (), tuple(checks))
    measured = [_measure(feature, state, baseline.config.of(feature), rules, before) for feature in baseline.features]
    if rules.mode == "calibrated":
        measured = _significant(measured, rules)
    checks += [_drift_violation(moved) for moved in measured if moved.drifted]
    return _conclude(state, rules, measured, checks)


def alarm(statuses: Sequence[Status], needed: int = 2, of: int = 3) -> bool:
    """Whether the last verdicts, oldest first, are an alarm: 2 of the last 3; windows without verdict are ignored."""
    said = [status for status in statuses if status != "InsufficientData"]
    return said[-of:].count("Drift") >= needed


def _conclude(
    state: WindowState, rules: Rules, measured: Sequence[Moved], checks: Sequence[Mapping[str, str]]
) -> Verdict:
    judged = [moved for moved in measured if moved.judged]
    drifted = [moved for moved in judged if moved.drifted]
    total = sum(moved.importance for moved in judged)
    share = sum(moved.importance for moved in drifted) / total if total else 0.0
    critical = [moved.name for moved in drifted if moved.critical]
    status: Status
    if not judged:
        status = "InsufficientData"
        reason = f"{state.rows} rows; a verdict needs {rules.min_rows}"
    elif rules.mode == "model-monitor":
        status = "Drift" if drifted else "Ok"
        reason = f"{len(drifted)} of {len(judged)} features beyond their threshold"
    elif critical:
        status, reason = "Drift", f"critical: {', '.join(critical)}"
    else:
        status = "Drift" if drifted and share >= rules.share else "Ok"
        reason = f"{len(drifted)} of {len(judged)} features drifted, {share:.0%} by importance"
    return Verdict(status, reason, rules.mode, state.rows, state.bad, share, tuple(measured), tuple(checks))


def _measure(feature: Feature, state: WindowState, config: Config, rules: Rules, before: Collection[str]) -> Moved:
    current = state.features[feature.name]
    judged = current.present > 0 and feature.present > 0
    if rules.mode == "calibrated":
        judged = judged and current.present >= rules.min_rows
        numbers = _calibrated(feature, current, config, rules, feature.name in before)
    else:
        numbers = _managed(feature, current, config)
    distance, threshold, p, low_power = numbers
    shape, now = _shapes(feature, current)
    return Moved(
        name=feature.name,
        distance=distance,
        threshold=threshold,
        p=p,
        drifted=judged and config.compare and distance > threshold,
        low_power=judged and low_power,
        judged=judged and config.compare,
        importance=feature.importance,
        critical=feature.critical,
        psi=distances.psi(shape, now),
        jensen_shannon=distances.jensen_shannon(shape, now),
        wasserstein=distances.wasserstein(feature.counts, current.bins.astype(float), feature.edges)
        if isinstance(current, NumericState)
        else None,
        completeness=current.present / state.rows,
        new_values=dict(current.new) if isinstance(current, CategoryState) else {},
    )


def _shapes(feature: Feature, current: NumericState | CategoryState) -> tuple[Any, Any]:
    if isinstance(current, NumericState):
        return distances.coarse(feature.counts), distances.coarse(current.bins.astype(float))
    base, now = categories(feature, current)
    keys = sorted(base.keys() | now.keys())
    return np.array([base.get(key, 0.0) for key in keys]), np.array([now.get(key, 0.0) for key in keys])


def categories(feature: Feature, current: CategoryState) -> tuple[dict[str, float], dict[str, float]]:
    """Counts by value, baseline and current; values that neither side lists are under the empty string."""
    base: dict[str, float] = {value: float(count) for value, count in feature.categories.items()}
    now: dict[str, float] = {value: float(count) for value, count in (current.known | current.new).items()}
    unlisted = float(current.unknown - sum(current.new.values()))
    if feature.other:  # the baseline's tail: values beyond the list are not known to be new
        unlisted += sum(now.pop(value) for value in current.new)
        base[""] = float(feature.other)
    if unlisted:
        now[""] = float(unlisted)
    return base, now


def _managed(
    feature: Feature, current: NumericState | CategoryState, config: Config
) -> tuple[float, float, float, bool]:
    """Exactly the managed formulas."""
    if isinstance(current, NumericState):
        distance = distances.ks(feature.counts, current.bins.astype(float))
        p = distances.ks_p(distance, feature.present, current.present)
        if config.robust:
            distance = distances.robust(distance, feature.present, current.present)
        return distance, config.threshold, p, False
    if config.categorical_method != "LInfinity":
        raise BadBaseline(
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
    if isinstance(current, NumericState):
        distance = distances.ks(feature.counts, current.bins.astype(float))
        p, floor = distances.ks_p(distance, feature.present, current.present), config.threshold
    else:
        base, now = categories(feature, current)
        distance = max(distances.linf(base, now), _new_and_vanished(base, now))
        p, floor = distances.chi2_p(base, now), config.categorical_threshold
    expected = stray(feature.calibration, current.present)
    threshold = max(floor, expected)
    return distance, threshold * (rules.clear if was_drifted else 1.0), p, threshold > rules.low_power


def _new_and_vanished(base: Mapping[str, float], now: Mapping[str, float]) -> float:
    """Mass of values that came and of those that went; a value is gone when ten or more of it were due."""
    total_base, total_now = sum(base.values()), sum(now.values())
    if not total_base or not total_now:
        return 0.0
    came = sum(count for value, count in now.items() if value not in base) / total_now
    due = {value: count / total_base for value, count in base.items() if count / total_base * total_now >= 10}
    return came + sum(share for value, share in due.items() if not now.get(value))


def stray(calibration: Sequence[tuple[float, float, float]], rows: int) -> float:
    """Mean and three deviations of the distance of reference windows of `rows` rows; between sizes by log of size."""
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


def _significant(measured: Sequence[Moved], rules: Rules) -> list[Moved]:
    """Drifted only where chance over all features is ruled out."""
    corrected = iter(distances.adjusted([moved.p for moved in measured if moved.judged]))
    result = []
    for moved in measured:
        p = next(corrected) if moved.judged else moved.p
        result.append(replace(moved, p=p, drifted=moved.drifted and p < rules.significance))
    return result


def _drift_violation(moved: Moved) -> dict[str, str]:
    return {
        "feature_name": moved.name,
        "constraint_check_type": "baseline_drift_check",
        "description": f"Baseline drift distance: {moved.distance:.6g} exceeds threshold: {moved.threshold:.6g}",
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
    if rules.mode == "calibrated":  # three binomial deviations, or half of all windows of incomplete data would fail
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
    if rules.mode == "calibrated" and feature.present:  # Good and Turing: values unseen so far are due at this rate
        due = sum(count == 1 for count in feature.categories.values()) / feature.present
        allowed += due + 3 * math.sqrt(due * (1 - due) / current.present)
    if outside <= allowed + 1e-12:
        return []
    text = (
        f"Value domain requirement is not met. Expected share inside the domain: {(1 - allowed) * 100:.6g}%. "
        f"Observed: {(1 - outside) * 100:.6g}%. Unknown values: {', '.join(sorted(current.new)[:5])}"
    )
    return [{"feature_name": feature.name, "constraint_check_type": "categorical_values_check", "description": text}]
