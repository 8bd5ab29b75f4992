"""The container contract, and the jobs for model quality, bias and explainability."""

import json
from pathlib import Path

import numpy as np
import pytest

from drift_analyzer import bias, container, explainability, quality
from drift_analyzer.capture_records import parse
from drift_analyzer.ground_truth import Labels, join

RNG = np.random.default_rng(5)


def line(index: int, row: str, score: str = "0.2", **meta: str) -> str:
    side = {"observedContentType": "text/csv", "encoding": "CSV"}
    capture = {
        "endpointInput": side | {"mode": "INPUT", "data": row + "\n"},
        "endpointOutput": side | {"mode": "OUTPUT", "data": score + "\n"},
    }
    about = {"eventId": f"e{index}", "inferenceTime": f"2026-02-14T17:{index // 60 % 60:02}:{index % 60:02}Z"} | meta
    return json.dumps({"captureData": capture, "eventMetadata": about, "eventVersion": "0"})


def truth(event: str, label: str) -> str:
    data = {"data": label, "encoding": "CSV"}
    return json.dumps({"groundTruthData": data, "eventMetadata": {"eventId": event}, "eventVersion": "0"})


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Write reference data of two features, and 400 captured requests with drift of the first and one bad line."""
    rows = RNG.normal(size=(3000, 2))
    (tmp_path / "reference.csv").write_text("a,b\n" + "\n".join(f"{a:.4f},{b:.4f}" for a, b in rows))
    capture = tmp_path / "capture" / "ep" / "AllTraffic" / "2026" / "02" / "14" / "17"
    capture.mkdir(parents=True)
    drifted = RNG.normal(size=(400, 2)) + np.array([2, 0])
    lines = [line(index, f"{a:.4f},{b:.4f}") for index, (a, b) in enumerate(drifted)]
    (capture / "one.jsonl").write_text("\n".join([*lines[:200], "{broken"]) + "\n")
    (capture / "two.jsonl").write_text("\n".join(lines[200:]) + "\n")
    return tmp_path


def job(home: Path, **values: str) -> tuple[int, str, Path]:
    opt = home / "opt"
    code = container.main(values, opt)
    return code, (opt / "output" / "message").read_text(), opt


def baseline_job(home: Path) -> Path:
    out = home / "baseline"
    source = {"dataset_source": str(home / "reference.csv"), "output_path": str(out)}
    assert job(home, dataset_format='{"csv": {"header": true}}', **source)[0] == 0
    return out


def test_a_data_quality_job_honours_the_published_contract(home: Path) -> None:
    base = baseline_job(home)
    out = home / "out"
    code, message, opt = job(
        home,
        dataset_format='{"sagemakerCaptureJson":{"captureIndexNames":["endpointInput","endpointOutput"]}}',
        dataset_source=str(home / "capture"),
        output_path=str(out),
        baseline_statistics=str(base / "statistics.json"),
        baseline_constraints=str(base / "constraints.json"),
        start_time="2026-02-14T17:00:00Z",
        end_time="2026-02-14T18:00:00Z",
        sagemaker_endpoint_name="ep",
        sagemaker_monitoring_schedule_name="schedule",
    )
    assert (code, message) == (0, "CompletedWithViolations: Job completed successfully with 1 violations.")
    violations = json.loads((out / "constraint_violations.json").read_bytes())["violations"]
    assert [(item["feature_name"], item["constraint_check_type"]) for item in violations] == [
        ("a", "baseline_drift_check")
    ]
    # As AWS's image, which knows no verdict, report or bad records.
    written = {"statistics.json", "constraints.json", "constraint_violations.json"}
    assert {path.name for path in out.iterdir()} == written
    text = (opt / "output" / "metrics" / "cloudwatch" / "cloudwatch_metrics.jsonl").read_text()
    emitted = {item["MetricName"]: item for item in map(json.loads, text.splitlines())}
    assert emitted["feature_baseline_drift_a"]["Namespace"] == "aws/sagemaker/Endpoints/data-metrics"
    assert {item["Name"]: item["Value"] for item in emitted["data_drift"]["Dimensions"]} == {
        "Endpoint": "ep",
        "MonitoringSchedule": "schedule",
    }
    assert set(emitted["feature_data_a"]["StatisticValues"]) == {"Max", "Min", "Sum", "SampleCount"}


def test_data_outside_the_window_is_left_out(home: Path) -> None:
    base = baseline_job(home)
    times = {"start_time": "2026-02-14T17:01:00Z", "end_time": "2026-02-14T17:02:00Z"}
    source = {"dataset_source": str(home / "capture"), "output_path": str(home / "out")}
    source["baseline_statistics"] = str(base / "statistics.json")
    assert job(home, dataset_format="sagemakerCaptureJson", **source, **times)[0] == 0
    assert json.loads((home / "out" / "statistics.json").read_bytes())["dataset"]["item_count"] == 60


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"record_preprocessor_script": "/x.py"}, "record_preprocessor_script is not supported"),
        ({"dataset_format": "avro"}, "got 'avro'"),
        ({"start_time": "noon"}, "start_time is not an ISO 8601 time"),
        ({"analysis_type": "MAGIC"}, "got 'MAGIC'"),
        ({"analysis_type": "MODEL_QUALITY", "problem_type": "Ranking"}, "got 'Ranking'"),
        ({"dataset_source": "/nowhere", "dataset_format": "csv"}, "neither a file nor a folder"),
    ],
)
def test_what_cannot_be_done_fails_with_the_reason_in_the_message(
    tmp_path: Path, values: dict[str, str], reason: str
) -> None:
    code, message, _ = job(tmp_path, **values)
    assert code == 1
    assert reason in message
    assert len(message) <= 1024


def merge_files(home: Path, flip: bool) -> dict[str, str]:
    """Write 900 predictions; labels arrive in two files, out of order, one corrected, some never."""
    folder, labels = home / "scored", home / "labels"
    folder.mkdir()
    labels.mkdir()
    scores = RNG.random(900)
    actual = (RNG.random(900) < (1 - scores if flip else scores)).astype(int)
    lines = [line(i, "1,2", f"{score:.4f}", inferenceId=f"i{i}") for i, score in enumerate(scores)]
    (folder / "a.jsonl").write_text("\n".join(lines + lines[:50]) + "\n")
    late = [truth(f"i{i}", str(actual[i])) for i in range(899, 99, -1)]
    (labels / "15.jsonl").write_text("\n".join([truth("i500", str(1 - actual[500])), *late[:300]]) + "\n")
    (labels / "16.jsonl").write_text("\n".join([*late[300:], truth("i500", str(actual[500])), "{"]) + "\n")
    return {
        "analysis_type": "MODEL_QUALITY",
        "problem_type": "BinaryClassification",
        "dataset_format": "sagemakerCaptureJson",
        "dataset_source": str(folder),
        "ground_truth_source": str(labels),
        "probability_attribute": "0",
        "output_path": str(home / "quality"),
    }


@pytest.mark.parametrize("mode", ["calibrated", "model-monitor"])
@pytest.mark.parametrize("flip", [False, True])
def test_quality_is_judged_by_labels_that_arrive_late_twice_and_corrected(home: Path, flip: bool, mode: str) -> None:
    scores = RNG.random(4000)
    actual = (RNG.random(4000) < scores).astype(int)
    reference = home / "reference_scored.csv"
    reference.write_text("p,y\n" + "\n".join(f"{p:.4f},{y}" for p, y in zip(scores, actual, strict=True)))
    values = merge_files(home, flip) | {"monitor_mode": mode}
    made = values | {"dataset_source": str(reference), "dataset_format": '{"csv":{"header":true}}'}
    made |= {"probability_attribute": "p", "ground_truth_attribute": "y", "output_path": str(home / "qbase")}
    assert job(home, **made)[0] == 0
    code, message, _ = job(home, **values, baseline_constraints=str(home / "qbase" / "constraints.json"))
    assert code == 0, message
    body = json.loads((home / "quality" / "statistics.json").read_bytes())
    assert body["dataset"]["item_count"] == 800
    assert body["dataset"]["label_coverage"] == pytest.approx(800 / 900)
    assert "Quality over time: auc" in (home / "quality" / "report.html").read_text()
    verdict = json.loads((home / "quality" / "verdict.json").read_bytes())["status"]
    if flip:
        assert verdict == "Drift"
    elif mode == "calibrated":
        assert verdict == "Ok"


def test_a_corrected_label_replaces_the_earlier_and_ids_are_preferred(tmp_path: Path) -> None:
    labels = Labels()
    for name, rows in (("15", [truth("i1", "0"), truth("e2", "1")]), ("16", [truth("i1", "1")])):
        path = tmp_path / name
        path.write_text("\n".join(rows))
        with path.open("rb") as stream:
            labels.read(stream, name)
    records = [parse(line(1, "1", inferenceId="i1").encode()), parse(line(2, "1").encode())]
    joined = join(records, labels, None, None)
    assert [row.label for row in joined.rows] == [["1"], ["1"]]
    assert (len(joined.times), labels.corrected) == (2, 1)


def test_each_row_of_a_request_has_its_label_and_the_others_are_bad_records() -> None:
    labels = Labels()
    labels.read([truth("e1", "1\n0").encode(), truth("e2", "1").encode(), b"{"], "f")
    records = [parse(line(index, "1\n2", "0.9\n0.1").encode()) for index in (1, 2, 3)]
    joined = join(records, labels, None, None)
    assert [(row.input, row.output, row.label) for row in joined.rows] == [
        (["1"], ["0.9"], ["1"]),
        (["2"], ["0.1"], ["0"]),
    ]
    assert len(joined.times) == 6, "rows that were predicted, labelled or not"
    assert {bad.reason for bad in joined.bad} == {
        "not a ground-truth record",
        "2 rows requested, 2 predicted, 1 labelled",
    }


@pytest.mark.parametrize(("facet", "status"), [(5.0, "Ok"), (500.0, "InsufficientData")])
def test_a_window_without_one_of_the_groups_is_no_verdict_on_bias(home: Path, facet: float, status: str) -> None:
    """Cover a facet that is a threshold over a nullable number, too."""
    folder, labels, config = home / "capture2", home / "labels", home / "analysis_config.json"
    folder.mkdir()
    labels.mkdir()
    ages = ["" if index % 7 == 0 else f"{index % 11}" for index in range(600)]
    predictions = [f"{index % 2}" for index in range(600)]
    (folder / "a.jsonl").write_text("\n".join(line(i, f"{ages[i]},1", predictions[i]) for i in range(600)) + "\n")
    (labels / "a.jsonl").write_text("\n".join(truth(f"e{i}", predictions[i]) for i in range(600)) + "\n")
    rows = "\n".join(f"{age},1,{one},{one}" for age, one in zip(ages, predictions, strict=True))
    (home / "reference_bias.csv").write_text(f"age,b,y,prediction\n{rows}\n")

    def configure(threshold: float) -> None:
        one = {"name_or_index": "age", "value_or_threshold": [threshold]}
        body = {"headers": ["age", "b", "y"], "label": "y", "label_values_or_threshold": [1], "facet": [one]}
        config.write_text(json.dumps(body))

    values = {"analysis_type": "MODEL_BIAS", "analysis_config": str(config), "inference_attribute": "prediction"}
    configure(5.0)
    made = values | {"dataset_format": '{"csv":{"header":true}}', "dataset_source": str(home / "reference_bias.csv")}
    assert job(home, **made, output_path=str(home / "bias0"))[0] == 0
    configure(facet)
    found = values | {"dataset_format": "sagemakerCaptureJson", "dataset_source": str(folder)}
    found |= {"ground_truth_source": str(labels), "inference_attribute": "0", "output_path": str(home / "bias1")}
    found["monitor_mode"] = "model-monitor"
    code, message, _ = job(home, **found, baseline_constraints=str(home / "bias0" / "analysis.json"))
    assert code == 0, message
    assert json.loads((home / "bias1" / "verdict.json").read_text())["status"] == status
    assert ("against all others" in (home / "bias1" / "report.html").read_text()) == (status == "Ok")


def test_quality_metrics_are_the_textbooks() -> None:
    scored = quality.Scored(np.array([1, 1, 0, 0, 1]), np.array([1, 0, 0, 1, 1]), np.array([0.9, 0.4, 0.2, 0.8, 0.8]))
    found = quality.binary(scored)
    assert found["precision"] == pytest.approx(2 / 3)
    assert found["recall"] == pytest.approx(2 / 3)
    assert found["accuracy"] == pytest.approx(0.6)
    assert found["auc"] == pytest.approx((2 + 1 + 1.5) / 6)
    numbers = quality.regression(quality.Scored(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 5.0])))
    assert numbers["mse"] == pytest.approx(4 / 3)
    assert numbers["r2"] == pytest.approx(-1)
    words = quality.multiclass(quality.Scored(np.array(["a", "b", "c", "a"]), np.array(["a", "b", "a", "a"])))
    assert words["accuracy"] == 0.75
    assert words["weighted_recall"] == pytest.approx(0.75)
    assert words["weighted_precision"] == pytest.approx(0.5 * 2 / 3 + 0.25)


def sample() -> bias.BiasSample:
    facet = np.array([False] * 60 + [True] * 40)
    labels = np.array([True] * 30 + [False] * 30 + [True] * 10 + [False] * 30)
    predictions = np.array([True] * 45 + [False] * 15 + [True] * 5 + [False] * 35)
    return bias.BiasSample(labels, predictions, facet)


def test_bias_metrics_are_clarifys() -> None:
    pre, post = (bias.metrics_of(sample(), compute) for compute in (bias.pre_training, bias.post_training))
    assert pre["CI"] == pytest.approx(0.2)
    assert pre["DPL"] == pytest.approx(0.25)
    assert pre["KS"] == pre["TVD"] == pytest.approx(0.25)
    assert pre["LP"] == pytest.approx(0.25 * 2**0.5)
    assert pre["KL"] == pytest.approx(0.5 * np.log(2) + 0.5 * np.log(2 / 3))
    assert post["DPPL"] == pytest.approx(0.75 - 0.125)
    assert post["DI"] == pytest.approx(0.125 / 0.75)
    assert post["RD"] == pytest.approx(1 - 0.5)
    assert post["AD"] == pytest.approx(0.75 - 0.875)
    assert post["DCAcc"] == pytest.approx(30 / 45 - 2)
    assert set(pre) | set(post) <= set(bias.DESCRIPTIONS)


def test_bias_drift_names_its_facet(home: Path) -> None:
    def table(path: Path, gap: float) -> None:
        facet = RNG.integers(0, 2, 3000)
        predictions = (RNG.random(3000) < 0.6 - gap * facet).astype(int)
        rows = zip(facet, RNG.integers(0, 2, 3000), predictions, strict=True)
        path.write_text("sex,y,prediction\n" + "\n".join(f"{a},{y},{s}" for a, y, s in rows))

    config = home / "analysis_config.json"
    config.write_text(
        json.dumps(
            {
                "headers": ["sex", "y"],
                "label": "y",
                "label_values_or_threshold": [1],
                "facet": [{"name_or_index": "sex", "value_or_threshold": [1]}],
            }
        )
    )
    values = {"analysis_type": "MODEL_BIAS", "dataset_format": '{"csv":{"header":true}}'}
    values |= {"analysis_config": str(config), "sagemaker_endpoint_name": "ep"}
    for name, gap in (("before", 0.02), ("after", 0.4)):
        table(home / f"{name}.csv", gap)
    assert job(home, **values, dataset_source=str(home / "before.csv"), output_path=str(home / "b0"))[0] == 0
    rest = {"baseline_constraints": str(home / "b0" / "analysis.json"), "output_path": str(home / "b1")}
    code, message, _ = job(home, **values, dataset_source=str(home / "after.csv"), **rest)
    assert code == 0, message
    found = json.loads((home / "b1" / "constraint_violations.json").read_bytes())["violations"]
    assert {"DPPL", "DI"} <= {item["metric_name"] for item in found}
    assert {(item["facet"], item["facet_value"], item["constraint_check_type"]) for item in found} == {
        ("sex", "1", "bias_drift_check")
    }


def test_ndcg_is_one_for_the_same_ranking_and_falls_with_it() -> None:
    base = {"a": 0.5, "b": 0.3, "c": 0.1}
    assert explainability.ndcg(base, {"a": 9.0, "b": 8.0, "c": 7.0}) == 1.0
    swapped = explainability.ndcg(base, {"a": 1.0, "b": 2.0, "c": 3.0})
    logs = np.log2([2, 3, 4])
    assert swapped == pytest.approx((np.array([0.1, 0.3, 0.5]) / logs).sum() / (np.array([0.5, 0.3, 0.1]) / logs).sum())
    assert explainability.violations(base, {"a": 1.0, "b": 2.0, "c": 3.0}, "label0")[0]["constraint_check_type"] == (
        "feature_attribution_drift_check"
    )


def test_attribution_drift_is_seen_when_another_feature_leads(home: Path) -> None:
    xgboost = pytest.importorskip("xgboost")
    rows = RNG.normal(size=(2000, 3))
    booster = xgboost.train(
        {"max_depth": 3, "nthread": 1}, xgboost.DMatrix(rows, label=4 * rows[:, 0] + rows[:, 1]), num_boost_round=20
    )
    booster.save_model(str(home / "model.json"))
    config = home / "analysis_config.json"
    shap = {"methods": {"shap": {"model_file": str(home / "model.json")}}, "headers": ["a", "b", "c"]}
    config.write_text(json.dumps(shap))

    def write(name: str, scale: list[float]) -> None:
        data = RNG.normal(size=(500, 3)) * scale
        (home / name).write_text("a,b,c\n" + "\n".join(",".join(f"{v:.4f}" for v in row) for row in data))

    write("same.csv", [1, 1, 1])
    write("other.csv", [0.001, 1, 1])
    values = {"analysis_type": "MODEL_EXPLAINABILITY", "dataset_format": '{"csv":{"header":true}}'}
    values |= {"analysis_config": str(config)}
    assert job(home, **values, dataset_source=str(home / "same.csv"), output_path=str(home / "x0"))[0] == 0
    rest = {"baseline_constraints": str(home / "x0" / "analysis.json"), "output_path": str(home / "x1")}
    code, message, _ = job(home, **values, dataset_source=str(home / "other.csv"), **rest)
    assert (code, message) == (0, "CompletedWithViolations: Job completed successfully with 1 violations.")
