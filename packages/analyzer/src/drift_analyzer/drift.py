"""Judge a window of captured traffic, by Model Monitor's rules or by the calibrated ones (README.md, "Modes").

Three questions are answered apart: can the window be judged, is something broken, has the data set drifted.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

from drift_analyzer import distances
from drift_analyzer.baseline_files import Baseline, Feature
from drift_analyzer.calibration import expected
from drift_analyzer.checks import schema_breaks, value_breaks
from drift_analyzer.detectors import SENTENCES, categories, measure
from drift_analyzer.verdict import (
    INCONCLUSIVE,
    MODES,
    SCHEMA_CHECKS,
    Break,
    DriftVerdict,
    FeatureDrift,
    Mode,
    Move,
    Rules,
    Status,
    alarm,
)
from drift_analyzer.window_state import NumericState, WindowState

__all__ = [
    "INCONCLUSIVE",
    "MODES",
    "Break",
    "DriftVerdict",
    "FeatureDrift",
    "Mode",
    "Rules",
    "Status",
    "alarm",
    "categories",
    "judge",
]
_REPEATED = 2.0
"""Requests of each kind, compared with the reference, from which they are not independent."""
_ABRUPT = 0.3
"""A distance so far beyond its threshold, of a feature alone, is a break: another unit, or another column."""


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
    schema = schema_breaks(baseline, state, rules)
    if not state.rows:
        return _without_rows(state, rules, schema)
    weight, repeated = _weight(baseline, state, rules)
    measured = [
        measure(
            feature,
            state,
            baseline.config.of(feature),
            rules,
            was_drifted=feature.name in previously_drifted,
            weight=weight,
        )
        for feature in baseline.features
    ]
    broken = list(schema)
    if rules.mode != "calibrated" or state.rows * weight >= rules.min_rows:
        broken += value_breaks(baseline, state, rules, [found.feature for found in schema])
    notes = [repeated] if repeated else []
    if rules.mode == "calibrated":
        measured = _significant(measured, rules)
        broken += _value_moves(baseline, state, measured, broken)
        if baseline.ordered is False:
            notes.append("the reference shows no order in time, so thresholds are those of independent rows")
    return _conclude(state, rules, measured, broken, notes, weight)


def _without_rows(state: WindowState, rules: Rules, schema: Sequence[Break]) -> DriftVerdict:
    reason = f"no rows could be read ({state.bad} bad records)" if state.bad else "no rows"
    status: Status = "Violation" if schema else "InsufficientData"
    violations = tuple(found.violation for found in schema)
    return DriftVerdict(status, reason, rules.mode, 0, state.bad, 0.0, (), violations, tuple(schema))


def _weight(baseline: Baseline, state: WindowState, rules: Rules) -> tuple[float, str]:
    """Return independent rows ÷ rows, and a note where they differ: clients that retry send a request many times."""
    if rules.mode != "calibrated" or not baseline.repetition:
        return 1.0, ""
    usual = expected(baseline.repetition, state.rows, deviations=0)
    largest, at_largest, _ = baseline.repetition[-1]
    if at_largest > 1.05:  # few distinct rows: they repeat as often as there are rows
        usual *= max(1.0, state.rows / largest)
    times = state.repetition / max(usual, 1.0)
    if times < _REPEATED:
        return 1.0, ""
    return 1 / times, f"each request was sent {times:.0f} times, so {state.rows} rows count as {state.rows / times:.0f}"


def _significant(measured: Sequence[FeatureDrift], rules: Rules) -> list[FeatureDrift]:
    """Adjust the p-values, and clear the features whose drift is not significant."""
    adjusted = iter(distances.adjusted([feature.p for feature in measured if feature.judged]))
    result = []
    for feature in measured:
        p = next(adjusted) if feature.judged else feature.p
        result.append(replace(feature, p=p, drifted=feature.drifted and p < rules.significance))
    return result


def _value_moves(
    baseline: Baseline, state: WindowState, measured: Sequence[FeatureDrift], broken: Sequence[Break]
) -> list[Break]:
    """Return the features whose moved statistics are a break: sentinel values, another unit, a stuck value."""
    known = {found.feature for found in broken}
    features = {feature.name: feature for feature in baseline.features}
    found = []
    for item in measured:
        current = state.features[item.name]
        if item.name in known or not isinstance(current, NumericState):
            continue
        moved = {move.statistic: move for move in item.moves}
        if "outside" in moved and (text := _out_of_range(features[item.name], current, item)):
            found.append(Break(item.name, "range_check", text))
        elif "repeated" in moved and _is_repeated(features[item.name], current, moved["repeated"], item):
            text = f"One value makes up {moved['repeated'].value:.1%} more of the rows than in the baseline."
            found.append(Break(item.name, "repeated_value_check", text))
    return found


def _out_of_range(feature: Feature, current: NumericState, item: FeatureDrift) -> str:
    """Return how the values outside the baseline's range are a break; empty if the distribution only moved.

    A sentinel is one value apart from the others. Another unit puts most values far away and few near the range, while
    a season moves them through its edge.
    """
    far = current.beyond[0] + current.beyond[3]
    near = current.beyond[1] + current.beyond[2]
    ends = (current.at_low if current.low < feature.range_limits[1] else 0) + (
        current.at_high if current.high > feature.range_limits[2] else 0
    )
    share = (far + near) / current.present
    sentinel = ends >= 0.8 * (far + near) and item.distance - share <= item.threshold
    apart = far >= 0.01 * current.present and near <= 0.1 * far
    if not (sentinel or apart):
        return ""
    return (
        f"{share:.1%} of the values are outside the baseline's range {feature.span[0]:.6g} to {feature.span[1]:.6g}: "
        f"from {current.low:.6g} to {current.high:.6g}."
    )


def _is_repeated(feature: Feature, current: NumericState, move: Move, item: FeatureDrift) -> bool:
    """Return whether a value repeats in a column that hardly repeats any, and that explains its distance.

    The outermost bins are open, so values beyond them look alike; there the extreme itself has to repeat.
    """
    continuous = feature.counts.max() < 0.05 * feature.counts.sum()
    if not continuous or move.value < 1.5 * move.threshold or item.distance - move.value > max(item.threshold, 0.1):
        return False
    place = int((current.bins / current.present - feature.counts / feature.counts.sum()).argmax())
    ends = {0: current.at_low, len(current.bins) - 1: current.at_high}
    return ends.get(place, current.present) >= 0.8 * move.value * current.present


def _conclude(
    state: WindowState,
    rules: Rules,
    measured: Sequence[FeatureDrift],
    broken: list[Break],
    notes: Sequence[str],
    weight: float,
) -> DriftVerdict:
    # Nothing is concluded about the data set from broken features.
    names = {found.feature for found in broken}
    judged = [feature for feature in measured if feature.judged and feature.name not in names]
    drifted = [feature for feature in judged if feature.drifted]
    total = sum(feature.importance for feature in judged)
    share = sum(feature.importance for feature in drifted) / total if total else 0.0
    critical = [feature.name for feature in drifted if feature.critical]
    if rules.mode == "model-monitor":
        data_drifted = any(feature.drifted for feature in measured)
        reason = f"{len(drifted)} of {len(judged)} features beyond their threshold"
    else:
        data_drifted = bool(critical) or (bool(drifted) and share >= rules.share)
        reason = f"{len(drifted)} of {len(judged)} features drifted, {share:.0%} by importance"
        if critical:
            reason = f"critical features drifted: {', '.join(critical)}"
        elif not judged:
            reason = "no feature can be judged for drift"
        elif not data_drifted:
            broken += [_abrupt(item) for item in drifted if item.distance - item.threshold > _ABRUPT]
    status, reason = _status(state, rules, measured, judged, broken, data_drifted, reason, weight)
    violations = [found.violation for found in broken]
    violations += [_violation(feature) for feature in measured if feature.moved and _is_news(feature, broken)]
    return DriftVerdict(
        status,
        reason,
        rules.mode,
        state.rows,
        state.bad,
        share,
        tuple(measured),
        tuple(violations),
        tuple(broken),
        data_drifted,
        tuple(notes),
    )


def _is_news(feature: FeatureDrift, broken: Sequence[Break]) -> bool:
    """Return whether a moved feature is not listed as broken, or its distance has to be listed too."""
    return feature.drifted or all(found.feature != feature.name for found in broken)


def _abrupt(feature: FeatureDrift) -> Break:
    text = (
        f"The distribution changed abruptly (distance {feature.distance:.3f}, threshold {feature.threshold:.3f}) "
        "while the data set did not: another unit, or another column's values?"
    )
    return Break(feature.name, "shift_check", text)


def _status(
    state: WindowState,
    rules: Rules,
    measured: Sequence[FeatureDrift],
    judged: Sequence[FeatureDrift],
    broken: Sequence[Break],
    data_drifted: bool,
    reason: str,
    weight: float,
) -> tuple[Status, str]:
    first = f"{broken[0].feature}: {broken[0].how.rstrip('.')}" if broken else ""
    more = len({found.feature for found in broken}) - 1
    sentence = f"{first}{f', and {more} more broken' if more > 0 else ''}; {reason}" if broken else reason
    if any(found.check in SCHEMA_CHECKS for found in broken):
        return "Violation", sentence
    if data_drifted:
        return "Drift", f"{reason}; {first}" if broken else reason
    if broken:
        return "Violation", sentence
    if not judged:
        if state.rows * weight < rules.min_rows:
            rows = f"{state.rows} rows" if weight == 1 else f"{state.rows} rows that count as {state.rows * weight:.0f}"
            return "InsufficientData", f"{rows}; a verdict needs {rules.min_rows}"
        why = next((f"{item.name}: {item.not_judged}" for item in measured if item.not_judged), "no feature")
        return ("LowPower" if any("told" in item.not_judged for item in measured) else "InsufficientData"), (
            f"no feature can be judged; {why}"
        )
    if all(feature.low_power for feature in judged):
        return "LowPower", f"{reason}; only large shifts would be seen"
    return "Ok", reason


def _violation(feature: FeatureDrift) -> dict[str, str]:
    if feature.drifted:
        name, value, threshold = "Baseline drift", feature.distance, feature.threshold
    else:
        move = max(feature.moves, key=lambda move: move.value / move.threshold)
        name, value, threshold = SENTENCES[move.statistic], move.value, move.threshold
    return {
        "feature_name": feature.name,
        "constraint_check_type": "baseline_drift_check",
        "description": f"{name} distance: {value:.6g} exceeds threshold: {threshold:.6g}",
    }
