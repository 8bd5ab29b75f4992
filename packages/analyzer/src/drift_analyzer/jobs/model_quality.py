"""Model quality: predictions against labels that arrive late."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from drift_analyzer import cloudwatch_metrics, quality, quality_verdict
from drift_analyzer.capture_reader import BadRecord
from drift_analyzer.capture_records import UnreadableRecordError
from drift_analyzer.cells import number
from drift_analyzer.checked_values import mapping, real
from drift_analyzer.cloudwatch_metrics import Metric
from drift_analyzer.container_environment import ContainerEnvironment
from drift_analyzer.data_quality import window_name
from drift_analyzer.ground_truth import LabelledData, LabelledRow
from drift_analyzer.inference_time import TimeWindows
from drift_analyzer.input_files import read_json
from drift_analyzer.jobs.job import (
    JobResult,
    JobVerdict,
    LabelledPrediction,
    labelled_prediction,
    read_labelled_data,
    read_reference_predictions,
    write_json,
    write_verdict,
)
from drift_analyzer.report.model_quality import Quality, QualityPoint, render_quality
from drift_analyzer.report.page import period

_HEADLINE: dict[quality.Problem, tuple[str, ...]] = {
    "BinaryClassification": ("auc", "accuracy"),
    "MulticlassClassification": ("accuracy",),
    "Regression": ("rmse",),
}


def _problem(values: Mapping[str, str]) -> quality.Problem:
    for problem in quality.PROBLEMS:
        if values.get("problem_type") == problem:
            return problem
    raise ValueError(f"problem_type is one of {', '.join(quality.PROBLEMS)}, got {values.get('problem_type')!r}")


def run(job: ContainerEnvironment) -> JobResult:
    """Judge the window; without `baseline_constraints`, build a baseline from the dataset instead.

    Raises:
        ValueError: The inputs cannot be analyzed.
    """
    problem = _problem(job.values)
    threshold = real(job.values.get("probability_threshold_attribute") or 0.5, "probability_threshold_attribute")
    namespace = cloudwatch_metrics.MODEL if job.endpoint else cloudwatch_metrics.BATCH_MODEL
    if job.baseline_constraints is None:
        scored = quality.to_scored(problem, read_reference_predictions(job), threshold)
        window_rows = int(job.values.get("monitor_window_rows") or 0)
        statistics = quality.statistics(problem, scored)
        constraints = quality.constraints(problem, scored, window_rows)
        write_json(job.output_path, {"statistics.json": statistics, "constraints.json": constraints})
        return JobResult(0, [], namespace)
    data = read_labelled_data(job)
    rows, labelled, bad = _readable(job, problem, data)
    scored = quality.to_scored(problem, labelled, threshold)
    predictions = len(data.times)
    coverage = len(rows) / predictions if predictions else 0.0
    statistics = quality.statistics(problem, scored, {"predictions": predictions, "label_coverage": coverage})
    enough = len(scored) >= quality.MIN_LABELS
    constraints = read_json(job.baseline_constraints)
    violations, not_judged = (
        quality_verdict.violations(problem, scored, statistics, constraints, job.mode) if enough else ([], [])
    )
    over_time = _over_time(problem, rows, data.times, scored, constraints)
    value = quality.COMPUTE[problem](scored)[over_time.metric] if enough else None
    value = None if value is None or not math.isfinite(value) else value
    reason = f"{len(scored)} labels of {predictions} predictions ({coverage:.0%})"
    if not_judged:
        reason += f"; cannot be judged on so few rows of a class: {', '.join(not_judged)}"
    verdict = JobVerdict(
        status=("Drift" if violations else "Ok") if enough else "InsufficientData",
        reason=reason,
        violations=violations,
        metric=value,
        labels=len(scored),
        coverage=coverage,
        bad=bad,
    )
    facts = {
        over_time.metric: "–" if value is None else f"{value:.3f}",
        "baseline": "–" if over_time.baseline is None else f"{over_time.baseline:.3f}",
        "labels": f"{len(scored):,}",
        "of all predictions": f"{coverage:.0%}",
        "bad records": f"{len(bad):,}",
    }
    page = render_quality(
        over_time,
        verdict.status,
        verdict.reason,
        violations,
        facts,
        verdict.bad_reasons,
        period(job.start, job.end),
    )
    write_verdict(job, verdict, {"statistics.json": statistics, "constraints.json": constraints}, page)
    emitted = [Metric("label_coverage", coverage, job.metric_time), Metric("labels", len(scored), job.metric_time)]
    if enough:
        emitted.append(Metric("quality_drift", float(bool(violations)), job.metric_time))
        for name, measured in statistics[f"{quality.SECTION[problem]}_metrics"].items():
            if "value" in measured:
                emitted.append(Metric(name, measured["value"], job.metric_time))
    return JobResult(len(violations), emitted, namespace)


def _readable(
    job: ContainerEnvironment, problem: quality.Problem, data: LabelledData
) -> tuple[list[LabelledRow], list[LabelledPrediction], list[BadRecord]]:
    """Separate the rows whose label and prediction fit the problem type from the bad ones."""
    rows, labelled, bad = [], [], list(data.bad)
    for row in data.rows:
        try:
            found = labelled_prediction(job, row)
            _check_numbers(problem, found)
        except UnreadableRecordError as reason:
            bad.append(BadRecord("", str(reason), ""))
        else:
            rows.append(row)
            labelled.append(found)
    return rows, labelled, bad


def _check_numbers(problem: quality.Problem, found: LabelledPrediction) -> None:
    label, prediction, score = found
    if problem == "MulticlassClassification":
        for name, cell in (("label", label), ("prediction", prediction)):
            if math.isnan(number(cell)):
                raise UnreadableRecordError(f"the {name} is missing")
        return
    if not np.isfinite(number(label)) or _is_word(label) or _is_word(prediction):
        raise UnreadableRecordError("the label or the prediction is not a number")
    if problem == "BinaryClassification" and number(label) not in (0.0, 1.0):
        raise UnreadableRecordError("the label is neither 0 nor 1")
    if score is None and not np.isfinite(number(prediction)):
        raise UnreadableRecordError("the prediction is not a number")


def _is_word(cell: object) -> bool:
    """Return whether a cell is text such as `true`, which stands for a number in features only."""
    return isinstance(cell, str) and cell.strip().lower() in ("true", "false")


def _over_time(
    problem: quality.Problem,
    rows: Sequence[LabelledRow],
    predicted_times: Sequence[float],
    scored: quality.Scored,
    constraints: Mapping[str, Any],
) -> Quality:
    """Compute the headline metric by hour of inference time, or by day where the data span more than two days."""
    rules = mapping(
        mapping(constraints, "constraints.json").get(f"{quality.SECTION[problem]}_constraints"), "constraints"
    )
    metric = next(name for name in _HEADLINE[problem] if name != "auc" or scored.scores is not None)
    span = max(predicted_times, default=0.0) - min(predicted_times, default=0.0)
    times = TimeWindows(3600 if span <= 2 * 86400 else 86400)
    predicted = times.of(np.array(predicted_times, dtype=np.float64))
    labelled = times.of(np.array([row.time for row in rows], dtype=np.float64))
    points = []
    for window in np.unique(predicted).tolist():
        chosen = labelled == window
        enough = chosen.sum() >= quality.MIN_LABELS
        value = quality.COMPUTE[problem](scored.part(chosen))[metric] if enough else None
        value = None if value is None or not math.isfinite(value) else value
        points.append(QualityPoint(window_name(window), value, float(chosen.sum() / (predicted == window).sum())))
    return Quality(metric, quality.reference_value(mapping(rules.get(metric), metric)), tuple(points))
