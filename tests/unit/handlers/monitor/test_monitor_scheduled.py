"""Scheduled monitors: the runs of both engines end in the same rows."""

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from drift_analyzer import cloudwatch_metrics
from drift_analyzer.baseline_builder import ReferenceColumn, build_baseline
from drift_analyzer.container_environment import ContainerEnvironment
from monitor import finished_run, scheduled_run, verdict_rows
from monitor.environment import ScheduleEnvironment
from monitor.monitor_run import MonitorRun
from shared.verdict import Verdict, Verdicts

RNG = np.random.default_rng(5)
ENDPOINT = "evergreen-flight-delays-prod"
RELEASE = "v3-0badcafe"
NOW = datetime(2026, 2, 15, 0, 7, tzinfo=UTC)
REQUEST: dict[str, Any] = {
    "model": "flight-delays",
    "kind": "data_quality",
    "schedule": f"{ENDPOINT}-data-quality",
    "endpoint": ENDPOINT,
    "schedule_hours": 24,
    "window_hours": 24,
}


class Missing(Exception):
    """The fake's NoSuchKey and ResourceInUse."""


class Cloud:
    """S3, SageMaker and SSM in memory, with the operations that the function uses."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.jobs: list[dict[str, Any]] = []
        self.record = f"{RELEASE}|image|arn|sha"
        self.exceptions = type("Exceptions", (), {"NoSuchKey": Missing, "ResourceInUse": Missing})

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:
        if f"{Bucket}/{Key}" not in self.objects:
            raise Missing(Key)
        return {"Body": io.BytesIO(self.objects[f"{Bucket}/{Key}"])}

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, ContentType: str = "") -> None:
        self.objects[f"{Bucket}/{Key}"] = Body

    def get_paginator(self, _name: str) -> "Cloud":
        return self

    def paginate(self, *, Bucket: str, Prefix: str, StartAfter: str = "") -> list[dict[str, Any]]:
        keys = [key.partition("/")[2] for key in sorted(self.objects) if key.startswith(f"{Bucket}/{Prefix}")]
        return [{"Contents": [{"Key": key} for key in keys if key > StartAfter]}]

    def get_parameter(self, *, Name: str) -> dict[str, Any]:
        assert Name == "/evergreen/flight-delays/prod/release"
        return {"Parameter": {"Value": self.record}}

    def describe_processing_job(self, *, ProcessingJobName: str) -> dict[str, Any]:
        (job,) = (one for one in self.jobs if one["ProcessingJobName"] == ProcessingJobName)
        return job

    def create_processing_job(self, **request: Any) -> None:
        if any(job["ProcessingJobName"] == request["ProcessingJobName"] for job in self.jobs):
            raise Missing(request["ProcessingJobName"])
        self.jobs.append(request)


@pytest.fixture
def cloud() -> Cloud:
    found = Cloud()
    statistics, constraints = build_baseline([ReferenceColumn("x", RNG.normal(size=4000))])
    base = f"artifacts/releases/flight-delays/{RELEASE}/baselines/data-quality"
    found.objects[f"{base}/statistics.json"] = json.dumps(statistics).encode()
    found.objects[f"{base}/constraints.json"] = json.dumps(constraints).encode()
    return found


@pytest.fixture
def clients(cloud: Cloud, ledger: Any) -> Any:
    return SimpleNamespace(s3=cloud, sagemaker=cloud, dynamodb=ledger, ssm=cloud)


EVENTS = Path(__file__).parents[1] / "events"
ENVIRONMENT = ScheduleEnvironment("evergreen", "prod", "ledger", "data", "artifacts")


def capture(cloud: Cloud, shift: float, day: int = 14) -> None:
    lines = []
    for index, value in enumerate(RNG.normal(shift, 1, 1000)):
        side = {"observedContentType": "text/csv", "mode": "INPUT", "data": f"{value:.4f}", "encoding": "CSV"}
        meta = {"eventId": str(index), "inferenceTime": f"2026-02-{day}T17:{index % 60:02}:00Z"}
        lines.append(json.dumps({"captureData": {"endpointInput": side}, "eventMetadata": meta, "eventVersion": "0"}))
    key = f"data/flight-delays/capture/{ENDPOINT}/AllTraffic/2026/02/{day}/17/a.jsonl"
    cloud.objects[key] = "\n".join(lines).encode() + b"\n"


@pytest.mark.parametrize(("shift", "status"), [(0.0, "OK"), (2.0, "Drift")])
def test_a_run_judges_the_last_whole_window_by_the_deployed_baseline(
    cloud: Cloud, clients: Any, shift: float, status: str, ledger: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    capture(cloud, shift)
    capture(cloud, 9.0, day=15)
    assert scheduled_run.run(MonitorRun.read(REQUEST, RELEASE, NOW), ENVIRONMENT, clients)["status"] == status
    ((key, row),) = ledger.rows.items()
    assert key == "verdict#2026-02-15T00:00:00+00:00#data_quality"
    assert (row["status"]["S"], row["release_id"]["S"]) == (status, RELEASE)
    report = row["report"]["S"].removeprefix("s3://")
    assert report == f"artifacts/monitoring/flight-delays/{RELEASE}/scheduled/data_quality/2026/02/15/00/report.html"
    assert report in cloud.objects
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines() if "_aws" in line]
    emitted = {name: line[name] for line in lines for name in line if name in ("runs", "data_drift")}
    assert emitted == {"runs": 1.0, "data_drift": float(status == "Drift")}
    assert {line["MonitoringSchedule"] for line in lines} == {REQUEST["schedule"]}


def managed_quality_run(cloud: Cloud, labels: int) -> dict[str, Any]:
    """Write the files of a Model Monitor job on quality that found one violation; return its event."""
    event = managed_run(cloud, "baseline_drift_check")
    output = event["ProcessingOutputConfig"]["Outputs"][0]["S3Output"]
    output["S3Uri"] = output["S3Uri"].replace("/data_quality/", "/model_quality/").replace("data-quality", "quality")
    folder = output["S3Uri"].removeprefix("s3://")
    metrics = {"auc": {"value": 0.6, "standard_deviation": 0.01}}
    body = {"version": 0.0, "dataset": {"item_count": labels}, "binary_classification_metrics": metrics}
    check = {"metric_name": "auc", "constraint_check_type": "LessThanThreshold", "description": "auc with 0.6"}
    cloud.objects[f"{folder}/statistics.json"] = json.dumps(body).encode()
    cloud.objects[f"{folder}/constraint_violations.json"] = json.dumps({"violations": [check]}).encode()
    return event


@pytest.mark.parametrize(("labels", "status"), [(0, "InsufficientData"), (199, "InsufficientData"), (200, "Drift")])
def test_few_labels_are_no_evidence_on_the_managed_engine_either(
    cloud: Cloud, clients: Any, ledger: Any, labels: int, status: str
) -> None:
    finished_run.record_job(managed_quality_run(cloud, labels), ENVIRONMENT, clients)
    ((key, row),) = ledger.rows.items()
    assert key.endswith("#model_quality")
    assert (row["status"]["S"], row["labels"]["N"]) == (status, str(labels))


def test_the_job_that_joins_labels_is_no_run(cloud: Cloud, clients: Any, ledger: Any) -> None:
    """Events arrive in any order: one that arrives late would replace the verdict of the run."""
    event = managed_quality_run(cloud, 500)
    cloud.jobs[-1]["AppSpecification"] = {"ImageUri": "1.dkr/sagemaker-model-monitor-groundtruth-merger"}
    event["ProcessingOutputConfig"]["Outputs"][0]["S3Output"]["S3Uri"] += "/merge"
    assert finished_run.record_job(event, ENVIRONMENT, clients)["status"] == "Nothing"
    assert not ledger.rows


def managed_run(cloud: Cloud, check: str) -> dict[str, Any]:
    """Write the files of a Model Monitor job that found one violation; return its event."""
    folder = f"monitoring/flight-delays/{RELEASE}/scheduled/data_quality/{ENDPOINT}/{REQUEST['schedule']}/2026/02/15/00"
    violation = {"feature_name": "x", "constraint_check_type": check, "description": "distance: 0.5"}
    statistics, _ = build_baseline([ReferenceColumn("x", RNG.normal(2, 1, size=1000))])
    theirs = {"name": "x", "inferred_type": "Fractional"}
    theirs["numerical_statistics"] = statistics["features"][0]["numerical_statistics"]
    body = {"version": 0.0, "dataset": {"item_count": 1000}, "features": [theirs]}
    cloud.objects[f"artifacts/{folder}/statistics.json"] = json.dumps(body).encode()
    cloud.objects[f"artifacts/{folder}/constraint_violations.json"] = json.dumps({"violations": [violation]}).encode()
    name = "model-monitoring-202602150000-0123456789abcdef01234567"
    cloud.jobs.append(
        {
            "ProcessingJobName": name,
            "ExitMessage": "CompletedWithViolations: Job completed successfully with 1 violations.",
            "Environment": {
                "start_time": "2026-02-14T00:00:00Z",
                "end_time": "2026-02-15T00:00:00Z",
                "sagemaker_endpoint_name": ENDPOINT,
                "sagemaker_monitoring_schedule_name": REQUEST["schedule"],
            },
        }
    )
    event: dict[str, Any] = json.loads((EVENTS / "processing_job_completed.json").read_text())["detail"]
    event["ProcessingOutputConfig"]["Outputs"][0]["S3Output"]["S3Uri"] = f"s3://artifacts/{folder}"
    return {**event, "ProcessingJobName": name}


def test_the_managed_engines_job_ends_in_the_same_row(cloud: Cloud, clients: Any, ledger: Any) -> None:
    assert (
        finished_run.record_job(managed_run(cloud, "baseline_drift_check"), ENVIRONMENT, clients)["status"] == "Drift"
    )
    ((key, row),) = ledger.rows.items()
    assert key == "verdict#2026-02-15T00:00:00+00:00#data_quality"
    assert (row["status"]["S"], json.loads(row["features"]["S"])) == ("Drift", ["x"])
    page = cloud.objects[row["report"]["S"].removeprefix("s3://")].decode()
    assert "<h1>Data drift</h1>" in page, "Model Monitor writes no report, so it is rendered from its files"
    assert "distance: 0.5" in page
    assert "Recent decisions" in page


@pytest.mark.parametrize(("check", "kept"), [("baseline_drift_check", "OK"), ("data_type_check", "Violation")])
def test_fixed_thresholds_do_not_overrule_the_calibrated_verdict_on_captured_data(
    cloud: Cloud, clients: Any, ledger: Any, check: str, kept: str
) -> None:
    captured = Verdict(
        kind="data_quality",
        status="OK",
        window_start=NOW.replace(day=14, minute=0),
        window_end=NOW.replace(minute=0),
        release_id=RELEASE,
        evidence="no feature drifted",
    )
    Verdicts(ledger, "ledger", model="flight-delays", stage="prod").write(captured)
    finished_run.record_job(managed_run(cloud, check), ENVIRONMENT, clients)
    ((_, row),) = ledger.rows.items()
    assert row["status"]["S"] == kept


def test_other_jobs_are_ignored(clients: Any, ledger: Any) -> None:
    output = {"S3Output": {"S3Uri": "s3://artifacts/runs/flight-delays/abc/Preprocess/train"}}
    detail = {"ProcessingJobStatus": "Completed", "ProcessingOutputConfig": {"Outputs": [output]}}
    assert finished_run.record_job(detail, ENVIRONMENT, clients)["status"] == "Nothing"
    assert not ledger.rows


def test_a_type_that_changed_is_a_violation_and_completeness_is_not(cloud: Cloud, clients: Any) -> None:
    for kind, status in (("data_type_check", "Violation"), ("completeness_check", "Drift")):
        violation = {"feature_name": "x", "constraint_check_type": kind, "description": "d"}
        window = (NOW - timedelta(days=1), NOW)
        row = verdict_rows.of_run("data_quality", [violation], {}, window=window, release=RELEASE, report="")
        assert row.status == status


def test_the_evidence_names_a_feature_that_drifted_before_values_that_are_new() -> None:
    found = [
        {"feature_name": "dest", "constraint_check_type": "categorical_values_check", "description": "new values"},
        {"feature_name": "temp", "constraint_check_type": "baseline_drift_check", "description": "distance: 0.9"},
    ]
    request = {"status": "Drift", "reason": "critical features drifted: temp"}
    window = (NOW - timedelta(days=1), NOW)
    row = verdict_rows.of_run("data_quality", found, request, window=window, release=RELEASE, report="")
    assert row.evidence == "critical features drifted: temp; temp: distance: 0.9"


@pytest.mark.parametrize("delay_hours", [0, 300, 334, 336, 696])
def test_metrics_of_windows_whose_labels_take_a_month_reach_cloudwatch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], delay_hours: int
) -> None:
    now = datetime.now(UTC)
    request = REQUEST | {"kind": "model_quality", "label_delay_hours": delay_hours}
    monitor_run = MonitorRun.read(request, RELEASE, now)
    path = tmp_path / "metrics.jsonl"
    values = ContainerEnvironment.read(monitor_run.times | {"output_path": ".", "dataset_source": "."})
    target = cloudwatch_metrics.target(cloudwatch_metrics.MODEL, ENDPOINT, REQUEST["schedule"])
    path.write_bytes(cloudwatch_metrics.json_lines([cloudwatch_metrics.Metric("auc", 0.7, values.metric_time)], target))
    finished_run.emit_container_metrics(path, monitor_run)
    stamp = json.loads(capsys.readouterr().out)["_aws"]["Timestamp"] / 1000
    assert stamp > (now - timedelta(weeks=2)).timestamp(), "CloudWatch would drop it"
    if delay_hours <= 300:
        assert stamp == monitor_run.end.timestamp(), "else a metric has its window's time"


def test_quality_waits_for_labels_and_a_retry_judges_the_same_window() -> None:
    plan = MonitorRun.read({**REQUEST, "kind": "model_quality", "label_delay_hours": 48}, RELEASE, NOW)
    assert (plan.start, plan.end) == (datetime(2026, 2, 12, tzinfo=UTC), datetime(2026, 2, 13, tzinfo=UTC))
    later = MonitorRun.read(
        {**REQUEST, "kind": "model_quality", "label_delay_hours": 48}, RELEASE, NOW + timedelta(hours=9)
    )
    assert later == plan


def test_a_job_gets_the_release_the_window_and_what_was_captured_and_a_retry_starts_no_second(
    cloud: Cloud, clients: Any
) -> None:
    capture(cloud, 0.0)
    job = {
        "Environment": {"analysis_type": "MODEL_EXPLAINABILITY"},
        "ProcessingInputs": [
            {"S3Input": {"S3Uri": "s3://artifacts/releases/flight-delays/{release}/model.tar.gz"}},
            {"S3Input": {"S3Uri": "{manifest}"}},
        ],
        "ProcessingOutputConfig": {"Outputs": [{"S3Output": {}}]},
    }
    plan = MonitorRun.read({**REQUEST, "kind": "explainability", "job": job}, RELEASE, NOW)
    for _ in range(2):
        assert scheduled_run.run(plan, ENVIRONMENT, clients)["status"] == "Started"
    (request,) = cloud.jobs
    inputs = [one["S3Input"]["S3Uri"] for one in request["ProcessingInputs"]]
    assert inputs[0] == f"s3://artifacts/releases/flight-delays/{RELEASE}/model.tar.gz"
    manifest = json.loads(cloud.objects[inputs[1].removeprefix("s3://")])
    assert manifest == [
        {"prefix": "s3://data/flight-delays/capture/"},
        f"{ENDPOINT}/AllTraffic/2026/02/14/17/a.jsonl",
    ]
    assert request["Environment"]["end_time"] == "2026-02-15T00:00:00Z"
    assert len(request["ProcessingJobName"]) <= 63


def test_a_window_is_one_listing_and_hours_outside_it_are_left_out(
    cloud: Cloud, clients: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, manifest = f"flight-delays/capture/{ENDPOINT}/AllTraffic", "{manifest}"
    hours = ["08/05", "08/06", "11/00", "14/23", "15/05", "15/06"]
    for hour in hours:
        cloud.objects[f"data/{root}/2026/02/{hour}/a.jsonl"] = b""
    listed: list[str] = []
    paginate = cloud.paginate

    def counted(*, Bucket: str, Prefix: str, StartAfter: str) -> list[dict[str, Any]]:
        listed.append(StartAfter)
        return paginate(Bucket=Bucket, Prefix=Prefix, StartAfter=StartAfter)

    monkeypatch.setattr(cloud, "paginate", counted)
    job = {
        "Environment": {},
        "ProcessingInputs": [{"S3Input": {"S3Uri": manifest}}],
        "ProcessingOutputConfig": {"Outputs": [{"S3Output": {}}]},
    }
    request = {**REQUEST, "kind": "explainability", "schedule_hours": 6, "window_hours": 168, "job": job}
    scheduled_run.run(MonitorRun.read(request, RELEASE, NOW.replace(hour=6)), ENVIRONMENT, clients)
    uri = cloud.jobs[0]["ProcessingInputs"][0]["S3Input"]["S3Uri"].removeprefix("s3://")
    assert [key[-16:-8] for key in json.loads(cloud.objects[uri])[1:]] == [f"02/{hour}" for hour in hours[1:-1]]
    assert listed == [f"{root}/2026/02/08/06/"]


def test_before_the_first_release_nothing_runs(cloud: Cloud, clients: Any, ledger: Any) -> None:
    cloud.record = "none|none|none|none"
    assert scheduled_run.run_due(REQUEST, ENVIRONMENT, clients)["status"] == "Nothing"
    assert not ledger.rows
