"""Find what is broken in a window: its form, its types, missing values, new, vanished and constant values.

A break concerns single features, and its cause is the sender of the data. Retraining does not repair it. In the
calibrated mode a check fails only where the baseline's own windows do not fail it too, and by a share that is news.
"""

import math
from collections.abc import Iterable, Iterator

from drift_analyzer.baseline_files import Baseline, Config, Feature
from drift_analyzer.calibration import VANISHED, expected
from drift_analyzer.verdict import Break, Rules
from drift_analyzer.window_state import CategoryState, NumericState, WindowState

_FEWEST = 5
"""Rows that are news; fewer may be chance."""
_SIGMA = 4.5
"""Standard deviations of a binomial share: with 60 features, one window in a thousand exceeds them by chance."""
_MOSTLY = 0.9
"""Share of the rows without a column from which it is missing, and not only some of its values."""


def schema_breaks(baseline: Baseline, state: WindowState, rules: Rules) -> list[Break]:
    """Return what is broken in the form of the data: records, columns, types."""
    found = [*_unreadable(state, rules), *_widths(baseline, state)]
    if not state.rows:
        return found
    missing = set(_missing_columns(baseline, state))
    found += [
        Break(name, "missing_column_check", f"There are missing columns in current dataset: no row has {name!r}")
        for name in sorted(missing)
    ]
    for name, rows in sorted(state.extra.items()):
        if 2 * rows > state.rows:
            text = f"There are extra columns in current dataset: {rows} of {state.rows} rows have {name!r}"
            found.append(Break(name, "extra_column_check", text))
    for feature, config in _evaluated(baseline):
        found += _type(feature, state.features[feature.name], config)
    return found


def value_breaks(baseline: Baseline, state: WindowState, rules: Rules, broken: Iterable[str]) -> list[Break]:
    """Return the features whose values are broken; `broken` names features that are broken anyway."""
    found: list[Break] = []
    skipped = set(broken)
    for feature, config in _evaluated(baseline):
        if feature.name in skipped or not state.rows:
            continue
        current = state.features[feature.name]
        found += _completeness(feature, current, state.rows, rules)
        if isinstance(current, CategoryState):
            found += _domain(feature, current, config, rules)
            if rules.mode == "calibrated":
                found += _vanished(feature, current)
        elif current.present:
            found += _negative(feature, current, state.rows, rules)
            if rules.mode == "calibrated":
                found += _constant(feature, current)
    return found


def _evaluated(baseline: Baseline) -> Iterator[tuple[Feature, Config]]:
    for feature in baseline.features:
        config = baseline.config.of(feature)
        if config.evaluate:
            yield feature, config


def _unreadable(state: WindowState, rules: Rules) -> Iterator[Break]:
    total = state.bad + state.records
    if not state.bad or state.bad < _FEWEST or state.bad <= rules.unreadable * total:
        return
    reasons = ", ".join(f"{reason} ({count})" for reason, count in state.reasons.most_common(3))
    text = f"{state.bad} of {total} records ({state.bad / total:.1%}) could not be read: {reasons}"
    yield Break("Unreadable records", "unreadable_records_check", text)


def _widths(baseline: Baseline, state: WindowState) -> Iterator[Break]:
    if not state.widths:
        return
    width, expected_width = state.widths.most_common(1)[0][0], len(baseline.features)
    outputs = sum(feature.source == "output" for feature in baseline.features)
    if width in (expected_width, expected_width - outputs):
        return
    kind = "missing" if width < expected_width else "extra"
    text = (
        f"There are {kind} columns in current dataset. Number of columns in current dataset: {width}, "
        f"Number of columns in baseline constraints: {expected_width}"
    )
    yield Break(f"{kind.title()} columns", f"{kind}_column_check", text)


def _missing_columns(baseline: Baseline, state: WindowState) -> Iterator[str]:
    """Yield the columns that named rows lack. A sender may leave out single columns that have no value."""
    for feature in baseline.features:
        present = 1.0 if feature.completeness is None else feature.completeness
        if state.absent[feature.name] >= _MOSTLY * state.rows and present * state.rows >= _FEWEST:
            yield feature.name


def _type(feature: Feature, current: NumericState | CategoryState, config: Config) -> Iterator[Break]:
    if not isinstance(current, NumericState) or not (total := current.present + current.mistyped):
        return
    matching = (current.integral if feature.type == "Integral" else current.present) / total
    if matching >= config.datatype_threshold:
        return
    text = (
        f"Data type match requirement is not met. Expected data type: {feature.type}, "
        f"Expected match: {config.datatype_threshold * 100:.1f}%. "
        f"Observed: Only {matching * 100:.6g}% of data is {feature.type}."
    )
    yield Break(feature.name, "data_type_check", text)


def _tolerance(share: float, rows: int, baseline_rows: int) -> float:
    """Return the standard deviations of a share that a window may deviate by chance, at the least one row more."""
    variance = max(share * (1 - share), 1 / max(baseline_rows, 1) if share else 0.0)
    return _SIGMA * math.sqrt(variance * (1 / rows + 1 / max(baseline_rows, 1)))


def _completeness(feature: Feature, current: NumericState | CategoryState, rows: int, rules: Rules) -> Iterator[Break]:
    wanted = feature.completeness
    if wanted is None:
        return
    present = 1 - current.missing / rows
    if rules.mode != "calibrated":
        if present < wanted:
            yield _incomplete(feature, wanted, present)
        return
    if not feature.present:
        filled = current.present / rows
        if current.present >= _FEWEST and filled > rules.least:
            text = f"The column was empty in the baseline; {filled:.1%} of the rows have a value now."
            yield Break(feature.name, "completeness_check", text)
        return
    usual = expected(feature.tables.get("missing", ()), rows)
    allowed = max((1 - wanted) + _tolerance(1 - wanted, rows, feature.present), usual, (1 - wanted) + rules.least)
    if current.missing >= _FEWEST and 1 - present > allowed:
        yield _incomplete(feature, wanted, present)


def _incomplete(feature: Feature, wanted: float, present: float) -> Break:
    text = (
        f"Data completeness requirement is not met. Expected completeness: {wanted * 100:.6g}%. "
        f"Observed: Only {present * 100:.6g}% of data is complete."
    )
    return Break(feature.name, "completeness_check", text)


def _domain(feature: Feature, current: CategoryState, config: Config, rules: Rules) -> Iterator[Break]:
    if not current.present:
        return
    if rules.mode != "calibrated":
        if feature.domains:
            inside = sum(current.known.get(value, 0) + current.new.get(value, 0) for value in feature.domains)
            outside, allowed = 1 - inside / current.present, 1 - config.domain_threshold
            if outside > allowed + 1e-12:
                yield _unknown(feature, current, outside, allowed)
        return
    if not feature.present or not feature.categories:
        return
    outside = current.unknown / current.present
    unseen = feature.unseen
    allowed = max(
        1 - config.domain_threshold + unseen + _tolerance(unseen, current.present, feature.present),
        unseen + expected(feature.tables.get("new", ()), current.present),
        unseen + rules.least,
    )
    if current.unknown - unseen * current.present >= _FEWEST and outside > allowed:
        yield _unknown(feature, current, outside, allowed)


def _unknown(feature: Feature, current: CategoryState, outside: float, allowed: float) -> Break:
    most = sorted(current.new, key=lambda value: (-current.new[value], value))[:5]
    text = (
        f"Value domain requirement is not met. Expected share inside the domain: {(1 - allowed) * 100:.6g}%. "
        f"Observed: {(1 - outside) * 100:.6g}%. Unknown values: {', '.join(most)}"
    )
    return Break(feature.name, "categorical_values_check", text)


def _vanished(feature: Feature, current: CategoryState) -> Iterator[Break]:
    if not current.present or not feature.present:
        return
    gone = {
        value: count / feature.present
        for value, count in feature.categories.items()
        if not current.known.get(value) and count / feature.present * current.present >= VANISHED
    }
    usual = expected(feature.tables.get("vanished", ()), current.present, deviations=4)
    if not gone or sum(gone.values()) <= max(usual, 0.02):
        return
    shown = ", ".join(f"{value} ({gone[value]:.1%})" for value in sorted(gone, key=lambda value: -gone[value])[:5])
    yield Break(feature.name, "vanished_values_check", f"Values of the baseline do not occur any more: {shown}")


def _negative(feature: Feature, current: NumericState, rows: int, rules: Rules) -> Iterator[Break]:
    if not feature.non_negative or not current.negative:
        return
    share = current.negative / current.present
    least = max(rules.least, 10 / max(feature.present, 1))
    if rules.mode == "calibrated" and (current.negative < _FEWEST or share <= least):
        return
    text = (
        f"Numbers are negative in {current.negative} of {rows} rows, the least is {current.low:.6g}; "
        "the baseline has none below 0."
    )
    yield Break(feature.name, "non_negative_check", text)


def _constant(feature: Feature, current: NumericState) -> Iterator[Break]:
    """Yield a column that holds one value only, unless that is usual or the baseline's windows are not known."""
    if current.low != current.high or current.present < 30:
        return
    if feature.span[0] == feature.span[1]:
        return
    table = feature.tables.get("constant", ())
    if table and expected(table, current.present, deviations=0) > 0.01:
        return
    if not table and feature.counts.max() > 0.5 * feature.counts.sum():
        return
    text = f"All {current.present} values are {current.low:.6g}; the baseline holds {feature.span[0]:.6g} to "
    yield Break(feature.name, "constant_check", f"{text}{feature.span[1]:.6g}.")
