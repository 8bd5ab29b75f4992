"""Explainability: SHAP values of captured requests against the feature ranking at training.

`model_archive`, an addition to the contract, is a model.tar.gz whose own code encodes the rows. Without it,
`methods.shap.model_file` names an XGBoost model that takes the rows as they are, so they must be numbers.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from drift_analyzer import cloudwatch_metrics, explainability
from drift_analyzer.capture_reader import BadRecord, read_records
from drift_analyzer.capture_records import UnreadableRecordError
from drift_analyzer.cells import number
from drift_analyzer.cloudwatch_metrics import Metric
from drift_analyzer.container_environment import ContainerEnvironment
from drift_analyzer.drift import Rules
from drift_analyzer.ground_truth import in_time_range
from drift_analyzer.input_files import DatasetError, list_files, open_files, read_json
from drift_analyzer.jobs.job import JobResult, JobVerdict, input_cells, read_analysis_config, write_json, write_verdict
from drift_analyzer.model_process import ModelProcess, rows_of
from drift_analyzer.reference_data import read_rows
from drift_analyzer.report.explainability import render_explanation
from drift_analyzer.report.page import period

Columns = Mapping[str, Sequence[Any]]


def run(job: ContainerEnvironment, opt: Path) -> JobResult:
    """Judge the window; without `baseline_constraints`, build a baseline from the dataset instead.

    Raises:
        ValueError: The inputs cannot be analyzed.
    """
    config = read_analysis_config(job, opt)
    headers = [str(name) for name in config["headers"] if name != config.get("label")]
    with ExitStack() as stack:
        archive = job.values.get("model_archive")
        model = stack.enter_context(ModelProcess(Path(archive))) if archive else None
        return _judge(job, config, headers, model)


def _judge(
    job: ContainerEnvironment, config: Mapping[str, Any], headers: Sequence[str], model: ModelProcess | None
) -> JobResult:
    columns, bad = _rows(job, headers)
    count = len(columns[headers[0]])
    if job.baseline_constraints is None:
        if not count:
            raise DatasetError("no rows to explain")
        analysis = explainability.analysis(_attributions(model, config, columns))
        write_json(job.output_path, {"analysis.json": analysis})
        return JobResult(0, [], cloudwatch_metrics.EXPLAIN)
    label, before = explainability.read_analysis(read_json(job.baseline_constraints))
    if count < Rules.min_rows:
        verdict = JobVerdict("InsufficientData", f"{count} rows; a verdict needs {Rules.min_rows}", bad=bad)
        return _write(job, verdict, before, {}, label, count)
    now = _attributions(model, config, columns)
    violations = explainability.violations(before, now, label)
    score = explainability.ndcg(before, now)
    reason = f"the feature ranking over {count} rows has NDCG {score:.3f}"
    verdict = JobVerdict("Drift" if violations else "Ok", reason, violations, metric=score, bad=bad)
    return _write(job, verdict, before, now, label, count)


def _write(
    job: ContainerEnvironment,
    verdict: JobVerdict,
    before: Mapping[str, float],
    now: Mapping[str, float],
    label: str,
    rows: int,
) -> JobResult:
    score = verdict.metric
    facts = {
        "NDCG": "–" if score is None else f"{score:.3f}",
        "at least": f"{explainability.MIN_NDCG}",
        "rows": f"{rows:,}",
        "bad records": f"{len(verdict.bad):,}",
    }
    page = render_explanation(
        before,
        now,
        verdict.status,
        verdict.reason,
        verdict.violations,
        facts,
        verdict.bad_reasons,
        period(job.start, job.end),
    )
    write_verdict(job, verdict, {"analysis.json": explainability.analysis(now, label)}, page)
    emitted = [] if score is None else [Metric("ndcg", score, job.metric_time)]
    return JobResult(len(verdict.violations), emitted, cloudwatch_metrics.EXPLAIN)


def _rows(job: ContainerEnvironment, headers: Sequence[str]) -> tuple[Columns, list[BadRecord]]:
    """Read the rows of all requests by column, and the bad records."""
    columns: dict[str, list[Any]] = {name: [] for name in headers}
    bad: list[BadRecord] = []
    if job.dataset_format != "sagemakerCaptureJson":
        for table_row in read_rows(job.dataset_source, job.dataset_format, header=job.header):
            for name in headers:
                columns[name].append(table_row[name])
        return columns, bad
    for record in read_records(open_files(list_files(job.dataset_source, "*.jsonl"))):
        if isinstance(record, BadRecord):
            bad.append(record)
        elif in_time_range(record, job.start, job.end):
            try:
                rows = [input_cells(row, headers) for row in record.inputs or (None,)]
            except UnreadableRecordError as reason:
                bad.append(BadRecord(record.join_key or "", str(reason), ""))
                continue
            for row in rows:
                for name, cell in zip(headers, row, strict=True):
                    columns[name].append(cell)
    return columns, bad


def _attributions(model: ModelProcess | None, config: Mapping[str, Any], columns: Columns) -> dict[str, float]:
    if model is not None:
        return explainability.mean_absolute(model.run(explain=rows_of(columns)).contributions, list(columns))
    shap = (config.get("methods") or {}).get("shap") or {}
    if "model_file" in shap:
        return explainability.attributions(Path(shap["model_file"]), _matrix(columns), list(columns))
    raise ValueError("the model is named by model_archive, or in analysis_config.json by methods.shap.model_file")


def _matrix(columns: Columns) -> Any:
    matrix = np.array([[number(cell) for cell in cells] for cells in columns.values()]).T
    if np.isinf(matrix).any():
        text = [name for name, column in zip(columns, matrix.T, strict=True) if np.isinf(column).any()]
        raise ValueError(f"not numbers, which an XGBoost model without model_archive requires: {', '.join(text)}")
    return matrix
