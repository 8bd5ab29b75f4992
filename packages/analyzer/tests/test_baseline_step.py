"""The Baseline step builds baselines from the model's own rows and predictions, and monitors can use them."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drift_analyzer import baseline_step, container
from drift_analyzer.baseline_files import read_baseline
from drift_analyzer.container_environment import ContainerEnvironment

RNG = np.random.default_rng(3)
INFERENCE = """
import csv, io
import numpy as np
def model_fn(folder): return 2.0
def input_fn(body, content_type): return [row for row in csv.reader(io.StringIO(body)) if row]
def predict_fn(rows, model): return [1 / (1 + np.exp(-model / 10 * float(row[1] or 0))) for row in rows]
def output_fn(answers, accept): return "".join(f"{float(a)!r}\\n" for a in answers), "text/csv"
def explain_fn(rows, model):
    x = np.array([float(row[1] or 0) for row in rows])
    return np.column_stack([0 * x, model * x, 0 * x])
"""
SETTINGS: dict[str, Any] = {
    "columns": [{"name": "origin", "type": "string"}, {"name": "temp", "type": "number"}],
    "target": "late",
    "problem_type": "BinaryClassification",
    "threshold": 0.5,
    "kinds": ["data_quality", "model_quality", "bias", "explainability"],
    "critical": ["temp"],
    "bias": {
        "headers": ["origin", "temp", "late"],
        "label": "late",
        "label_values_or_threshold": ["1"],
        "facet": [{"name_or_index": "origin", "value_or_threshold": ["JFK"]}],
    },
}


def raw(rows: int) -> str:
    lines = ["flight,temp,late,origin"]
    for index, value in enumerate(RNG.normal(size=rows)):
        late = "" if index % 50 == 0 else str(int(value + RNG.normal() > 0))
        lines.append(f"{index},{value * 10:.0f},{late},{('JFK', 'EWR')[index % 2]}")
    return "\n".join(lines) + "\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Write the inputs of the processing job."""
    inputs = tmp_path / "input"
    for split, rows in (("train", 2000), ("holdout", 1000)):
        folder = inputs / split / "flight-delays" / "raw" / "dt=2013-01-01"
        folder.mkdir(parents=True)
        (folder / "flights.csv").write_text(raw(rows))
    (inputs / "model").mkdir()
    with tarfile.open(inputs / "model" / "model.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo("code/inference.py")
        member.size = len(INFERENCE.encode())
        tar.addfile(member, io.BytesIO(INFERENCE.encode()))
    (inputs / "settings").mkdir()
    (inputs / "settings" / "0badcafe.json").write_text(json.dumps(SETTINGS))
    return tmp_path


def read(root: Path, file: str) -> Any:
    return json.loads((root / "output" / "baselines" / file).read_text())


def test_every_monitor_gets_its_baseline(root: Path) -> None:
    assert baseline_step.main(root, root / "message") == 0
    found = read_baseline(read(root, "data-quality/statistics.json"), read(root, "data-quality/constraints.json"))
    features = {feature.name: feature for feature in found.features}
    assert list(features) == ["prediction", "origin", "temp"], "Model Monitor puts the prediction first"
    assert (features["prediction"].source, features["prediction"].importance) == ("output", 0.0)
    assert features["temp"].present == 1960
    assert features["temp"].critical
    assert features["temp"].importance > features["origin"].importance
    assert features["temp"].type == "Fractional", "as the settings say, although the rows hold whole numbers only"
    quality = read(root, "model-quality/constraints.json")["binary_classification_constraints"]
    assert 0.6 < quality["auc"]["threshold"] < 1
    assert all(rule["evergreen"]["value"] > rule["threshold"] for rule in (quality["auc"], quality["accuracy"]))
    facets = read(root, "bias/analysis.json")["post_training_bias_metrics"]["facets"]
    assert facets["origin"][0]["value_or_threshold"] == "JFK"
    shap = read(root, "explainability/analysis.json")["explanations"]["kernel_shap"]["label0"]["global_shap_values"]
    assert shap["temp"] > shap["origin"] == 0


def test_constraints_of_quality_leave_less_room_to_larger_windows(root: Path) -> None:
    thresholds = []
    for share in (0.0, 0.9):
        settings = {**SETTINGS, "kinds": ["model_quality"], "window_share": share}
        (root / "input" / "settings" / "0badcafe.json").write_text(json.dumps(settings))
        assert baseline_step.main(root, root / "message") == 0
        rules = read(root, "model-quality/constraints.json")["binary_classification_constraints"]
        thresholds.append(rules["auc"]["threshold"])
    assert thresholds[0] < thresholds[1] < rules["auc"]["evergreen"]["value"]


def test_a_model_that_cannot_explain_fails_the_step_with_the_reason(root: Path) -> None:
    archive = root / "input" / "model" / "model.tar.gz"
    without = INFERENCE.partition("def explain_fn")[0].encode()
    with tarfile.open(archive, "w:gz") as tar:
        member = tarfile.TarInfo("code/inference.py")
        member.size = len(without)
        tar.addfile(member, io.BytesIO(without))
    assert baseline_step.main(root, root / "message") == 1
    assert (
        root / "message"
    ).read_text() == "no baseline: the model's own code failed: its inference.py has no explain_fn"


def test_explanations_of_captured_requests_are_compared_with_the_baselines(root: Path) -> None:
    assert baseline_step.main(root, root / "message") == 0
    captured = root / "capture"
    captured.mkdir()
    rows = "\n".join(["JFK,1.5", "EWR,"] * 100) + "\n"
    side = {"observedContentType": "text/csv", "mode": "INPUT", "data": rows, "encoding": "CSV"}
    meta = {"eventId": "1", "inferenceTime": "2026-02-14T17:00:00Z"}
    record = {"captureData": {"endpointInput": side}, "eventMetadata": meta, "eventVersion": "0"}
    (captured / "a.jsonl").write_text(json.dumps(record) + "\n{broken\n")
    config = root / "config"
    config.mkdir()
    (config / "0badcafe.json").write_text(json.dumps({"headers": ["origin", "temp"], "methods": {"shap": {}}}))
    values = {
        "analysis_type": "MODEL_EXPLAINABILITY",
        "monitor_mode": "model-monitor",
        "analysis_config": str(config),
        "dataset_format": '{"sagemakerCaptureJson":{}}',
        "dataset_source": str(captured),
        "model_archive": str(root / "input" / "model" / "model.tar.gz"),
        "baseline_constraints": str(root / "output" / "baselines" / "explainability" / "analysis.json"),
        "output_path": str(root / "found"),
        "start_time": "2026-02-14T00:00:00Z",
        "end_time": "2026-02-15T00:00:00Z",
    }
    message = container.run(ContainerEnvironment.read(values), root)
    assert message == "Completed: Job completed successfully with no violations."
    verdict = json.loads((root / "found" / "verdict.json").read_text())
    assert (verdict["status"], verdict["bad_records"]) == ("Ok", 1)
    assert "200 rows" in verdict["reason"], "a record may hold several rows, and a nullable column may be empty"
    assert "bad_records.jsonl" in {path.name for path in (root / "found").iterdir()}
    page = (root / "found" / "report.html").read_text()
    assert "<h1>Feature attributions are stable</h1>" in page
    assert "temp" in page
