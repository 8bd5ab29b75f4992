"""Model Monitor's files, from this package or from others, are read and written in the published form."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drift_analyzer import kll
from drift_analyzer.baseline_builder import ReferenceColumn, build_baseline
from drift_analyzer.baseline_files import BaselineError, read_baseline
from drift_analyzer.drift import Rules, judge
from drift_analyzer.window_state import CategoryState, NumericState, WindowState
from drift_analyzer.window_statistics import constraints, statistics

RNG = np.random.default_rng(0)
CHECKS = {
    "data_type_check",
    "completeness_check",
    "baseline_drift_check",
    "missing_column_check",
    "extra_column_check",
    "categorical_values_check",
}
OWN_CHECKS = {"vanished_values_check"}


def columns(rows: int = 4000) -> list[ReferenceColumn]:
    names = RNG.choice(["JFK", "LGA", "EWR"], rows).tolist()
    return [
        ReferenceColumn("x", RNG.normal(size=rows)),
        ReferenceColumn("n", RNG.poisson(4, rows).astype(float)),
        ReferenceColumn("c", strings=names),
    ]


def window(baseline: Any, x: Any, n: Any, c: dict[str, int]) -> WindowState:
    state = WindowState.empty(baseline.features)
    for feature in baseline.features:
        target = state.features[feature.name]
        if isinstance(target, NumericState):
            target.add(np.asarray(x if feature.name == "x" else n, dtype=float), feature)
        else:
            target.add(c, 0, feature)
    state.rows = len(x)
    return state


def check_statistics(body: dict[str, Any]) -> None:
    """Check the form in AWS's "Schema for Statistics (statistics.json file)"."""
    assert body["version"] == 0.0
    assert isinstance(body["dataset"]["item_count"], int)
    for entry in body["features"]:
        assert entry["inferred_type"] in ("Fractional", "Integral", "String", "Unknown")
        if "numerical_statistics" in entry:
            numbers = entry["numerical_statistics"]
            assert set(numbers) == {"common", "mean", "sum", "std_dev", "min", "max", "distribution"}
            sketch = numbers["distribution"]["kll"]["sketch"]
            assert sketch["parameters"] == {"c": 0.64, "k": 2048.0}
            weight = sum(len(level) * 2**index for index, level in enumerate(sketch["data"]))
            present = numbers["common"]["num_present"]
            assert weight == present
            buckets = numbers["distribution"]["kll"]["buckets"]
            assert len(buckets) == 10
            assert sum(bucket["count"] for bucket in buckets) == present
            assert buckets[0]["lower_bound"] == numbers["min"]
            assert buckets[-1]["upper_bound"] == pytest.approx(numbers["max"])
        else:
            strings = entry["string_statistics"]
            counts = [bucket["count"] for bucket in strings["distribution"]["categorical"]["buckets"]]
            assert sum(counts) == strings["common"]["num_present"]
            assert strings["distinct_count"] == len(counts)
    json.dumps(body, allow_nan=False)


def check_constraints(body: dict[str, Any]) -> None:
    """Check the form in AWS's "Schema for Constraints (constraints.json file)"."""
    for entry in body["features"]:
        assert {"name", "inferred_type", "completeness"} <= set(entry)
        assert 0 <= entry["completeness"] <= 1
    config = body["monitoring_config"]
    assert config["evaluate_constraints"] in ("Enabled", "Disabled")
    assert config["distribution_constraints"]["comparison_method"] in ("Robust", "Simple")


def test_a_baseline_and_a_window_are_written_in_the_published_form() -> None:
    stats, rules = build_baseline(columns())
    check_statistics(stats)
    check_constraints(rules)
    baseline = read_baseline(stats, rules)
    state = window(baseline, RNG.normal(2, 1, 900), RNG.poisson(4, 900), {"JFK": 500, "LGA": 300, "BOS": 100})
    check_statistics(statistics(baseline, state))
    check_constraints(constraints(baseline, state))
    verdict = judge(baseline, state, Rules(mode="model-monitor"))
    assert {found["constraint_check_type"] for found in verdict.violations} == {
        "baseline_drift_check",
        "categorical_values_check",
    }
    assert all(set(found) == {"feature_name", "constraint_check_type", "description"} for found in verdict.violations)


def test_robust_distance_is_the_managed_formula() -> None:
    stats, rules = build_baseline([ReferenceColumn("x", np.arange(1000.0))])
    baseline = read_baseline(stats, rules)
    state = WindowState.empty(baseline.features)
    feature = baseline.features[0]
    target = state.features["x"]
    assert isinstance(target, NumericState)
    target.add(np.arange(1000.0) + 300, feature)
    state.rows = 1000
    verdict = judge(baseline, state, Rules(mode="model-monitor"))
    expected = 0.3 - 1.8 * np.sqrt(2000 / 1_000_000)
    assert verdict.features[0].distance == pytest.approx(expected, abs=1 / 256)
    text = verdict.violations[0]["description"]
    assert float(text.split("distance: ")[1].split(" exceeds threshold: ")[0]) == pytest.approx(expected, abs=1 / 256)
    assert text.endswith("exceeds threshold: 0.1")


@pytest.mark.parametrize(
    ("spelling", "robust", "threshold"),
    [
        ({"comparison_method": "Simple", "comparison_threshold": 0.2}, False, 0.2),
        ({"comparion_method": "simple"}, False, 0.1),
        ({"comparison_method": "linf_simple"}, False, 0.1),
        ({"comparison_method": "linf_robust"}, True, 0.1),
        ({}, True, 0.1),
    ],
)
def test_all_spellings_of_the_method_are_read(spelling: dict[str, Any], robust: bool, threshold: float) -> None:
    stats, rules = build_baseline(columns(500))
    rules["monitoring_config"]["distribution_constraints"] = spelling
    config = read_baseline(stats, rules).config
    assert (config.robust, config.threshold) == (robust, threshold)


@pytest.mark.parametrize("key", ["monitoringConfigOverrides", "monitoring_config_overrides"])
def test_a_features_overrides_replace_single_thresholds(key: str) -> None:
    stats, rules = build_baseline(columns(500))
    rules["features"][0][key] = {"distribution_constraints": {"comparison_threshold": 0.7}}
    baseline = read_baseline(stats, rules)
    x, n, _ = baseline.features
    assert baseline.config.of(x).threshold == 0.7
    assert baseline.config.of(x).robust
    assert baseline.config.of(n).threshold == 0.1


def test_an_unknown_method_is_refused_by_name() -> None:
    stats, rules = build_baseline(columns(500))
    rules["monitoring_config"]["distribution_constraints"]["comparison_method"] = "Magic"
    with pytest.raises(BaselineError, match="magic"):
        read_baseline(stats, rules)


def test_a_baseline_without_own_bins_is_read_from_its_sketch_or_its_buckets() -> None:
    values = RNG.normal(size=20_000)
    stats, rules = build_baseline([ReferenceColumn("x", values)])
    del stats["features"][0]["evergreen"], rules["features"][0]["evergreen"]
    shifted = RNG.normal(1, 1, 5000)
    for part, near in (("sketch", 0.01), ("buckets", 0.12)):
        baseline = read_baseline(stats, rules)
        state = WindowState.empty(baseline.features)
        target = state.features["x"]
        assert isinstance(target, NumericState)
        target.add(shifted, baseline.features[0])
        state.rows = 5000
        distance = judge(baseline, state, Rules()).features[0].distance
        exact = np.abs(np.searchsorted(np.sort(values), np.sort(shifted)) / 20_000 - np.arange(5000) / 5000).max()
        assert distance == pytest.approx(exact, abs=near), part
        stats["features"][0]["numerical_statistics"]["distribution"]["kll"].pop("sketch", None)


def test_the_sketch_keeps_all_weight_and_its_quantiles_are_near() -> None:
    values = RNG.normal(size=100_003)
    body = kll.sketch(values)
    items, weights = kll.weighted(body["data"])
    assert weights.sum() == len(values)
    middle = items[np.searchsorted(np.cumsum(weights), len(values) / 2)]
    assert middle == pytest.approx(np.median(values), abs=0.01)


def test_schema_violations_are_distinguished_from_drift() -> None:
    stats, rules = build_baseline(columns())
    baseline = read_baseline(stats, rules)
    state = window(baseline, np.full(500, np.inf), np.full(500, np.nan), {"JFK": 500})
    state.widths[5] = 500
    verdict = judge(baseline, state, Rules())
    kinds = {(found["feature_name"], found["constraint_check_type"]) for found in verdict.schema_violations}
    assert kinds == {
        ("x", "data_type_check"),
        ("n", "completeness_check"),
        ("Extra columns", "extra_column_check"),
    }
    assert {found["constraint_check_type"] for found in verdict.violations} <= CHECKS | OWN_CHECKS


def test_too_few_rows_are_neither_drift_nor_ok() -> None:
    stats, rules = build_baseline(columns())
    baseline = read_baseline(stats, rules)
    moved = RNG.normal(size=200) + 2
    state = window(baseline, moved[:199], np.full(199, 1.0), {"JFK": 199})
    assert judge(baseline, state, Rules()).status == "InsufficientData"
    more = window(baseline, moved, np.full(200, 1.0), {"JFK": 200})
    assert judge(baseline, more, Rules()).status != "InsufficientData"


def test_a_seasonal_feature_has_low_power() -> None:
    season = 3 * np.sin(np.arange(20_000) / 20_000 * 8 * np.pi) + RNG.normal(size=20_000)
    baseline = read_baseline(*build_baseline([ReferenceColumn("x", season)]))
    state = WindowState.empty(baseline.features)
    target = state.features["x"]
    assert isinstance(target, NumericState)
    target.add(season[:1000] + 2, baseline.features[0])
    state.rows = 1000
    verdict = judge(baseline, state, Rules())
    assert not verdict.judgeable
    assert "cannot be told" in verdict.features[0].not_judged
    assert verdict.status == "LowPower"


def test_new_and_vanished_values_are_drift_of_a_category() -> None:
    baseline = read_baseline(*build_baseline([ReferenceColumn("c", strings=["a", "b"] * 500)]))
    state = WindowState.empty(baseline.features)
    target = state.features["c"]
    assert isinstance(target, CategoryState)
    target.add({"a": 450, "new": 30, "other": 20}, 0, baseline.features[0])
    state.rows = 500
    feature = judge(baseline, state, Rules()).features[0]
    assert feature.distance == pytest.approx(0.1 + 0.5)
    assert feature.drifted
    assert set(feature.new_values) == {"new", "other"}


def test_a_file_that_is_no_baseline_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(BaselineError, match="features"):
        read_baseline({"something": 1}, None)
