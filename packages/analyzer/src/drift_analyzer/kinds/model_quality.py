"""Model quality: answers against labels that arrive late."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from drift_analyzer import metrics, quality
from drift_analyzer.analysis import window_name
from drift_analyzer.capture import Bad
from drift_analyzer.cells import number
from drift_analyzer.dataset import read_json
from drift_analyzer.ground_truth import Joined, Labelled
from drift_analyzer.kinds.job import Finding, Job, Outcome, Triple, joined_of, leave, put, table_triples, triple
from drift_analyzer.metrics import Metric
from drift_analyzer.records import BadRecord
from drift_analyzer.report.page import period
from drift_analyzer.report.quality import Quality, QualityPoint, render_quality
from drift_analyzer.times import Windows

_HEADLINE: dict[quality.Problem, tuple[str, ...]] = {
    "BinaryClassification": ("auc", "accuracy"),
    "MulticlassClassification": ("accuracy",),
    "Regression": ("rmse",),
}


def problem_of(values: Mapping[str, str]) -> quality.Problem:
    """`problem_type`. Raises ValueError."""
    for problem in quality.PROBLEMS:
        if values.get("problem_type") == problem:
            return problem
    raise ValueError(f"problem_type is one of {', '.join(quality.PROBLEMS)}, got {values.get('problem_type')!r}")


def run(job: Job) -> Outcome:
    """Judge a window, or, without a baseline, make one of the table given."""
    problem = problem_of(job.values)
    threshold = float(job.values.get("probability_threshold_attribute") or 0.5)
    namespace = metrics.MODEL if job.values.get("sagemaker_endpoint_name") else metrics.BATCH_MODEL
    if job.baseline_constraints is None:
        scored = quality.scored_of(problem, table_triples(job), threshold)
        statistics, constraints = quality.statistics(problem, scored), quality.constraints(problem, scored)
        put(job, {"statistics.json": statistics, "constraints.json": constraints})
        return Outcome(0, [], namespace)
    joined = joined_of(job)
    rows, triples, bad = _readable(job, problem, joined)
    scored = quality.scored_of(problem, triples, threshold)
    predictions = len(joined.times)
    coverage = len(rows) / predictions if predictions else 0.0
    statistics = quality.statistics(problem, scored, {"predictions": predictions, "label_coverage": coverage})
    enough = len(scored) >= quality.MIN_LABELS
    constraints = read_json(job.baseline_constraints)
    found = quality.violations(problem, statistics, constraints, job.mode) if enough else []
    over_time = _over_time(problem, rows, joined.times, scored, constraints)
    value = quality.COMPUTE[problem](scored)[over_time.metric] if enough else None
    finding = Finding(
        status=("Drift" if found else "Ok") if enough else "InsufficientData",
        reason=f"{len(scored)} labels of {predictions} predictions ({coverage:.0%})",
        violations=found,
        metric=value,
        labels=len(scored),
        coverage=coverage,
        bad=bad,
    )
    facts = {
        over_time.metric: "–" if value is None else f"{value:.3f}",
        "baseline": "–" if over_time.baseline is None else f"{over_time.baseline:.3f}",
        "labels": f"{len(scored):,}",
        "of all answers": f"{coverage:.0%}",
        "bad records": f"{len(bad):,}",
    }
    when = period(job.start, job.end)
    page = render_quality(over_time, finding.status, finding.reason, found, facts, finding.reasons, when)
    leave(job, finding, {"statistics.json": statistics, "constraints.json": constraints}, page)
    emitted = [Metric("label_coverage", coverage, job.metric_time), Metric("labels", len(scored), job.metric_time)]
    if enough:
        emitted.append(Metric("quality_drift", float(bool(found)), job.metric_time))
        for name, measured in statistics[f"{quality.SECTION[problem]}_metrics"].items():
            if "value" in measured:
                emitted.append(Metric(name, measured["value"], job.metric_time))
    return Outcome(len(found), emitted, namespace)


def _readable(job: Job, problem: quality.Problem, joined: Joined) -> tuple[list[Labelled], list[Triple], list[Bad]]:
    """The rows whose label and answer are what the problem knows; the others are put aside."""
    rows, triples, bad = [], [], list(joined.bad)
    for row in joined.rows:
        try:
            found = triple(job, row)
            if problem != "MulticlassClassification":
                _check_numbers(problem, found)
        except BadRecord as reason:
            bad.append(Bad("", str(reason), ""))
        else:
            rows.append(row)
            triples.append(found)
    return rows, triples, bad


def _check_numbers(problem: quality.Problem, found: Triple) -> None:
    label, said, score = found
    if not np.isfinite(number(label)):
        raise BadRecord("the label is not a number")
    if problem == "BinaryClassification" and number(label) not in (0.0, 1.0):
        raise BadRecord("the label is neither 0 nor 1")
    if score is None and not np.isfinite(number(said)):
        raise BadRecord("the answer is not a number")


def _over_time(
    problem: quality.Problem,
    rows: Sequence[Labelled],
    answered: Sequence[float],
    scored: quality.Scored,
    constraints: Mapping[str, Any],
) -> Quality:
    """The headline metric by hour of inference, by day where the data spans more than two."""
    rules = constraints.get(f"{quality.SECTION[problem]}_constraints", {})
    metric = next(name for name in _HEADLINE[problem] if name != "auc" or scored.scores is not None)
    spans = max(answered, default=0.0) - min(answered, default=0.0)
    times = Windows(3600 if spans <= 2 * 86400 else 86400)
    predicted = times.of(np.array(answered, dtype=np.float64))
    labelled = times.of(np.array([row.time for row in rows], dtype=np.float64))
    points = []
    for window in np.unique(predicted).tolist():
        chosen = labelled == window
        enough = chosen.sum() >= quality.MIN_LABELS
        value = quality.COMPUTE[problem](scored.part(chosen))[metric] if enough else None
        points.append(QualityPoint(window_name(window), value, float(chosen.sum() / (predicted == window).sum())))
    threshold = rules.get(metric, {}).get("threshold")
    return Quality(metric, None if threshold is None else float(threshold), tuple(points))
