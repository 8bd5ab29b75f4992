"""Bias over facets, before and after training: headers, label, facet, group_variable as Clarify spells them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from drift_analyzer import bias, metrics
from drift_analyzer.capture import Bad
from drift_analyzer.cells import number
from drift_analyzer.dataset import read_json, table_rows
from drift_analyzer.kinds.job import Finding, Job, Outcome, asked_cells, config_of, joined_of, leave, put, triple
from drift_analyzer.metrics import Metric
from drift_analyzer.quality import MIN_LABELS
from drift_analyzer.records import BadRecord
from drift_analyzer.report.bias import FacetMetrics, render_bias
from drift_analyzer.report.page import period

_SECTIONS = (
    ("pre_training_bias_metrics", bias.pre_training),
    ("post_training_bias_metrics", bias.post_training),
)
_EMITTED = ("DPPL", "DI", "AD")


@dataclass(frozen=True)
class Table:
    """Features by column, labels and predictions, all of one length; how many rows were answered; what was not read."""

    columns: Mapping[str, Sequence[Any]]
    labels: Sequence[Any]
    said: Sequence[Any]
    answered: int
    bad: Sequence[Bad] = ()


@dataclass(frozen=True)
class Facet:
    """One facet of the configuration with its sample; None where one of the two groups is empty."""

    name: str
    value: str
    rows: int
    sample: bias.Sample | None


def run(job: Job, opt: Path) -> Outcome:
    """Judge a window, or, without a baseline, make one of the table given."""
    config = config_of(job, opt)
    label = str(config["label"])
    table = _table(job, [str(name) for name in config["headers"]], label)
    facets = list(_facets(config, table, job.values))
    sampled = [(facet, facet.sample) for facet in facets if facet.sample is not None]
    measured = {(f.name, f.value): {key: bias.metrics_of(s, compute) for key, compute in _SECTIONS} for f, s in sampled}
    analysis: dict[str, Any] = {"version": "1.0"}
    for key, _ in _SECTIONS:
        analysis |= bias.section(key, label, {where: values[key] for where, values in measured.items()})
    if job.baseline_constraints is None:
        if empty := [f"{facet.name} = {facet.value}" for facet in facets if facet.sample is None]:
            raise ValueError(f"no row, or every row, is of the facet {', '.join(empty)}: bias compares two groups")
        put(job, {"analysis.json": analysis, "constraint_violations.json": {"violations": []}})
        return Outcome(0, [], metrics.BIAS)
    baseline = read_json(job.baseline_constraints)
    enough = len(table.labels) >= MIN_LABELS and bool(sampled)
    found = _violations(sampled, baseline) if enough else []
    finding = _finding(table, facets, found, enough=enough)
    shown = [_shown(facet, measured[facet.name, facet.value], baseline) for facet, _ in sampled]
    facts = {
        "facets": str(len(facets)),
        "metrics drifted": str(len(found)),
        "labels": f"{finding.labels:,}",
        "of all answers": f"{finding.coverage:.0%}",
        "bad records": f"{len(finding.bad):,}",
    }
    when = period(job.start, job.end)
    page = render_bias(shown, finding.status, finding.reason, found, facts, finding.reasons, when)
    leave(job, finding, {"analysis.json": analysis}, page)
    emitted = [Metric("bias_drift", float(bool(found)), job.metric_time)] if enough else []
    for (name, value), values in measured.items():
        for metric in _EMITTED:
            if np.isfinite(amount := values["post_training_bias_metrics"][metric]):
                emitted.append(Metric(f"bias_metric_{metric}_{name}_{value}", amount, job.metric_time))
    return Outcome(len(found), emitted, metrics.BIAS)


def _finding(table: Table, facets: Sequence[Facet], found: Sequence[Mapping[str, str]], *, enough: bool) -> Finding:
    labels = len(table.labels)
    coverage = labels / table.answered if table.answered else 0.0
    reason = f"{labels} labels of {table.answered} predictions ({coverage:.0%})"
    if empty := [f"{facet.name} = {facet.value}" for facet in facets if facet.sample is None]:
        reason += f"; one group of {', '.join(empty)} is empty"
    return Finding(
        status=("Drift" if found else "Ok") if enough else "InsufficientData",
        reason=reason,
        violations=found,
        labels=labels,
        coverage=coverage,
        bad=table.bad,
    )


def _violations(sampled: Sequence[tuple[Facet, bias.Sample]], baseline: Mapping[str, Any]) -> list[dict[str, str]]:
    found = []
    for facet, sample in sampled:
        for key, compute in _SECTIONS:
            before = bias.baseline_metrics(baseline, key, facet.name, facet.value)
            found += bias.violations(sample, facet.name, facet.value, before, compute)
    return found


def _shown(facet: Facet, measured: Mapping[str, Mapping[str, float]], baseline: Mapping[str, Any]) -> FacetMetrics:
    now: dict[str, float] = {}
    before: dict[str, float] = {}
    for key, _ in _SECTIONS:
        now |= {name: value for name, value in measured[key].items() if np.isfinite(value)}
        before |= bias.baseline_metrics(baseline, key, facet.name, facet.value)
    return FacetMetrics(f"{facet.name} = {facet.value}", facet.rows, now, before)


def _facets(config: Mapping[str, Any], table: Table, values: Mapping[str, str]) -> Iterator[Facet]:
    positive = {str(value) for value in config.get("label_values_or_threshold", [1])}
    threshold = float(config.get("probability_threshold", values.get("probability_threshold_attribute") or 0.5))
    group_name = config.get("group_variable")
    group = np.array([str(cell) for cell in table.columns[str(group_name)]]) if group_name else None
    truth = np.array([_is_positive(cell, positive, threshold) for cell in table.labels], dtype=bool)
    predicted = np.array([_is_positive(cell, positive, threshold) for cell in table.said], dtype=bool)
    for facet in config["facet"]:
        name = str(facet["name_or_index"])
        if name not in table.columns:
            raise ValueError(f"facet {name!r} is not a feature")
        named = facet.get("value_or_threshold", [1])
        members = bias.facet_of(table.columns[name], named)
        both = bool(members.any()) and not bool(members.all())
        sample = bias.Sample(truth, predicted, members, group) if both else None
        yield Facet(name, ",".join(str(item) for item in named), int(members.sum()), sample)


def _is_positive(cell: Any, positive: set[str], threshold: float) -> bool:
    """A label or prediction as given, or a probability against the threshold."""
    text = str(cell).strip()
    if text in positive:
        return True
    value = number(text)
    if np.isfinite(value) and value == int(value) and str(int(value)) in positive:
        return True
    return bool(np.isfinite(value) and 0 < value < 1 and value > threshold)


def _table(job: Job, headers: Sequence[str], label: str) -> Table:
    if job.dataset_format in ("csv", "json", "parquet"):
        predicted = str(job.values.get("inference_attribute") or "prediction")
        rows = list(table_rows(job.dataset_source, job.dataset_format, header=job.header))
        columns = {name: [row[name] for row in rows] for name in headers if name not in (label, predicted)}
        return Table(columns, [row[label] for row in rows], [row[predicted] for row in rows], len(rows))
    joined = joined_of(job)
    features = [name for name in headers if name != label]
    kept: dict[str, list[Any]] = {name: [] for name in features}
    labels: list[Any] = []
    said: list[Any] = []
    bad = list(joined.bad)
    for row in joined.rows:
        try:
            truth, prediction, score = triple(job, row)
            cells = asked_cells(row.asked, features)
        except BadRecord as reason:
            bad.append(Bad("", str(reason), ""))
            continue
        labels.append(truth)
        said.append(score if prediction is None else prediction)
        for name, cell in zip(features, cells, strict=True):
            kept[name].append(cell)
    return Table(kept, labels, said, len(joined.times), bad)
