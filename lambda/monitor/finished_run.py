"""Record what a run of either engine found: its report, its verdict row and its metrics."""

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drift_analyzer import cloudwatch_metrics
from drift_analyzer.capture_records import timestamp
from drift_analyzer.cloudwatch_metrics import Metric
from drift_analyzer.jsonio import loads
from drift_analyzer.quality import MIN_LABELS
from monitor import history, verdict_rows
from monitor.environment import ScheduleEnvironment
from monitor.monitor_run import MonitorRun
from shared.verdict import Verdict, Verdicts

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from shared.clients import Clients

_RUNS = "runs"
"""The metric that counts runs; the heartbeat alarm watches it."""
_BROKEN = "broken_features"
"""The metric that counts what is broken; the broken-data alarm watches it."""
_NAMESPACES = {
    "data_quality": cloudwatch_metrics.DATA,
    "model_quality": cloudwatch_metrics.MODEL,
    "bias": cloudwatch_metrics.BIAS,
    "explainability": cloudwatch_metrics.EXPLAIN,
}
_DRIFT_METRICS = {
    "data_quality": "data_drift",
    "model_quality": "quality_drift",
    "bias": "bias_drift",
    "explainability": "explainability_drift",
}
"""The metric of each kind that is 1 on drift; the drift alarms watch it."""
_MERGER = "groundtruth-merger"
_MODEL_MONITOR_FILES = ("statistics.json", "constraints.json", "analysis.json")
_VIOLATIONS, _REPORT = "constraint_violations.json", "report.html"


def record_job(detail: Mapping[str, Any], environment: ScheduleEnvironment, clients: "Clients") -> dict[str, str]:
    """Record the result of a completed processing job.

    The job's output address names model, release and kind. Jobs with another address are not monitors' jobs. The
    event has neither the job's environment nor its exit message, so the job is described.

    Returns:
        Status and reason.
    """
    outputs = (detail.get("ProcessingOutputConfig") or {}).get("Outputs") or []
    uri = str(outputs[0]["S3Output"]["S3Uri"]) if outputs else ""
    parts = uri.removeprefix(f"s3://{environment.artifact_bucket}/").strip("/").split("/")
    monitored = parts[0] == "monitoring" and len(parts) >= 5 and parts[3] == "scheduled"
    if detail.get("ProcessingJobStatus") != "Completed" or not monitored:
        return {"status": "Nothing", "reason": "not a completed job of a monitor"}
    job = clients.sagemaker.describe_processing_job(ProcessingJobName=detail["ProcessingJobName"])
    values = job.get("Environment", {})
    # Before a quality run, Model Monitor joins labels in a job of its own, whose output is below the run's folder.
    joins_labels = _MERGER in job.get("AppSpecification", {}).get("ImageUri", "")
    if "end_time" not in values or joins_labels:
        return {"status": "Nothing", "reason": "not a completed job of a monitor"}
    monitor_run = MonitorRun(
        model=parts[1],
        kind=parts[4],
        schedule=str(values.get("sagemaker_monitoring_schedule_name", "")),
        endpoint=str(values.get("sagemaker_endpoint_name", "")),
        release=parts[2],
        start=datetime.fromtimestamp(timestamp(values["start_time"]), UTC),
        end=datetime.fromtimestamp(timestamp(values["end_time"]), UTC),
        environment={},
        analysis=None,
        job=None,
    )
    return record(monitor_run, "/".join(parts), job.get("ExitMessage", ""), environment, clients)


def record(
    monitor_run: MonitorRun, folder: str, message: str, environment: ScheduleEnvironment, clients: "Clients"
) -> dict[str, str]:
    """Complete the run's report, and write its verdict row and its metrics.

    Args:
        monitor_run: The run.
        folder: Prefix of the run's files in the artifact bucket.
        message: Exit message of the analyzer.
        environment: The function's variables.
        clients: AWS clients.

    Returns:
        Status and reason of the verdict.

    Raises:
        FileNotFoundError: The analyzer reported violations, but their file is missing.
    """
    bucket = environment.artifact_bucket
    files = {name: _read(clients.s3, bucket, f"{folder}/{name}") or {} for name in (_VIOLATIONS, "verdict.json")}
    violations = files[_VIOLATIONS].get("violations", [])
    if message.startswith("CompletedWithViolations") and not violations:
        raise FileNotFoundError(f"{folder}/{_VIOLATIONS}, although the job reported violations")
    row = verdict_rows.of_run(
        monitor_run.kind,
        violations,
        files["verdict.json"] or _managed_verdict(monitor_run.kind, folder, violations, bucket, clients.s3),
        window=(monitor_run.start, monitor_run.end),
        release=monitor_run.release,
        report=f"s3://{bucket}/{folder}/{_REPORT}",
    )
    managed = _complete_report(monitor_run, folder, row, violations, environment, clients)
    # Model Monitor's fixed thresholds alarm on every day of a season. So its verdict on data quality counts only where
    # there is no verdict on captured data.
    keep_existing = managed and monitor_run.kind == "data_quality" and row.status != "Violation"
    verdicts = Verdicts(clients.dynamodb, environment.ledger_table, model=monitor_run.model, stage=environment.stage)
    verdicts.write(row, replace=not keep_existing)
    now = datetime.now(UTC).timestamp()
    metrics = [Metric(_RUNS, 1.0, now)]
    if row.conclusive:
        drifted = row.status == "Drift" if row.data_drifted is None else row.data_drifted
        metrics.append(Metric(_DRIFT_METRICS[monitor_run.kind], float(drifted), now))
    if monitor_run.kind == "data_quality":
        metrics.append(Metric(_BROKEN, float(len(row.broken)), now))
    _emit(metrics, monitor_run)
    return {"status": row.status, "reason": row.evidence}


def _managed_verdict(
    kind: str, folder: str, violations: Sequence[Mapping[str, str]], bucket: str, s3: "S3Client"
) -> dict[str, Any]:
    """Return what Model Monitor leaves out of a quality run: the number of labels, and that few prove nothing."""
    if kind != "model_quality":
        return {}
    statistics = _read(s3, bucket, f"{folder}/statistics.json") or {}
    labels = int((statistics.get("dataset") or {}).get("item_count") or 0)
    if labels < MIN_LABELS:
        return {"status": "InsufficientData", "labels": labels, "reason": f"{labels} labels, and {MIN_LABELS} needed"}
    return {"status": "Drift" if violations else "Ok", "labels": labels}


def emit_container_metrics(path: Path, monitor_run: MonitorRun) -> None:
    """Print the metrics that the container wrote, without those that `record` emits."""
    if path.exists():
        metrics = cloudwatch_metrics.read_json_lines(path.read_bytes())
        own = (_DRIFT_METRICS[monitor_run.kind], _BROKEN)
        _emit([metric for metric in metrics if metric.name not in own], monitor_run)


def emit_run_without_data(monitor_run: MonitorRun) -> None:
    """Count a run that found nothing to judge: it ran, so the heartbeat stays silent."""
    _emit([Metric(_RUNS, 1.0, datetime.now(UTC).timestamp())], monitor_run)


def _complete_report(
    monitor_run: MonitorRun,
    folder: str,
    row: Verdict,
    violations: Sequence[Mapping[str, str]],
    environment: ScheduleEnvironment,
    clients: "Clients",
) -> bool:
    """Add the ledger's history to the report. Model Monitor writes no report, so it is rendered from its files.

    Returns:
        Whether the run was Model Monitor's.
    """
    from drift_analyzer.report.managed_run import render_managed_run
    from drift_analyzer.report.page import with_history
    from monitor.history_sections import sections

    bucket = environment.artifact_bucket
    body = _get(clients.s3, bucket, f"{folder}/{_REPORT}")
    if body is None:
        files, baseline = (
            _model_monitor_files(clients.s3, bucket, prefix) for prefix in (folder, monitor_run.baseline_folder)
        )
        window = (monitor_run.start.timestamp(), monitor_run.end.timestamp())
        page = render_managed_run(monitor_run.kind, files, baseline, violations, row.evidence, window)
    else:
        page = body.decode("utf-8")
    past = history.read(
        clients.dynamodb,
        environment.ledger_table,
        model=monitor_run.model,
        stage=environment.stage,
        until=monitor_run.end,
    )
    clients.s3.put_object(
        Bucket=bucket,
        Key=f"{folder}/{_REPORT}",
        Body=with_history(page, sections(past, row)).encode("utf-8"),
        ContentType="text/html; charset=utf-8",
    )
    return body is None


def _model_monitor_files(s3: "S3Client", bucket: str, folder: str) -> dict[str, Any]:
    found = {name: _read(s3, bucket, f"{folder}/{name}") for name in _MODEL_MONITOR_FILES}
    return {name: body for name, body in found.items() if body is not None}


def _emit(metrics: Sequence[Metric], monitor_run: MonitorRun) -> None:
    """Print metrics in the embedded format. Those of a window that closed over two weeks ago get the run's time."""
    namespace = _NAMESPACES[monitor_run.kind]
    target = cloudwatch_metrics.target(namespace, monitor_run.endpoint, monitor_run.schedule)
    kept = cloudwatch_metrics.recent(metrics, datetime.now(UTC).timestamp())
    for line in cloudwatch_metrics.embedded(kept, target):
        sys.stdout.write(line + "\n")


def _read(s3: "S3Client", bucket: str, key: str) -> dict[str, Any] | None:
    body = _get(s3, bucket, key)
    found: dict[str, Any] | None = None if body is None else loads(body)
    return found


def _get(s3: "S3Client", bucket: str, key: str) -> bytes | None:
    try:
        return s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    except s3.exceptions.NoSuchKey:
        return None
