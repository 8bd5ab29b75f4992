"""Breaks are seen, one broken feature of many is named, and quiet data are quiet."""

import base64
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from drift_analyzer.baseline_builder import ReferenceColumn, build_baseline, infer_column
from drift_analyzer.baseline_files import Baseline, read_baseline
from drift_analyzer.capture_reader import MAX_LINE, Capture, _whole_lines
from drift_analyzer.drift import DriftVerdict, Rules, judge
from drift_analyzer.window_state import NumericState, WindowState

Row = Mapping[str, Any]
LETTERS = list("ABCDEFGH")


def row(generator: np.random.Generator) -> dict[str, Any]:
    """Return a row of ten features."""
    numbers = {f"n{place}": round(float(generator.normal(20 + place, 3)), 2) for place in range(7)}
    return {
        **numbers,
        "amount": round(float(generator.exponential(50)) + 0.01, 2),
        "kind": str(generator.choice(LETTERS[:6])),
        "empty": "",
    }


def rows(count: int, seed: int) -> list[dict[str, Any]]:
    generator = np.random.default_rng(seed)
    return [row(generator) for _ in range(count)]


@pytest.fixture(scope="module")
def baseline() -> Baseline:
    reference = rows(3000, seed=0)
    return read_baseline(
        *build_baseline([infer_column(name, [one[name] for one in reference]) for name in reference[0]])
    )


def line(data: object, number: int, encoding: str = "CSV", content_type: str = "text/csv", answer: str = "0.5") -> str:
    side = {"observedContentType": content_type, "mode": "INPUT", "data": data, "encoding": encoding}
    output = {"observedContentType": "text/csv", "mode": "OUTPUT", "data": answer, "encoding": "CSV"}
    meta = {"eventId": f"e{number}", "inferenceTime": "2026-02-14T17:25:49Z"}
    captured = {"endpointInput": side, "endpointOutput": output}
    return json.dumps({"captureData": captured, "eventMetadata": meta, "eventVersion": "0"})


def csv_line(one: Row, number: int) -> str:
    return line(",".join(str(cell) for cell in one.values()), number)


def read(baseline: Baseline, lines: Sequence[str]) -> WindowState:
    capture = Capture(baseline.schema())
    capture.read(io.BytesIO("\n".join(lines).encode()), "capture")
    return capture.windows[0]


def verdict_of(baseline: Baseline, traffic: Sequence[Row]) -> DriftVerdict:
    return judge(baseline, read(baseline, [csv_line(one, number) for number, one in enumerate(traffic)]), Rules())


def changed(traffic: Sequence[Row], **cells: Any) -> list[dict[str, Any]]:
    """Return rows with some cells replaced by functions of the row and its place."""
    return [{**one, **{name: cells[name](one, place) for name in cells}} for place, one in enumerate(traffic)]


FAULTS = {
    "completeness_check n1": {"n1": lambda one, _: ""},
    "completeness_check n2": {"n2": lambda one, place: "" if place % 10 == 0 else one["n2"]},
    "completeness_check empty": {"empty": lambda _, place: place},
    "constant_check n3": {"n3": lambda _one, _place: 23.0},
    "range_check n0": {"n0": lambda one, _: round(one["n0"] * 1.8 + 32, 2)},
    "range_check n1": {"n1": lambda one, place: 9999 if place % 20 == 0 else one["n1"]},
    "range_check n4": {"n4": lambda one, _: one["n4"] * 1000},
    "non_negative_check amount": {"amount": lambda one, place: -1 if place % 20 == 0 else one["amount"]},
    "repeated_value_check n5": {"n5": lambda one, place: 25.0 if place % 8 == 0 else one["n5"]},
    "categorical_values_check kind": {"kind": lambda one, _: "Bee" if one["kind"] == "B" else one["kind"]},
    "vanished_values_check kind": {"kind": lambda one, _: "A" if one["kind"] == "B" else one["kind"]},
    "data_type_check n6": {"n6": lambda one, place: "n/a" if place % 3 == 0 else one["n6"]},
    "shift_check n0": {"n0": lambda one, _: one["n0"] + 5},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_one_broken_feature_of_ten_is_named_and_is_no_drift_of_the_data_set(baseline: Baseline, fault: str) -> None:
    check, feature = fault.split()
    verdict = verdict_of(baseline, changed(rows(800, seed=3), **FAULTS[fault]))
    assert verdict.status == "Violation"
    assert (feature, check) in {(found.feature, found.check) for found in verdict.broken}
    assert verdict.broken_names == (feature,)
    assert not verdict.data_drifted
    assert verdict.answers["broken"] == {"answer": True, "features": [feature]}


@pytest.mark.parametrize("factor", [1.5, 0.6])
def test_another_spread_of_one_feature_is_listed(baseline: Baseline, factor: float) -> None:
    traffic = changed(rows(800, seed=4), n2=lambda one, _: round(22 + factor * (one["n2"] - 22), 2))
    assert verdict_of(baseline, traffic).moved == ("n2",)


def test_swapped_columns_are_both_named(baseline: Baseline) -> None:
    traffic = changed(rows(800, seed=4), n0=lambda one, _: one["amount"], amount=lambda one, _: one["n0"])
    assert set(verdict_of(baseline, traffic).moved) == {"n0", "amount"}


def test_a_critical_feature_that_is_broken_does_not_retrain() -> None:
    reference = rows(2000, seed=0)
    columns = [infer_column(name, [one[name] for one in reference]) for name in ("n0", "n1")]
    baseline = read_baseline(*build_baseline([ReferenceColumn("n0", columns[0].numbers, critical=True), columns[1]]))
    traffic = [{"n0": one["n0"] * 1.8 + 32, "n1": one["n1"]} for one in rows(500, seed=1)]
    verdict = verdict_of(baseline, traffic)
    assert (verdict.status, verdict.data_drifted, verdict.broken_names) == ("Violation", False, ("n0",))


def test_a_data_set_that_drifts_is_drift_and_not_broken(baseline: Baseline) -> None:
    moved = {f"n{place}": (lambda one, _, name=f"n{place}": round(one[name] + 3, 2)) for place in range(7)}
    verdict = verdict_of(baseline, changed(rows(800, seed=5), **moved))
    assert (verdict.status, verdict.data_drifted, verdict.broken) == ("Drift", True, ())


FORMS: dict[str, Any] = {
    "object": lambda one, _names: one,
    "list": lambda one, _names: list(one.values()),
    "instances": lambda one, _names: {"instances": [list(one.values())]},
    "instances of objects": lambda one, _names: {"signature_name": "serving_default", "instances": [one]},
    "inputs of columns": lambda one, _names: {"inputs": {name: [cell] for name, cell in one.items()}},
    "dataframe_split": lambda one, names: {"dataframe_split": {"columns": names, "data": [list(one.values())]}},
    "dataframe_records": lambda one, _names: {"dataframe_records": [one]},
    "columns and data": lambda one, names: {"columns": names, "index": [0], "data": [list(one.values())]},
    "v2 tensor for each column": lambda one, _names: {
        "inputs": [{"name": name, "shape": [1, 1], "datatype": "FP64", "data": [cell]} for name, cell in one.items()]
    },
    "v2 tensor of rows": lambda one, names: {
        "inputs": [{"name": "x", "shape": [1, len(names)], "datatype": "FP64", "data": list(one.values())}]
    },
    "columns": lambda one, _names: {name: {"0": cell} for name, cell in one.items()},
    "seldon": lambda one, names: {"data": {"names": names, "ndarray": [list(one.values())]}},
    "features": lambda one, _names: {"features": list(one.values())},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("encoding", ["JSON", "BASE64"])
def test_payload_forms_of_other_servers_are_read(baseline: Baseline, form: str, encoding: str) -> None:
    traffic = rows(300, seed=6)
    lines = []
    for number, one in enumerate(traffic):
        text = json.dumps(FORMS[form](one, list(one)))
        data = base64.b64encode(text.encode()).decode() if encoding == "BASE64" else text
        lines.append(line(data, number, encoding, "application/json"))
    state = read(baseline, lines)
    assert (state.rows, state.bad, dict(state.extra), dict(state.absent)) == (300, 0, {}, {})
    expected = read(baseline, [csv_line(one, number) for number, one in enumerate(traffic)])
    assert state.features["n3"].to_json() == expected.features["n3"].to_json()
    assert judge(baseline, state, Rules()).status == "Ok"


def test_missing_and_unknown_names_of_columns_are_violations(baseline: Baseline) -> None:
    renamed = [{name.upper(): cell for name, cell in one.items()} for one in rows(300, seed=7)]
    lines = [line(json.dumps(one), number, "JSON", "application/json") for number, one in enumerate(renamed)]
    verdict = judge(baseline, read(baseline, lines), Rules())
    assert verdict.status == "Violation"
    checks = [found.check for found in verdict.broken]
    assert (checks.count("missing_column_check"), checks.count("extra_column_check")) == (9, 10)  # one was empty


def test_a_name_that_the_baseline_lacks_is_an_extra_column(baseline: Baseline) -> None:
    lines = [
        line(json.dumps({**one, "request_id": number}), number, "JSON", "application/json")
        for number, one in enumerate(rows(300, seed=7))
    ]
    verdict = judge(baseline, read(baseline, lines), Rules())
    assert [(found.feature, found.check) for found in verdict.broken] == [("request_id", "extra_column_check")]


@pytest.mark.parametrize("share", [2, 1])
@pytest.mark.parametrize("damage", ["{", "wide", "base64"])
def test_unreadable_records_are_a_violation(baseline: Baseline, share: int, damage: str) -> None:
    lines = []
    for number, one in enumerate(rows(600, seed=8)):
        good = csv_line(one, number)
        bad = {"{": good[:90], "wide": line("1,2", number), "base64": line("%", number, "BASE64")}[damage]
        lines.append(bad if number % share == 0 else good)
    state = read(baseline, lines)
    verdict = judge(baseline, state, Rules())
    assert verdict.status == "Violation"
    assert verdict.broken[0].check == "unreadable_records_check"
    assert state.bad == 600 // share


@pytest.mark.parametrize("answer", ["B,0.1,0.8,0.1", '"B",0.1,0.8,0.1', "B,0.1,0.8,0.1\n"])
def test_what_stands_behind_the_prediction_does_not_blind_data_quality(answer: str) -> None:
    features = [ReferenceColumn("x", np.random.default_rng(0).normal(size=1000))]
    features.append(ReferenceColumn("prediction", strings=LETTERS[:4] * 250, source="output"))
    baseline = read_baseline(*build_baseline(features))
    state = read(baseline, [line("0.5", number, answer=answer) for number in range(50)])
    assert (state.rows, state.bad) == (50, 0)
    assert state.features["prediction"].to_json()["known"] == {"B": 50}


def test_every_request_sent_ten_times_is_no_drift(baseline: Baseline) -> None:
    traffic = [one for one in rows(80, seed=11) for _ in range(10)]
    verdict = verdict_of(baseline, traffic)
    assert verdict.status == "InsufficientData"
    assert "10 times" in verdict.notes[0]
    assert verdict_of(baseline, [one for one in rows(300, seed=12) for _ in range(10)]).status == "Ok"


def _quiet(columns: Any, reference: int, size: int, windows: int, seed: int) -> list[DriftVerdict]:
    generator = np.random.default_rng(seed)
    baseline = read_baseline(*build_baseline(columns(generator, reference)))
    found = []
    for _ in range(windows):
        state = WindowState.empty(baseline.features)
        state.rows = state.records = size
        for feature, column in zip(baseline.features, columns(generator, size), strict=True):
            target = state.features[feature.name]
            if isinstance(target, NumericState):
                assert column.numbers is not None
                target.add(column.numbers, feature)
            else:
                target.add(Counter(value for value in column.strings or () if value is not None), 0, feature)
        found.append(judge(baseline, state, Rules()))
    return found


def _zipf(values: int) -> Any:
    weights = 1 / np.arange(1, values + 1)
    weights /= weights.sum()
    return lambda generator, rows: [
        ReferenceColumn("id", strings=[f"id{k}" for k in generator.choice(values, rows, p=weights)]),
        ReferenceColumn("x", generator.normal(size=rows)),
    ]


def _even(values: int) -> Any:
    return lambda generator, rows: [
        ReferenceColumn("id", strings=[f"id{k}" for k in generator.integers(0, values, rows)]),
        ReferenceColumn("x", generator.standard_cauchy(rows)),
    ]


def _mixed(generator: np.random.Generator, rows: int) -> list[ReferenceColumn]:
    columns = [ReferenceColumn(f"n{i}", generator.normal(size=rows)) for i in range(6)]
    columns += [ReferenceColumn(f"h{i}", generator.standard_t(2, rows)) for i in range(3)]
    columns += [ReferenceColumn(f"c{i}", generator.poisson(3, rows).astype(float)) for i in range(3)]
    rare = [
        ReferenceColumn(f"r{i}", strings=np.where(generator.random(rows) < 0.01, "b", "a").tolist()) for i in (0, 1)
    ]
    return columns + rare


@pytest.mark.parametrize("reference", [1320, 5000])
@pytest.mark.parametrize(
    "kind",
    [_zipf(2000), _zipf(20_000), _even(1000), _even(5000), _mixed],
    ids=["zipf", "wide zipf", "even", "wide even", "mixed"],
)
def test_quiet_independent_rows_are_quiet(kind: Any, reference: int) -> None:
    found = [v for size in (300, 1000) for v in _quiet(kind, reference, size, windows=20, seed=reference + size)]
    loud = [verdict for verdict in found if verdict.status not in ("Ok", "LowPower")]
    assert [verdict.reason for verdict in loud] == []


def test_identifiers_without_a_distribution_are_not_judged() -> None:
    statistics = {
        "features": [
            {
                "name": "id",
                "inferred_type": "String",
                "string_statistics": {"common": {"num_present": 5000, "num_missing": 0}, "distinct_count": 5000.0},
            },
            {
                "name": "x",
                "inferred_type": "Fractional",
                "numerical_statistics": {
                    "common": {"num_present": 100, "num_missing": 0},
                    "distribution": {"kll": {"buckets": [{"lower_bound": 0, "upper_bound": 1, "count": 100}]}},
                },
            },
        ]
    }
    baseline = read_baseline(statistics, None)
    lines = [line(f"a{number},0.5", number) for number in range(300)]
    verdict = judge(baseline, read(baseline, lines), Rules())
    assert not verdict.features[0].judged
    assert "no distribution" in verdict.features[0].not_judged
    assert verdict.answers["judgeable"]["features_judged"] == 1


def test_a_threshold_above_one_says_that_the_feature_cannot_be_judged() -> None:
    statistics, constraints = build_baseline([ReferenceColumn("x", np.random.default_rng(0).normal(size=2000))])
    constraints["monitoring_config"]["distribution_constraints"]["comparison_threshold"] = 1.5
    baseline = read_baseline(statistics, constraints)
    state = read(baseline, [line(f"{value}", number) for number, value in enumerate(np.linspace(-2, 2, 400))])
    verdict = judge(baseline, state, Rules())
    assert verdict.status == "LowPower"
    assert verdict.features[0].threshold <= 1
    assert not verdict.features[0].judged


def test_the_order_of_the_reference_is_tested() -> None:
    generator = np.random.default_rng(0)
    slow = np.cumsum(generator.normal(size=3000))
    ordered = read_baseline(*build_baseline([ReferenceColumn("x", slow)]))
    shuffled = read_baseline(*build_baseline([ReferenceColumn("x", generator.permutation(slow))]))
    assert (ordered.ordered, shuffled.ordered) == (True, False)


def test_a_line_that_is_too_long_is_a_bad_record_and_the_next_is_read(
    baseline: Baseline, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_LINE >= 1 << 25
    monkeypatch.setattr("drift_analyzer.capture_reader.MAX_LINE", 1 << 12)
    monkeypatch.setattr("drift_analyzer.capture_reader._LONG_LINE", 1 << 10)
    good = csv_line(rows(1, seed=1)[0], 1).encode()
    text = b"\n".join([good, b"x" * 9000, good, b"y" * 2000, good]) + b"\n"
    pieces = [(piece, complete) for piece, complete in _whole_lines(io.BytesIO(text), size=300)]
    assert [complete for _, complete in pieces].count(False) == 1
    assert b"".join(piece for piece, complete in pieces if complete).count(good) == 3


def test_rows_of_a_long_line_are_folded_in_pieces(baseline: Baseline, monkeypatch: pytest.MonkeyPatch) -> None:
    traffic = rows(500, seed=2)
    text = "\n".join(",".join(str(cell) for cell in one.values()) for one in traffic)
    whole = read(baseline, [line(text, 1)])
    monkeypatch.setattr("drift_analyzer.capture_reader._LONG_LINE", 1 << 10)
    monkeypatch.setattr("drift_analyzer.capture_reader._PIECE", 1 << 8)
    assert read(baseline, [line(text, 1)]).to_json() == whole.to_json()
