"""Explainability: SHAP of the model over what it was asked, against the ranking at training.

`model_archive` (ours) is a model.tar.gz whose own code encodes the rows; `methods.shap.model_file` an XGBoost model
that takes them as they are, numbers.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from drift_analyzer import explain, metrics
from drift_analyzer.capture import Bad, read_records
from drift_analyzer.cells import number
from drift_analyzer.dataset import BadDataset, files, opened, read_json, table_rows
from drift_analyzer.drift import Rules
from drift_analyzer.ground_truth import inside
from drift_analyzer.kinds.job import Finding, Job, Outcome, asked_cells, config_of, leave, put
from drift_analyzer.metrics import Metric
from drift_analyzer.model_process import ModelProcess, rows_of
from drift_analyzer.records import BadRecord
from drift_analyzer.report.explain import render_explanation
from drift_analyzer.report.page import period

Columns = Mapping[str, Sequence[Any]]


def run(job: Job, opt: Path) -> Outcome:
    """Judge a window, or, without a baseline, make one of the rows given."""
    config = config_of(job, opt)
    headers = [str(name) for name in config["headers"] if name != config.get("label")]
    with ExitStack() as held:
        archive = job.values.get("model_archive")
        model = held.enter_context(ModelProcess(Path(archive))) if archive else None
        return _judge(job, config, headers, model)


def _judge(job: Job, config: Mapping[str, Any], headers: Sequence[str], model: ModelProcess | None) -> Outcome:
    columns, bad = _rows(job, headers)
    count = len(columns[headers[0]])
    if job.baseline_constraints is None:
        if not count:
            raise BadDataset("no rows to explain")
        put(job, {"analysis.json": explain.analysis(_attributions(model, config, columns))})
        return Outcome(0, [], metrics.EXPLAIN)
    label, before = explain.read_analysis(read_json(job.baseline_constraints))
    if count < Rules.min_rows:
        finding = Finding("InsufficientData", f"{count} rows; a verdict needs {Rules.min_rows}", bad=bad)
        return _leave(job, finding, before, {}, label, count)
    now = _attributions(model, config, columns)
    found = explain.violations(before, now, label)
    score = explain.ndcg(before, now)
    reason = f"the ranking of {count} rows agrees with the baseline's by NDCG {score:.3f}"
    finding = Finding("Drift" if found else "Ok", reason, found, metric=score, bad=bad)
    return _leave(job, finding, before, now, label, count)


def _leave(
    job: Job, finding: Finding, before: Mapping[str, float], now: Mapping[str, float], label: str, rows: int
) -> Outcome:
    score = finding.metric
    facts = {
        "NDCG": "–" if score is None else f"{score:.3f}",
        "at least": f"{explain.LEAST_NDCG}",
        "rows": f"{rows:,}",
        "bad records": f"{len(finding.bad):,}",
    }
    when = period(job.start, job.end)
    page = render_explanation(
        before, now, finding.status, finding.reason, finding.violations, facts, finding.reasons, when
    )
    leave(job, finding, {"analysis.json": explain.analysis(now, label)}, page)
    emitted = [] if score is None else [Metric("ndcg", score, job.metric_time)]
    return Outcome(len(finding.violations), emitted, metrics.EXPLAIN)


def _rows(job: Job, headers: Sequence[str]) -> tuple[Columns, list[Bad]]:
    """All rows that were asked, by column, and what could not be read."""
    columns: dict[str, list[Any]] = {name: [] for name in headers}
    bad: list[Bad] = []
    if job.dataset_format != "sagemakerCaptureJson":
        for table_row in table_rows(job.dataset_source, job.dataset_format, header=job.header):
            for name in headers:
                columns[name].append(table_row[name])
        return columns, bad
    for record in read_records(opened(files(job.dataset_source, "*.jsonl"))):
        if isinstance(record, Bad):
            bad.append(record)
        elif inside(record, job.start, job.end):
            try:
                rows = [asked_cells(row, headers) for row in record.inputs or (None,)]
            except BadRecord as reason:
                bad.append(Bad(record.join_key or "", str(reason), ""))
                continue
            for row in rows:
                for name, cell in zip(headers, row, strict=True):
                    columns[name].append(cell)
    return columns, bad


def _attributions(model: ModelProcess | None, config: Mapping[str, Any], columns: Columns) -> dict[str, float]:
    if model is not None:
        return explain.mean_absolute(model.ask(explain=rows_of(columns)).contributions, list(columns))
    shap = (config.get("methods") or {}).get("shap") or {}
    if "model_file" in shap:
        return explain.attributions(Path(shap["model_file"]), _matrix(columns), list(columns))
    raise ValueError("the model is named by model_archive, or in analysis_config.json by methods.shap.model_file")


def _matrix(columns: Columns) -> Any:
    matrix = np.array([[number(cell) for cell in cells] for cells in columns.values()]).T
    if np.isinf(matrix).any():
        broken = [name for name, column in zip(columns, matrix.T, strict=True) if np.isinf(column).any()]
        raise ValueError(f"not numbers, so XGBoost cannot explain them as they are: {', '.join(broken)}")
    return matrix
