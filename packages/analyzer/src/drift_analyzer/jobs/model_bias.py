"""Bias over facets, before and after training, configured by Clarify's `analysis_config.json`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from drift_analyzer import bias, cloudwatch_metrics
from drift_analyzer.capture_reader import BadRecord
from drift_analyzer.capture_records import UnreadableRecordError
from drift_analyzer.cells import number
from drift_analyzer.cloudwatch_metrics import Metric
from drift_analyzer.container_environment import ContainerEnvironment
from drift_analyzer.input_files import read_json
from drift_analyzer.jobs.job import (
    JobResult,
    JobVerdict,
    input_cells,
    labelled_prediction,
    read_analysis_config,
    read_labelled_data,
    write_json,
    write_verdict,
)
from drift_analyzer.quality import MIN_LABELS
from drift_analyzer.reference_data import read_rows
from drift_analyzer.report.bias import FacetMetrics, render_bias
from drift_analyzer.report.page import period

_SECTIONS = (
    ("pre_training_bias_metrics", bias.pre_training),
    ("post_training_bias_metrics", bias.post_training),
)
_EMITTED = ("DPPL", "DI", "AD")


@dataclass(frozen=True)
class _Table:
    """The labelled rows by column.

    Attributes:
        columns: Features by name; each as long as `labels` and `predictions`.
        predicted: Number of rows that were predicted, labelled or not.
        bad: Records that could not be read or paired.
    """

    columns: Mapping[str, Sequence[Any]]
    labels: Sequence[Any]
    predictions: Sequence[Any]
    predicted: int
    bad: Sequence[BadRecord] = ()


@dataclass(frozen=True)
class _Facet:
    """One facet of the configuration with its sample; None where one of the two groups is empty."""

    name: str
    value: str
    rows: int
    sample: bias.BiasSample | None


def run(job: ContainerEnvironment, opt: Path) -> JobResult:
    """Judge the window; without `baseline_constraints`, build a baseline from the dataset instead.

    Raises:
        ValueError: The inputs cannot be analyzed.
    """
    config = read_analysis_config(job, opt)
    label = str(config["label"])
    table = _table(job, [str(name) for name in config["headers"]], label)
    facets = list(_facets(config, table, job.values))
    sampled = [(facet, facet.sample) for facet in facets if facet.sample is not None]
    measured = {(f.name, f.value): {key: bias.metrics_of(s, compute) for key, compute in _SECTIONS} for f, s in sampled}
    analysis: dict[str, Any] = {"version": "1.0"}
    for key, compute in _SECTIONS:
        errors = {(f.name, f.value): bias.standard_errors(s, compute) for f, s in sampled}
        analysis |= bias.section(key, label, {where: values[key] for where, values in measured.items()}, errors)
    if job.baseline_constraints is None:
        if empty := [f"{facet.name} = {facet.value}" for facet in facets if facet.sample is None]:
            raise ValueError(f"no row or every row is in the facet {', '.join(empty)}: bias compares two groups")
        write_json(job.output_path, {"analysis.json": analysis, "constraint_violations.json": {"violations": []}})
        return JobResult(0, [], cloudwatch_metrics.BIAS)
    baseline = read_json(job.baseline_constraints)
    enough = len(table.labels) >= MIN_LABELS and bool(sampled)
    violations = _violations(sampled, baseline) if enough else []
    verdict = _verdict(table, facets, violations, enough=enough)
    compared = [_compare(facet, measured[facet.name, facet.value], baseline) for facet, _ in sampled]
    facts = {
        "facets": str(len(facets)),
        "metrics drifted": str(len(violations)),
        "labels": f"{verdict.labels:,}",
        "of all predictions": f"{verdict.coverage:.0%}",
        "bad records": f"{len(verdict.bad):,}",
    }
    page = render_bias(
        compared,
        verdict.status,
        verdict.reason,
        violations,
        facts,
        verdict.bad_reasons,
        period(job.start, job.end),
    )
    write_verdict(job, verdict, {"analysis.json": analysis}, page)
    emitted = [Metric("bias_drift", float(bool(violations)), job.metric_time)] if enough else []
    for (name, value), values in measured.items():
        for metric in _EMITTED:
            if np.isfinite(amount := values["post_training_bias_metrics"][metric]):
                emitted.append(Metric(f"bias_metric_{metric}_{name}_{value}", amount, job.metric_time))
    return JobResult(len(violations), emitted, cloudwatch_metrics.BIAS)


def _verdict(
    table: _Table, facets: Sequence[_Facet], violations: Sequence[Mapping[str, str]], *, enough: bool
) -> JobVerdict:
    labels = len(table.labels)
    coverage = labels / table.predicted if table.predicted else 0.0
    reason = f"{labels} labels of {table.predicted} predictions ({coverage:.0%})"
    if empty := [f"{facet.name} = {facet.value}" for facet in facets if facet.sample is None]:
        reason += f"; one group of {', '.join(empty)} is empty"
    return JobVerdict(
        status=("Drift" if violations else "Ok") if enough else "InsufficientData",
        reason=reason,
        violations=violations,
        labels=labels,
        coverage=coverage,
        bad=table.bad,
    )


def _violations(sampled: Sequence[tuple[_Facet, bias.BiasSample]], baseline: Mapping[str, Any]) -> list[dict[str, str]]:
    tested = [
        (facet, sample, compute, bias.baseline_metrics(baseline, key, facet.name, facet.value))
        for facet, sample in sampled
        for key, compute in _SECTIONS
    ]
    comparisons = sum(len(before.keys() - set(bias.DERIVED)) for _, _, _, before in tested)
    return [
        violation
        for facet, sample, compute, before in tested
        for violation in bias.violations(sample, facet.name, facet.value, before, compute, comparisons)
    ]


def _compare(facet: _Facet, measured: Mapping[str, Mapping[str, float]], baseline: Mapping[str, Any]) -> FacetMetrics:
    now: dict[str, float] = {}
    before: dict[str, float] = {}
    for key, _ in _SECTIONS:
        now |= {name: value for name, value in measured[key].items() if np.isfinite(value)}
        known = bias.baseline_metrics(baseline, key, facet.name, facet.value)
        before |= {name: metric.value for name, metric in known.items() if name in bias.DESCRIPTIONS}
    return FacetMetrics(f"{facet.name} = {facet.value}", facet.rows, now, before)


def _facets(config: Mapping[str, Any], table: _Table, values: Mapping[str, str]) -> Iterator[_Facet]:
    positive = {str(value) for value in config.get("label_values_or_threshold", [1])}
    threshold = float(config.get("probability_threshold", values.get("probability_threshold_attribute") or 0.5))
    group_name = config.get("group_variable")
    group = np.array([str(cell) for cell in table.columns[str(group_name)]]) if group_name else None
    truth = np.array([_is_positive(cell, positive, threshold) for cell in table.labels], dtype=bool)
    predicted = np.array([_is_positive(cell, positive, threshold) for cell in table.predictions], dtype=bool)
    for facet in config["facet"]:
        name = str(facet["name_or_index"])
        if name not in table.columns:
            raise ValueError(f"facet {name!r} is not a feature")
        named = facet.get("value_or_threshold", [1])
        members = bias.facet_members(table.columns[name], named)
        both = bool(members.any()) and not bool(members.all())
        sample = bias.BiasSample(truth, predicted, members, group) if both else None
        yield _Facet(name, ",".join(str(item) for item in named), int(members.sum()), sample)


def _is_positive(cell: Any, positive: set[str], threshold: float) -> bool:
    """Return whether a label or prediction is positive; a probability is compared with the threshold."""
    text = str(cell).strip()
    if text in positive:
        return True
    value = number(text)
    if np.isfinite(value) and value == int(value) and str(int(value)) in positive:
        return True
    return bool(np.isfinite(value) and 0 < value < 1 and value > threshold)


def _table(job: ContainerEnvironment, headers: Sequence[str], label: str) -> _Table:
    if job.dataset_format in ("csv", "json", "parquet"):
        prediction_name = str(job.values.get("inference_attribute") or "prediction")
        rows = list(read_rows(job.dataset_source, job.dataset_format, header=job.header))
        columns = {name: [row[name] for row in rows] for name in headers if name not in (label, prediction_name)}
        return _Table(columns, [row[label] for row in rows], [row[prediction_name] for row in rows], len(rows))
    data = read_labelled_data(job)
    features = [name for name in headers if name != label]
    kept: dict[str, list[Any]] = {name: [] for name in features}
    labels: list[Any] = []
    predictions: list[Any] = []
    bad = list(data.bad)
    for row in data.rows:
        try:
            truth, prediction, score = labelled_prediction(job, row)
            cells = input_cells(row.input, features)
        except UnreadableRecordError as reason:
            bad.append(BadRecord("", str(reason), ""))
            continue
        labels.append(truth)
        predictions.append(score if prediction is None else prediction)
        for name, cell in zip(features, cells, strict=True):
            kept[name].append(cell)
    return _Table(kept, labels, predictions, len(data.times), bad)
