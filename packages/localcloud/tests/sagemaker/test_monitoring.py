"""Monitoring schedules and transform jobs in the control plane."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st
from localcloud_support.sagemaker_service import ROLE, SageMakerHarness

from localcloud.sagemaker.batch import TooLargeError, assembled, payloads
from localcloud.sagemaker.errors import AwsError
from localcloud.sagemaker.faults import InvalidFault
from localcloud.sagemaker.monitoring.timetable import Timetable, offset

_START = datetime(2013, 3, 1, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("expression", "hours"),
    [
        ("cron(0 * ? * * *)", tuple(range(24))),
        ("cron(0 5 ? * * *)", (5,)),
        ("cron(0 1/6 ? * * *)", (1, 7, 13, 19)),
        ("cron(0 17/24 ? * * *)", (17,)),
    ],
)
def test_a_schedule_is_due_at_the_hours_of_its_expression(expression: str, hours: tuple[int, ...]) -> None:
    assert Timetable.parse(expression).hours == hours


@pytest.mark.parametrize(
    "expression", ["rate(1 hour)", "cron(30 * ? * * *)", "cron(0 24 ? * * *)", "cron(0 0/0 ? * * *)"]
)
def test_an_expression_that_model_monitor_does_not_accept_is_rejected(expression: str) -> None:
    with pytest.raises(AwsError, match="Invalid ScheduleExpression"):
        Timetable.parse(expression)


@given(st.floats(0, 400 * 86400), st.sampled_from(["cron(0 * ? * * *)", "cron(0 5 ? * * *)", "cron(0 1/6 ? * * *)"]))
def test_every_time_lies_between_the_last_and_the_next_due_time(seconds: float, expression: str) -> None:
    timetable, moment = Timetable.parse(expression), _START + seconds
    assert timetable.latest(moment) <= moment < timetable.after(moment)
    assert timetable.after(timetable.latest(moment)) == timetable.after(moment)


def test_offsets_are_durations() -> None:
    assert offset("-PT3H") == -10800
    assert offset("P1DT1M") == 86460
    with pytest.raises(AwsError, match="ISO 8601 duration"):
        offset("3 hours")


def _transform(split: str, strategy: str, assemble: str = "None", megabytes: int = 6) -> dict[str, Any]:
    return {
        "TransformInput": {"SplitType": split},
        "TransformOutput": {"AssembleWith": assemble},
        "BatchStrategy": strategy,
        "MaxPayloadInMB": megabytes,
    }


@given(st.lists(st.text("ab,1", min_size=1, max_size=8), min_size=1))
def test_splitting_an_object_loses_and_cuts_no_record(records: list[str]) -> None:
    body = "".join(record + "\n" for record in records).encode()
    single = list(payloads(_transform("Line", "SingleRecord"), body))
    assert [part.decode() for part in single] == [record + "\n" for record in records]
    assert b"".join(payloads(_transform("Line", "MultiRecord"), body)) == body
    assert list(payloads(_transform("None", "MultiRecord"), body)) == [body]
    assert assembled(_transform("Line", "SingleRecord", "Line"), [part.strip() for part in single]) == body


def test_requests_stay_below_the_maximum_size() -> None:
    line = b"x" * 400_000 + b"\n"
    parts = list(payloads(_transform("Line", "MultiRecord", megabytes=1), line * 5))
    assert [len(part) // len(line) for part in parts] == [2, 2, 1]
    with pytest.raises(TooLargeError, match="MaxPayloadInMB"):
        list(payloads(_transform("None", "MultiRecord", megabytes=1), line * 5))


def _watched(harness: SageMakerHarness) -> None:
    """Create an endpoint with data capture, and an hourly monitor of it."""
    capture = {"EnableCapture": True, "InitialSamplingPercentage": 100, "DestinationS3Uri": "s3://b/capture"}
    capture_options = [{"CaptureMode": "Input"}]
    harness.create_config("e", DataCaptureConfig={**capture, "CaptureOptions": capture_options})
    harness.sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="e")
    harness.wait_for_endpoint("e")
    output = {"S3Output": {"S3Uri": "s3://b/reports", "LocalPath": "/opt/ml/processing/output"}}
    cluster = {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 5}
    harness.sagemaker.create_data_quality_job_definition(
        JobDefinitionName="d",
        DataQualityAppSpecification={"ImageUri": "1.dkr/sagemaker-model-monitor-analyzer"},
        DataQualityJobInput={"EndpointInput": {"EndpointName": "e", "LocalPath": "/opt/ml/processing/input"}},
        DataQualityJobOutputConfig={"MonitoringOutputs": [output]},
        JobResources={"ClusterConfig": cluster},
        RoleArn=ROLE,
    )
    named = {"MonitoringJobDefinitionName": "d", "MonitoringType": "DataQuality"}
    timing = {"ScheduleConfig": {"ScheduleExpression": "cron(0 * ? * * *)"}}
    harness.sagemaker.create_monitoring_schedule(
        MonitoringScheduleName="s", MonitoringScheduleConfig={**named, **timing}
    )


def _hours_ago(harness: SageMakerHarness, hours: int) -> None:
    """Make the schedule's last execution lie `hours` full hours back, and capture data in each hour."""
    since = (time.time() // 3600 - hours) * 3600
    harness.store.update("MonitoringSchedule", "s", Since=since, LastScheduled=since)
    for back in range(hours + 1):
        hour = datetime.fromtimestamp(since + back * 3600, UTC)
        harness.s3.objects[f"s3://b/capture/e/AllTraffic/{hour:%Y/%m/%d/%H}/00-00-000-x.jsonl"] = b"{}"


def test_one_execution_covers_all_missed_hours(harness: SageMakerHarness) -> None:
    _watched(harness)
    _hours_ago(harness, 5)
    harness.control_plane.monitoring.run_due()
    harness.control_plane.monitoring.run_due()
    (run,) = harness.sagemaker.list_monitoring_executions(MonitoringScheduleName="s")["MonitoringExecutionSummaries"]
    ((_, _, job),) = [started for started in harness.runner.started if started[0] == "processing"]
    window = [datetime.fromisoformat(job["Environment"][name]) for name in ("start_time", "end_time")]
    assert (window[1] - window[0]).total_seconds() == 5 * 3600
    assert window[1] == run["ScheduledTime"]
    assert len(job["ProcessingInputs"][0]["Prefixes"]) == 5


def test_a_running_schedule_and_a_monitored_endpoint_cannot_be_deleted(harness: SageMakerHarness) -> None:
    _watched(harness)
    _hours_ago(harness, 1)
    harness.runner.blocked.add("model-monitoring")
    harness.control_plane.monitoring.run_due()
    with pytest.raises(ClientError, match="execution in progress"):
        harness.sagemaker.delete_monitoring_schedule(MonitoringScheduleName="s")
    with pytest.raises(ClientError, match="monitoring schedules: s"):
        harness.sagemaker.delete_endpoint(EndpointName="e")
    ((_, name, _),) = [started for started in harness.runner.started if started[0] == "processing"]
    done = replace(harness.runner.completed(), exit_message="CompletedWithViolations: 2 violations.")
    harness.control_plane.on_job_update("processing", name, done)
    (run,) = harness.sagemaker.list_monitoring_executions(MonitoringScheduleName="s")["MonitoringExecutionSummaries"]
    assert run["MonitoringExecutionStatus"] == "CompletedWithViolations"
    harness.sagemaker.delete_monitoring_schedule(MonitoringScheduleName="s")
    harness.sagemaker.delete_endpoint(EndpointName="e")


def test_a_failed_job_fails_the_execution_with_its_reason(harness: SageMakerHarness) -> None:
    _watched(harness)
    _hours_ago(harness, 1)
    harness.runner.outcomes.append(harness.runner.failed("AlgorithmError: no such column, exit code: 1"))
    harness.control_plane.monitoring.run_due()

    def check() -> dict[str, Any] | None:
        described = harness.sagemaker.describe_monitoring_schedule(MonitoringScheduleName="s")
        summary: dict[str, Any] = described["LastMonitoringExecutionSummary"]
        return summary if summary["MonitoringExecutionStatus"] == "Failed" else None

    assert harness.eventually(check)["FailureReason"] == "AlgorithmError: no such column, exit code: 1"


def test_an_account_that_is_a_new_customer_cannot_begin_to_monitor(harness: SageMakerHarness) -> None:
    with pytest.raises(InvalidFault, match="closed is one of model-monitor, got canvas"):
        harness.control_plane.closed.close("canvas")
    harness.control_plane.closed.close("model-monitor")
    harness.crash()
    with pytest.raises(ClientError) as refused:
        _watched(harness)
    assert refused.value.response["Error"]["Code"] == "AccessDeniedException"
    assert "no longer open to new customers" in refused.value.response["Error"]["Message"]
    assert harness.sagemaker.list_monitoring_schedules()["MonitoringScheduleSummaries"] == []
    harness.control_plane.closed.open()
    assert harness.control_plane.closed.all() == []
