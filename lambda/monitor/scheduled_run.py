"""Run a scheduled monitor of the built-in engine: in this function, or as a processing job where it needs the model."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drift_analyzer import container
from drift_analyzer.container_environment import ContainerEnvironment
from drift_analyzer.jsonio import dumps, loads
from monitor.environment import ScheduleEnvironment
from monitor.finished_run import emit_container_metrics, emit_run_without_data, record
from monitor.monitor_run import MonitorRun

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from shared.clients import Clients

_BASELINE_FILES = ("statistics.json", "constraints.json", "analysis.json")
_NO_DATA = {"status": "InsufficientData", "reason": "nothing was captured in the window"}


def run_due(request: Mapping[str, Any], environment: ScheduleEnvironment, clients: "Clients") -> dict[str, str]:
    """Run a schedule's request against the release that is deployed now; return status and reason."""
    name = environment.record_name(request["model"])
    release = str(clients.ssm.get_parameter(Name=name)["Parameter"]["Value"]).split("|", 1)[0]
    monitor_run = MonitorRun.read(request, release, datetime.now(UTC))
    if release == "none":
        emit_run_without_data(monitor_run)
        return {"status": "Nothing", "reason": "nothing is deployed yet"}
    return run(monitor_run, environment, clients)


def run(monitor_run: MonitorRun, environment: ScheduleEnvironment, clients: "Clients") -> dict[str, str]:
    """Run the analyzer on the window and record the result, or start the processing job that runs it.

    Raises:
        FileNotFoundError: The release lacks the baseline of this kind.
    """
    if monitor_run.job is not None:
        return _start_job(monitor_run, monitor_run.job, environment, clients)
    with tempfile.TemporaryDirectory() as name:
        opt = Path(name)
        output = opt / "findings"
        captured = _captured_keys(monitor_run, environment, clients.s3)
        if not _download(clients.s3, environment.data_bucket, captured, opt / "capture"):
            emit_run_without_data(monitor_run)
            return _NO_DATA
        values = {
            **monitor_run.environment,
            **monitor_run.times,
            **_download_baseline(monitor_run, environment, clients.s3, opt / "baseline"),
            "dataset_format": '{"sagemakerCaptureJson":{}}',
            "dataset_source": str(opt / "capture"),
            "output_path": str(output),
            "sagemaker_endpoint_name": monitor_run.endpoint,
            "sagemaker_monitoring_schedule_name": monitor_run.schedule,
        }
        if monitor_run.kind in ("model_quality", "bias"):
            _download_labels(monitor_run, environment, clients.s3, opt / "labels")
            values["ground_truth_source"] = str(opt / "labels")
        if monitor_run.analysis is not None:
            (opt / "analysis_config.json").write_bytes(dumps(monitor_run.analysis))
            values["analysis_config"] = str(opt / "analysis_config.json")
        message = container.run(ContainerEnvironment.read(values), opt)
        for path in sorted(output.iterdir()):
            clients.s3.put_object(
                Bucket=environment.artifact_bucket, Key=f"{monitor_run.folder}/{path.name}", Body=path.read_bytes()
            )
        emit_container_metrics(opt / "output" / "metrics" / "cloudwatch" / "cloudwatch_metrics.jsonl", monitor_run)
    return record(monitor_run, monitor_run.folder, message, environment, clients)


def _start_job(
    monitor_run: MonitorRun, job: Mapping[str, Any], environment: ScheduleEnvironment, clients: "Clients"
) -> dict[str, str]:
    """Start the schedule's processing job for this window."""
    keys = _captured_keys(monitor_run, environment, clients.s3)
    if not keys:
        emit_run_without_data(monitor_run)
        return _NO_DATA
    artifacts = f"s3://{environment.artifact_bucket}"
    manifest = f"{monitor_run.folder}/captured.manifest"
    prefix = f"{monitor_run.model}/capture/"
    entries = [{"prefix": f"s3://{environment.data_bucket}/{prefix}"}, *(key.removeprefix(prefix) for key in keys)]
    clients.s3.put_object(Bucket=environment.artifact_bucket, Key=manifest, Body=dumps(entries))
    # The stack does not know the deployed release or the captured files, so its request has placeholders for them.
    text = dumps(job).decode().replace("{release}", monitor_run.release)
    request = loads(text.replace("{manifest}", f"{artifacts}/{manifest}"))
    request["ProcessingJobName"] = monitor_run.job_name
    request["Environment"] |= monitor_run.times
    request["ProcessingOutputConfig"]["Outputs"][0]["S3Output"]["S3Uri"] = f"{artifacts}/{monitor_run.folder}"
    try:
        clients.sagemaker.create_processing_job(**request)
    except clients.sagemaker.exceptions.ResourceInUse:
        return {"status": "Started", "reason": f"{monitor_run.job_name} was started before"}
    return {"status": "Started", "reason": monitor_run.job_name}


def _captured_keys(monitor_run: MonitorRun, environment: ScheduleEnvironment, s3: "S3Client") -> list[str]:
    root = f"{monitor_run.model}/capture/{monitor_run.endpoint}/AllTraffic/"
    first, last = (
        f"{root}{moment:%Y/%m/%d/%H}/" for moment in (monitor_run.start, monitor_run.end - timedelta(seconds=1))
    )
    return list(_keys_between(s3, environment.data_bucket, root, first, f"{last}~"))


def _download_labels(monitor_run: MonitorRun, environment: ScheduleEnvironment, s3: "S3Client", folder: Path) -> None:
    """Download all labels since the start of the window: their keys hold the hour of arrival."""
    root = f"{monitor_run.model}/ground-truth/"
    first = f"{root}{monitor_run.start:%Y/%m/%d/%H}/"
    keys = list(_keys_between(s3, environment.data_bucket, root, first, f"{root}~"))
    if not _download(s3, environment.data_bucket, keys, folder):
        # Without labels the coverage is 0, which is a finding and not an error.
        (folder / "none.jsonl").write_bytes(b"")


def _keys_between(s3: "S3Client", bucket: str, prefix: str, first: str, last: str) -> Iterator[str]:
    """Yield the keys of JSON lines from `first` to before `last` with one listing, instead of one for each hour."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, StartAfter=first)
    for key in (item["Key"] for page in pages for item in page.get("Contents", [])):
        if key >= last:
            return
        if key.endswith(".jsonl"):
            yield key


def _download(s3: "S3Client", bucket: str, keys: Sequence[str], folder: Path) -> int:
    """Download objects to files named in their order; return their number."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, key in enumerate(keys):
        body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        (folder / f"{number:06d}.jsonl").write_bytes(body)
    return len(keys)


def _download_baseline(
    monitor_run: MonitorRun, environment: ScheduleEnvironment, s3: "S3Client", folder: Path
) -> dict[str, str]:
    """Download the release's baseline; return the variables that name its files."""
    folder.mkdir(parents=True)
    bucket, prefix = environment.artifact_bucket, f"{monitor_run.baseline_folder}/"
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    for key in sorted(item["Key"] for page in pages for item in page.get("Contents", [])):
        if key.endswith(".json"):
            body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            (folder / key.rsplit("/", 1)[-1]).write_bytes(body)
    present = {name for name in _BASELINE_FILES if (folder / name).exists()}
    if monitor_run.kind in ("bias", "explainability"):
        if "analysis.json" not in present:
            raise FileNotFoundError(f"{prefix}analysis.json is not in {bucket}")
        return {"baseline_constraints": str(folder / "analysis.json")}
    if not {"statistics.json", "constraints.json"} <= present:
        raise FileNotFoundError(f"{prefix} lacks statistics.json or constraints.json in {bucket}")
    return {
        "baseline_statistics": str(folder / "statistics.json"),
        "baseline_constraints": str(folder / "constraints.json"),
    }
