"""Mutated captures never stop a run, and mutated baselines end in one line. Seeded: a failure repeats itself."""

import base64
import io
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drift_analyzer import bias, container, explainability, quality, quality_verdict
from drift_analyzer.baseline_builder import ReferenceColumn, build_baseline
from drift_analyzer.baseline_files import read_baseline
from drift_analyzer.capture_reader import Capture
from drift_analyzer.data_quality import CapturedData, JudgedWindow, file_bodies
from drift_analyzer.drift import Rules, judge
from drift_analyzer.jsonio import dumps
from drift_analyzer.report.data_quality import render
from drift_analyzer.window_state import WindowState

RUNS = int(os.environ.get("FUZZ_RUNS", "400"))
"""Mutations of each kind; a longer run: `FUZZ_RUNS=20000`."""
ODD: list[Any] = [
    None,
    True,
    -1,
    0,
    1.5,
    1e308,
    "",
    "x",
    "NaN",
    "1e999",
    [],
    {},
    [[]],
    [None],
    {"": 1},
    "é\u2028",
    10**30,
]
RNG = np.random.default_rng(0)
COLUMNS = [
    ReferenceColumn("x", RNG.normal(size=1200)),
    ReferenceColumn("n", RNG.poisson(3, 1200).astype(float)),
    ReferenceColumn("c", strings=RNG.choice(["a", "b", "ü"], 1200).tolist()),
]
STATISTICS, CONSTRAINTS = build_baseline(COLUMNS)


def payload(source: random.Random) -> tuple[str, str, str]:
    """Return data, encoding and content type of a request."""
    row = [round(source.gauss(0, 1), 3), source.randint(0, 6), source.choice("abü")]
    named = dict(zip("xnc", row, strict=True))
    text = ",".join(map(str, row))
    documents: list[Any] = [named, row, {"instances": [row]}, {"columns": list("xnc"), "data": [row]}]
    documents += [{"inputs": [{"name": name, "shape": [1], "data": [cell]} for name, cell in named.items()]}]
    return source.choice(
        [
            (text, "CSV", "text/csv"),
            (f'"{row[0]}",{row[1]},"{row[2]}"\r\n', "CSV", "text/csv"),
            (json.dumps(source.choice(documents)), "JSON", "application/json"),
            (base64.b64encode(text.encode()).decode(), "BASE64", "text/csv"),
        ]
    )


def captured(source: random.Random) -> dict[str, Any]:
    data, encoding, kind = payload(source)
    side = {"observedContentType": kind, "mode": "INPUT", "data": data, "encoding": encoding}
    meta = {"eventId": "e", "inferenceTime": source.choice(["2026-02-14T17:25:49Z", "2026-02-14T17:25:49.123Z"])}
    return {"captureData": {"endpointInput": side}, "eventMetadata": meta, "eventVersion": "0"}


def mutated(body: Any, source: random.Random) -> Any:
    """Return a copy with one place replaced, removed, renamed or doubled."""
    body = json.loads(json.dumps(body))
    at = body
    while True:
        keys: list[Any] = list(at) if isinstance(at, dict) else list(range(len(at)))
        if not keys:
            return source.choice(ODD)
        key = source.choice(keys)
        if isinstance(at[key], dict | list) and at[key] and source.random() < 0.8:
            at = at[key]
            continue
        kind = source.randrange(4)
        if kind == 0:
            del at[key]
        elif kind == 1 and isinstance(at, dict):
            at[source.choice(["", "name", "value", "data"])] = at.pop(key)
        elif kind == 2 and isinstance(at, list):
            at.append(at[key])
        else:
            at[key] = source.choice(ODD)
        return body


def damaged(line: bytes, source: random.Random) -> bytes:
    """Return a line with a few bytes changed."""
    text = bytearray(line)
    for _ in range(source.randint(1, 3)):
        place = source.randrange(len(text))
        text[place : place + source.randint(0, 2)] = bytes(
            source.choices(b'",\\n{}[]:0aX\x00\xff\r- ', k=source.randint(0, 2))
        )
    return bytes(text)


def test_a_mutated_capture_never_stops_a_run_and_reads_alike_in_bulk() -> None:
    source = random.Random(13)
    baseline = read_baseline(STATISTICS, CONSTRAINTS)
    for run in range(RUNS):
        lines = [json.dumps(captured(source), ensure_ascii=source.random() < 0.5).encode() for _ in range(3)]
        body = mutated(captured(source), source)
        changed = json.dumps(body).encode() if source.random() < 0.5 else damaged(lines[0], source)
        lines.insert(source.randrange(4), changed.replace(b"\n", b" "))
        states = []
        for fast in (True, False):
            capture = Capture(baseline.schema(), fast=fast)
            capture.read(io.BytesIO(b"\n".join(lines)), "fuzz")
            states.append(capture.windows.get(0, WindowState()).to_json())
        assert states[0] == states[1], (run, lines)
        state = capture.windows.get(0) or WindowState.empty(baseline.features)
        verdict = judge(baseline, state, Rules(min_rows=2))
        if run % 100 == 0:
            windows, data = [JudgedWindow(0, state, verdict)], CapturedData({0: state}, [], 0, {})
            assert dumps(file_bodies(baseline, windows, data)["verdict.json"])
            assert "</html>" in render(baseline, windows, data)


def test_a_mutated_baseline_is_judged_or_refused_in_one_line() -> None:
    source = random.Random(7)
    capture = Capture(read_baseline(STATISTICS, CONSTRAINTS).schema())
    for run in range(RUNS):
        bodies: list[Any] = [STATISTICS, CONSTRAINTS]
        place = source.randrange(2)
        bodies[place] = mutated(bodies[place], source)
        try:
            baseline = read_baseline(*bodies)
            capture = Capture(baseline.schema())
            lines = [dumps(captured(source)) for _ in range(3)]
            capture.read(io.BytesIO(b"\n".join(lines)), "fuzz")
            judge(baseline, capture.windows[0], Rules(min_rows=2, mode=source.choice(["calibrated", "model-monitor"])))
        except ValueError as error:
            assert "\n" not in str(error), run
            assert str(error), run


SCORED = quality.Scored((RNG.random(400) < 0.4).astype(float), (RNG.random(400) < 0.4).astype(float), RNG.random(400))
SAMPLE = bias.BiasSample(RNG.random(400) < 0.4, RNG.random(400) < 0.5, RNG.random(400) < 0.5)


def _judge_quality(body: Any) -> None:
    current = quality.statistics("BinaryClassification", SCORED)
    quality_verdict.violations("BinaryClassification", SCORED, current, body, "calibrated")


def _judge_bias(body: Any) -> None:
    before = bias.baseline_metrics(body, "post_training_bias_metrics", "f", "1")
    bias.violations(SAMPLE, "f", "1", before, bias.post_training, 10)


def _judge_explanation(body: Any) -> None:
    explainability.violations(explainability.read_analysis(body)[1], {"a": 1.0, "b": 2.0}, "label0")


BASELINES: dict[str, tuple[Callable[[Any], None], Any]] = {
    "quality": (_judge_quality, quality.constraints("BinaryClassification", SCORED)),
    "bias": (
        _judge_bias,
        bias.section("post_training_bias_metrics", "y", {("f", "1"): bias.metrics_of(SAMPLE, bias.post_training)}),
    ),
    "explanation": (_judge_explanation, explainability.analysis({"a": 1.0, "b": 2.0})),
}


@pytest.mark.parametrize("kind", BASELINES)
def test_a_mutated_baseline_of_another_kind_is_judged_or_refused_in_one_line(kind: str) -> None:
    source = random.Random(3)
    judged, body = BASELINES[kind]
    for run in range(200):
        changed = mutated(body, source)
        try:
            judged(changed)
        except ValueError as error:
            assert "\n" not in str(error), (run, changed)


def test_a_malformed_constraint_is_an_exit_message(tmp_path: Path) -> None:
    constraints = json.loads(json.dumps(CONSTRAINTS))
    constraints["monitoring_config"]["distribution_constraints"]["comparison_threshold"] = None
    (tmp_path / "statistics.json").write_bytes(dumps(STATISTICS))
    (tmp_path / "constraints.json").write_bytes(dumps(constraints))
    (tmp_path / "a.jsonl").write_bytes(dumps(captured(random.Random(1))))
    values = {
        "dataset_source": str(tmp_path),
        "output_path": str(tmp_path / "out"),
        "baseline_statistics": str(tmp_path / "statistics.json"),
        "baseline_constraints": str(tmp_path / "constraints.json"),
    }
    assert container.main(values, tmp_path / "opt") == 1
    message = (tmp_path / "opt" / "output" / "message").read_text()
    assert message == "Error: constraints.json: comparison_threshold is a number, got None"
