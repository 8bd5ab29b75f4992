"""Scheduled monitors: the built-in engine's runs, and what either engine's jobs found, as rows of the ledger.

`{"monitor": {…}}` comes from a model's schedule (docs/reference/contracts.md, "Scheduled monitors"). The run happens
here, or, where it needs the model, as a processing job. "SageMaker Processing Job State Change" tells that a job has
ended. Both end in `conclude`, so that rows and metrics do not know the engine.
"""

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drift_analyzer import cloudwatch_metrics, container
from drift_analyzer.capture_records import timestamp
from drift_analyzer.cloudwatch_metrics import Metric
from drift_analyzer.container_environment import ContainerEnvironment
from drift_analyzer.jsonio import dumps, loads
from monitor import history, verdict_rows
from shared.verdict import Verdict, Verdicts

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_ssm import SSMClient

_FILES = ("statistics.json", "constraints.json", "analysis.json")
_VIOLATIONS, _REPORT = "constraint_violations.json", "report.html"
_NAMESPACES = {
    "data_quality": cloudwatch_metrics.DATA,
    "model_quality": cloudwatch_metrics.MODEL,
    "bias": cloudwatch_metrics.BIAS,
    "explainability": cloudwatch_metrics.EXPLAIN,
}
DRIFT_METRICS = {kind: f"{kind.removeprefix('model_')}_drift" for kind in _NAMESPACES} | {"data_quality": "data_drift"}
"""The metric of each kind that is 1 where it drifted; the alarms look at it."""
RUNS = "runs"


@dataclass(frozen=True)
class Clients:
    """What a scheduled run needs of AWS."""

    s3: "S3Client"
    sagemaker: "SageMakerClient"
    dynamodb: "DynamoDBClient"
    ssm: "SSMClient"


@dataclass(frozen=True)
class Environment:
    """The function's environment, read once."""

    app: str
    stage: str
    data: str
    artifacts: str
    ledger: str

    @classmethod
    def read(cls, values: Mapping[str, str]) -> "Environment":
        names = ("APP", "STAGE", "DATA_BUCKET", "ARTIFACT_BUCKET", "LEDGER_TABLE")
        return cls(*(values[name] for name in names))


@dataclass(frozen=True)
class Plan:
    """One run: whose, of what kind, on which window, by which release's baseline."""

    model: str
    kind: str
    schedule: str
    endpoint: str
    release: str
    start: datetime
    end: datetime
    environment: Mapping[str, str]
    analysis: Mapping[str, Any] | None
    job: Mapping[str, Any] | None

    @classmethod
    def read(cls, said: Mapping[str, Any], release: str, now: datetime) -> "Plan":
        """What the schedule said. Windows end at multiples of the schedule, so that a retry judges the same one."""
        every = int(said["schedule_hours"]) * 3600
        slot = datetime.fromtimestamp(int(now.timestamp()) // every * every, UTC)
        end = slot - timedelta(hours=int(said.get("label_delay_hours", 0)))
        start = end - timedelta(hours=int(said["window_hours"]))
        taken = {name: said[name] for name in ("model", "kind", "schedule", "endpoint")}
        return cls(
            **taken,
            release=release,
            start=start,
            end=end,
            environment=said.get("environment", {}),
            analysis=said.get("analysis"),
            job=said.get("job"),
        )

    @property
    def folder(self) -> str:
        """Where in the artifact bucket the run's files lie."""
        return f"monitoring/{self.model}/{self.release}/scheduled/{self.kind}/{self.end:%Y/%m/%d/%H}"

    @property
    def times(self) -> dict[str, str]:
        return {"start_time": _iso(self.start), "end_time": _iso(self.end), "metric_time": _iso(self.end)}

    @property
    def job_name(self) -> str:
        """At most 63 characters; the same for a retry, which SageMaker then refuses."""
        return f"{self.schedule[:50]}-{self.end:%Y%m%d%H}"


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@cache
def _environment() -> Environment:
    return Environment.read(os.environ)


@cache
def _clients() -> Clients:
    import boto3

    return Clients(boto3.client("s3"), boto3.client("sagemaker"), boto3.client("dynamodb"), boto3.client("ssm"))


def handler(event: Mapping[str, Any], _context: object) -> dict[str, str]:
    """Run a monitor, or note what one found."""
    if "monitor" in event:
        return due(event["monitor"], _environment(), _clients())
    return ended(event["detail"], _environment(), _clients())


def due(said: Mapping[str, Any], environment: Environment, clients: Clients) -> dict[str, str]:
    """Run what a schedule asks for, against the release that is deployed now."""
    name = f"/{environment.app}/{said['model']}/{environment.stage}/release"
    release = str(clients.ssm.get_parameter(Name=name)["Parameter"]["Value"]).split("|", 1)[0]
    if release == "none":
        return {"status": "Nothing", "reason": "nothing is deployed yet"}
    return run(Plan.read(said, release, datetime.now(UTC)), environment, clients)


def run(plan: Plan, environment: Environment, clients: Clients) -> dict[str, str]:
    """Do a run of the built-in engine, or start the job that does."""
    if plan.job is not None:
        return _start_job(plan, environment, clients)
    with tempfile.TemporaryDirectory() as name:
        opt = Path(name)
        output = opt / "findings"
        if not _fetch(clients, environment.data, _captured(plan, environment, clients), opt / "capture"):
            return {"status": "InsufficientData", "reason": "nothing was captured in the window"}
        values = {
            **plan.environment,
            **plan.times,
            **_baseline(plan, environment, clients, opt / "baseline"),
            "dataset_format": '{"sagemakerCaptureJson":{}}',
            "dataset_source": str(opt / "capture"),
            "output_path": str(output),
            "sagemaker_endpoint_name": plan.endpoint,
            "sagemaker_monitoring_schedule_name": plan.schedule,
        }
        if plan.kind in ("model_quality", "bias"):
            _download_labels(plan, environment, clients, opt / "labels")
            values["ground_truth_source"] = str(opt / "labels")
        if plan.analysis is not None:
            (opt / "analysis_config.json").write_bytes(dumps(plan.analysis))
            values["analysis_config"] = str(opt / "analysis_config.json")
        message = container.run(ContainerEnvironment.read(values), opt)
        for path in sorted(output.iterdir()):
            clients.s3.put_object(
                Bucket=environment.artifacts, Key=f"{plan.folder}/{path.name}", Body=path.read_bytes()
            )
        _emit(opt / "output" / "metrics" / "cloudwatch" / "cloudwatch_metrics.jsonl", plan)
    return conclude(plan, plan.folder, message, environment, clients)


def _captured(plan: Plan, environment: Environment, clients: Clients) -> list[str]:
    """The window's captured files."""
    root = f"{plan.model}/capture/{plan.endpoint}/AllTraffic/"
    first, last = (f"{root}{moment:%Y/%m/%d/%H}/" for moment in (plan.start, plan.end - timedelta(seconds=1)))
    return list(_between(clients, environment.data, root, first, f"{last}~"))


def _download_labels(plan: Plan, environment: Environment, clients: Clients, folder: Path) -> None:
    """All labels since the window began: a label's hour is that of its arrival."""
    root = f"{plan.model}/ground-truth/"
    keys = list(_between(clients, environment.data, root, f"{root}{plan.start:%Y/%m/%d/%H}/", f"{root}~"))
    if not _fetch(clients, environment.data, keys, folder):
        # No label yet is a finding, coverage 0, and no mistake.
        (folder / "none.jsonl").write_bytes(b"")


def _between(clients: Clients, bucket: str, prefix: str, first: str, last: str) -> Iterator[str]:
    """Files' keys from `first` to before `last`, in their order, by one listing: one an hour would be 168 a week."""
    pages = clients.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, StartAfter=first)
    for key in (item["Key"] for page in pages for item in page.get("Contents", [])):
        if key >= last:
            return
        if key.endswith(".jsonl"):
            yield key


def _fetch(clients: Clients, bucket: str, keys: Sequence[str], folder: Path) -> int:
    """The objects as files, named so that their order is kept; how many."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, key in enumerate(keys):
        body = clients.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        (folder / f"{number:06d}.jsonl").write_bytes(body)
    return len(keys)


def _keys(clients: Clients, bucket: str, prefix: str, ending: str) -> list[str]:
    pages = clients.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return sorted(item["Key"] for page in pages for item in page.get("Contents", []) if item["Key"].endswith(ending))


def _baseline(plan: Plan, environment: Environment, clients: Clients, folder: Path) -> dict[str, str]:
    """The deployed release's baseline of the kind, and the variables that name it."""
    folder.mkdir(parents=True)
    under = f"releases/{plan.model}/{plan.release}/baselines/{plan.kind.replace('_', '-')}/"
    for key in _keys(clients, environment.artifacts, under, ".json"):
        body = clients.s3.get_object(Bucket=environment.artifacts, Key=key)["Body"].read()
        (folder / key.rsplit("/", 1)[-1]).write_bytes(body)
    there = {name for name in _FILES if (folder / name).exists()}
    if plan.kind in ("bias", "explainability"):
        if "analysis.json" not in there:
            raise FileNotFoundError(f"{under}analysis.json is not in {environment.artifacts}")
        return {"baseline_constraints": str(folder / "analysis.json")}
    if not {"statistics.json", "constraints.json"} <= there:
        raise FileNotFoundError(f"{under} lacks statistics.json or constraints.json in {environment.artifacts}")
    return {
        "baseline_statistics": str(folder / "statistics.json"),
        "baseline_constraints": str(folder / "constraints.json"),
    }


def _emit(path: Path, plan: Plan) -> None:
    """The container's metrics in the embedded format; its own drift flag comes with `conclude`."""
    if not path.exists():
        return
    found = []
    for line in path.read_bytes().splitlines():
        body = loads(line)
        if body["MetricName"] != DRIFT_METRICS[plan.kind]:
            value = body["StatisticValues"] if "StatisticValues" in body else body["Value"]
            found.append(Metric(body["MetricName"], value, body["Timestamp"]))
    _print(found, plan.kind, plan.endpoint, plan.schedule)


def _start_job(plan: Plan, environment: Environment, clients: Clients) -> dict[str, str]:
    """Start the processing job of the schedule, with this window's times, prefix and name."""
    if plan.job is None:
        raise ValueError(f"{plan.schedule} has no job")
    keys = _captured(plan, environment, clients)
    if not keys:
        return {"status": "InsufficientData", "reason": "nothing was captured in the window"}
    manifest = f"{plan.folder}/captured.manifest"
    root = f"s3://{environment.data}/{plan.model}/capture/"
    entries = [{"prefix": root}, *(key.removeprefix(f"{plan.model}/capture/") for key in keys)]
    clients.s3.put_object(Bucket=environment.artifacts, Key=manifest, Body=dumps(entries))
    # What the stack could not know: which release is deployed, and what was captured.
    text = dumps(plan.job).decode().replace("{release}", plan.release)
    request = loads(text.replace("{manifest}", f"s3://{environment.artifacts}/{manifest}"))
    request["ProcessingJobName"] = plan.job_name
    request["Environment"] |= plan.times
    request["ProcessingOutputConfig"]["Outputs"][0]["S3Output"]["S3Uri"] = f"s3://{environment.artifacts}/{plan.folder}"
    try:
        clients.sagemaker.create_processing_job(**request)
    except clients.sagemaker.exceptions.ResourceInUse:
        return {"status": "Started", "reason": f"{plan.job_name} was started before"}
    return {"status": "Started", "reason": plan.job_name}


def ended(detail: Mapping[str, Any], environment: Environment, clients: Clients) -> dict[str, str]:
    """What a monitor's job found. Its output's address names model, release and kind; other jobs are none of ours."""
    outputs = (detail.get("ProcessingOutputConfig") or {}).get("Outputs") or []
    uri = str(outputs[0]["S3Output"]["S3Uri"]) if outputs else ""
    values = detail.get("Environment") or {}
    parts = uri.removeprefix(f"s3://{environment.artifacts}/").strip("/").split("/")
    monitored = parts[0] == "monitoring" and len(parts) >= 5 and parts[3] == "scheduled"
    if detail.get("ProcessingJobStatus") != "Completed" or not monitored or "end_time" not in values:
        return {"status": "Nothing", "reason": "not a monitor's job that has completed"}
    plan = Plan(
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
    return conclude(plan, "/".join(parts), str(detail.get("ExitMessage", "")), environment, clients)


def conclude(plan: Plan, folder: str, message: str, environment: Environment, clients: Clients) -> dict[str, str]:
    """Finish the run's report, write its row and its two metrics: whether it drifted, and that it ran."""
    files = {name: _read(clients, environment, f"{folder}/{name}") or {} for name in (_VIOLATIONS, "verdict.json")}
    violations, said = files[_VIOLATIONS].get("violations", []), files["verdict.json"]
    if message.startswith("CompletedWithViolations") and not violations:
        raise FileNotFoundError(f"{folder}/{_VIOLATIONS}, which the job says it wrote")
    report = f"s3://{environment.artifacts}/{folder}/{_REPORT}"
    row = verdict_rows.of_run(
        plan.kind, violations, said, window=(plan.start, plan.end), release=plan.release, report=report
    )
    managed = _finish_report(plan, folder, row, violations, environment, clients)
    # Fixed thresholds call a season's every day a drift: they have the word only where captured data were not judged.
    yields = managed and plan.kind == "data_quality" and row.status != "Violation"
    verdicts = Verdicts(clients.dynamodb, environment.ledger, model=plan.model, stage=environment.stage)
    verdicts.write(row, replace=not yields)
    now = datetime.now(UTC).timestamp()
    found = [Metric(RUNS, 1.0, now)]
    if row.conclusive:
        found.append(Metric(DRIFT_METRICS[plan.kind], float(row.status != "OK"), now))
    _print(found, plan.kind, plan.endpoint, plan.schedule)
    return {"status": row.status, "reason": row.evidence}


def _finish_report(
    plan: Plan,
    folder: str,
    row: Verdict,
    violations: Sequence[Mapping[str, str]],
    environment: Environment,
    clients: Clients,
) -> bool:
    """Put what only the ledger knows into the page that the job wrote; say whether it was the managed engine's.

    That one writes no page, so that it is made of its files.
    """
    from drift_analyzer.report.managed_run import managed_page
    from drift_analyzer.report.page import with_history
    from monitor.history_sections import sections

    body = _get(clients, environment, f"{folder}/{_REPORT}")
    if body is None:
        under = f"releases/{plan.model}/{plan.release}/baselines/{plan.kind.replace('_', '-')}"
        ran, baseline = (_files(clients, environment, one) for one in (folder, under))
        window = (plan.start.timestamp(), plan.end.timestamp())
        page = managed_page(plan.kind, ran, baseline, violations, row.evidence, window)
    else:
        page = body.decode("utf-8")
    past = history.read(clients.dynamodb, environment.ledger, model=plan.model, stage=environment.stage, until=plan.end)
    clients.s3.put_object(
        Bucket=environment.artifacts,
        Key=f"{folder}/{_REPORT}",
        Body=with_history(page, sections(past, row)).encode("utf-8"),
        ContentType="text/html; charset=utf-8",
    )
    return body is None


def _files(clients: Clients, environment: Environment, folder: str) -> dict[str, Any]:
    """Those of Model Monitor's files that lie in a folder, by name."""
    found = {name: _read(clients, environment, f"{folder}/{name}") for name in _FILES}
    return {name: body for name, body in found.items() if body is not None}


def _print(found: list[Metric], kind: str, endpoint: str, schedule: str) -> None:
    for line in cloudwatch_metrics.embedded(found, cloudwatch_metrics.target(_NAMESPACES[kind], endpoint, schedule)):
        sys.stdout.write(line + "\n")


def _read(clients: Clients, environment: Environment, key: str) -> dict[str, Any] | None:
    body = _get(clients, environment, key)
    found: dict[str, Any] | None = None if body is None else loads(body)
    return found


def _get(clients: Clients, environment: Environment, key: str) -> bytes | None:
    try:
        return clients.s3.get_object(Bucket=environment.artifacts, Key=key)["Body"].read()
    except clients.s3.exceptions.NoSuchKey:
        return None
