"""Quality and bias: quiet windows are quiet, real changes are seen, and one odd label stops nothing."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from drift_analyzer import bias, container, quality, quality_verdict

Generator = np.random.Generator


def rare(generator: Generator, rows: int, share: float, power: float = 1.5) -> quality.Scored:
    """Return labels of which few are positive, with scores of AUC 0.85 or so."""
    labels = (generator.random(rows) < share).astype(np.float64)
    scores = 1 / (1 + np.exp(-(generator.normal(size=rows) + power * labels - 2.5)))
    return quality.Scored(labels, (scores > 0.5).astype(np.float64), scores)


def found(constraints: dict[str, Any], scored: quality.Scored) -> tuple[list[str], list[str]]:
    current = quality.statistics("BinaryClassification", scored)
    violations, not_judged = quality_verdict.violations(
        "BinaryClassification", scored, current, constraints, "calibrated"
    )
    return [item["metric_name"] for item in violations], not_judged


@pytest.mark.parametrize("share", [0.005, 0.02, 0.3])
def test_quiet_windows_of_rare_classes_are_quiet(share: float) -> None:
    generator = np.random.default_rng(int(share * 1000))
    alarms = 0
    for _ in range(10):
        constraints = quality.constraints("BinaryClassification", rare(generator, 5000, share))
        alarms += sum(bool(found(constraints, rare(generator, 200, share))[0]) for _ in range(40))
    assert alarms <= 20  # 5 % of 400


def test_what_is_undefined_is_not_judged() -> None:
    generator = np.random.default_rng(1)
    constraints = quality.constraints("BinaryClassification", rare(generator, 5000, 0.02))
    labels = np.zeros(300)
    violations, not_judged = found(constraints, quality.Scored(labels, labels, generator.random(300) / 2))
    assert {"auc", "precision", "recall", "f1"} <= set(not_judged)
    assert not {"auc", "precision", "recall", "f1"} & set(violations)


def test_a_fall_of_quality_is_seen() -> None:
    generator = np.random.default_rng(2)
    constraints = quality.constraints("BinaryClassification", rare(generator, 5000, 0.3))
    assert all("auc" in found(constraints, rare(generator, 1000, 0.3, power=0.3))[0] for _ in range(20))


def sample(generator: Generator, rows: int, gap: float = 0.0) -> bias.BiasSample:
    facet = generator.random(rows) < 0.4
    labels = generator.random(rows) < 0.5
    accepted = generator.random(rows) < np.where(labels, 0.75, 0.25) - np.where(facet, gap, 0.0)
    return bias.BiasSample(labels, accepted, facet)


def drifted(generator: Generator, before: bias.BiasSample, now: bias.BiasSample) -> list[str]:
    names = []
    for compute in (bias.pre_training, bias.post_training):
        errors = bias.standard_errors(before, compute)
        baseline = {
            name: bias.BaselineMetric(value, errors[name] if np.isfinite(errors[name]) else None)
            for name, value in bias.metrics_of(before, compute).items()
            if np.isfinite(value)
        }
        comparisons = 2 * len(baseline)
        names += [v["metric_name"] for v in bias.violations(now, "f", "1", baseline, compute, comparisons)]
    return names


def test_quiet_windows_of_bias_are_quiet_and_a_gap_is_seen() -> None:
    generator = np.random.default_rng(3)
    alarms = seen = 0
    for _ in range(20):
        before = sample(generator, 4000)
        alarms += sum(bool(drifted(generator, before, sample(generator, 1000))) for _ in range(10))
        seen += "DPPL" in drifted(generator, before, sample(generator, 1000, gap=0.25))
    assert alarms <= 10  # 5 % of 200
    assert seen == 20


def job(folder: Path, problem: str, pairs: Sequence[tuple[str, str]], reference: str) -> dict[str, Any]:
    """Run a model-quality job on pairs of label and answer; return its verdict."""
    (folder / "reference.csv").write_text("label,prediction\n" + reference)
    baseline = {
        "analysis_type": "MODEL_QUALITY",
        "problem_type": problem,
        "dataset_format": '{"csv":{"header":true}}',
        "dataset_source": str(folder / "reference.csv"),
        "output_path": str(folder / "baseline"),
        "ground_truth_attribute": "label",
        "inference_attribute": "prediction",
    }
    assert container.main(baseline, folder / "opt") == 0
    lines, labels = [], []
    for number, (label, answer) in enumerate(pairs):
        meta = {"eventId": f"e{number}", "inferenceTime": "2026-02-14T17:25:49Z"}
        side = {"observedContentType": "text/csv", "encoding": "CSV", "data": answer}
        captured = {"endpointInput": side | {"data": "1"}, "endpointOutput": side}
        lines.append(json.dumps({"captureData": captured, "eventMetadata": meta, "eventVersion": "0"}))
        truth = {"data": label, "encoding": "CSV"}
        labels.append(json.dumps({"groundTruthData": truth, "eventMetadata": {"eventId": f"e{number}"}}))
    for name, content in (("capture", lines), ("labels", labels)):
        (folder / name).mkdir()
        (folder / name / "a.jsonl").write_text("\n".join(content))
    values = {
        "analysis_type": "MODEL_QUALITY",
        "problem_type": problem,
        "monitor_mode": "calibrated",
        "dataset_source": str(folder / "capture"),
        "ground_truth_source": str(folder / "labels"),
        "output_path": str(folder / "out"),
        "baseline_constraints": str(folder / "baseline" / "constraints.json"),
        "inference_attribute": "0",
    }
    assert container.main(values, folder / "opt") == 0, (folder / "opt" / "output" / "message").read_text()
    body: dict[str, Any] = json.loads((folder / "out" / "verdict.json").read_text())
    return body


CASES: dict[str, tuple[str, list[tuple[str, str]], str, int, float]] = {
    "one label true among numbers": (
        "BinaryClassification",
        [("true", "1")] + [(str(i % 2), str(i % 2)) for i in range(599)],
        "1,1\n0,0\n" * 300,
        1,
        1.0,
    ),
    "labels 1, answers 1.0": (
        "MulticlassClassification",
        [(str(i % 3), f"{i % 3}.0") for i in range(600)],
        "0,0\n1,1\n2,2\n" * 200,
        0,
        1.0,
    ),
    "labels in another case": (
        "MulticlassClassification",
        [("setosa" if i % 2 else "virginica", "Setosa" if i % 2 else "VIRGINICA") for i in range(600)],
        "setosa,setosa\nvirginica,virginica\n" * 300,
        0,
        1.0,
    ),
    "a third of the answers empty or nan": (
        "MulticlassClassification",
        [(str(i % 2), ("nan" if i % 2 else "null") if i % 3 == 0 else str(i % 2)) for i in range(600)],
        "0,0\n1,1\n" * 300,
        200,
        1.0,
    ),
    "an answer that is no number": (
        "Regression",
        [("1.5", "inf" if i == 0 else "1.5") for i in range(600)],
        "1.5,1.5\n2.5,2.5\n" * 300,
        1,
        0.0,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_labels_and_answers_that_do_not_fit_are_bad_records(tmp_path: Path, case: str) -> None:
    problem, pairs, reference, bad, metric = CASES[case]
    verdict = job(tmp_path, problem, pairs, reference)
    assert (verdict["status"], verdict["bad_records"], verdict["metric"]) == ("Ok", bad, metric)


@pytest.mark.parametrize("digits", [6, 1, 0])
def test_binary_metrics_are_those_of_scikit_learn(digits: int) -> None:
    generator = np.random.default_rng(digits)
    labels = (generator.random(500) < 0.3).astype(np.float64)
    drawn = np.clip(generator.random(500) * 0.6 + labels * 0.3, 0, 1)
    scores = np.round(drawn, digits).astype(np.float64)
    predictions = (scores > 0.5).astype(np.float64)
    ours = quality.binary(quality.Scored(labels, predictions, scores))
    assert ours["auc"] == pytest.approx(metrics.roc_auc_score(labels, scores))
    assert ours["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predictions))
    assert ours["precision"] == pytest.approx(metrics.precision_score(labels, predictions))
    assert ours["recall"] == pytest.approx(metrics.recall_score(labels, predictions))
    for beta, name in ((0.5, "f0_5"), (1, "f1"), (2, "f2")):
        assert ours[name] == pytest.approx(metrics.fbeta_score(labels, predictions, beta=beta))


def test_multiclass_and_regression_metrics_are_those_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    labels, predictions = generator.choice(list("abcd"), 400), generator.choice(list("abce"), 400)
    ours = quality.multiclass(quality.Scored(labels, predictions))
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        labels, predictions, average="weighted", zero_division=0
    )
    assert ours["weighted_precision"] == pytest.approx(precision)
    assert ours["weighted_recall"] == pytest.approx(recall)
    assert ours["weighted_f1"] == pytest.approx(f1)
    truth, answer = generator.normal(size=300), generator.normal(size=300)
    numbers = quality.regression(quality.Scored(truth, answer))
    assert numbers["mae"] == pytest.approx(metrics.mean_absolute_error(truth, answer))
    assert numbers["mse"] == pytest.approx(metrics.mean_squared_error(truth, answer))
    assert numbers["r2"] == pytest.approx(metrics.r2_score(truth, answer))


def test_degenerate_samples_are_undefined_where_scikit_learn_guesses() -> None:
    """The intended difference: scikit-learn counts an undefined precision as 0; here it is undefined and not judged."""
    none, some = np.zeros(50), np.array([1.0] * 10 + [0.0] * 40)
    ours = quality.binary(quality.Scored(some, none, np.full(50, 0.2)))
    assert np.isnan(ours["precision"])
    assert ours["auc"] == pytest.approx(metrics.roc_auc_score(some, np.full(50, 0.2)))
    assert np.isnan(quality.binary(quality.Scored(none, none, np.full(50, 0.2)))["auc"])
    assert np.isnan(quality.regression(quality.Scored(np.ones(50), np.ones(50)))["r2"])
