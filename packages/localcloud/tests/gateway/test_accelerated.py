"""An accelerated local cloud: functions, containers, S3, schedules and alarms share one virtual clock."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
import time_machine

from localcloud.testing import LocalCloud, wait_until

_REPORT_TIME = """
import datetime, json, time
import boto3
def handler(event, context):
    began = time.monotonic()
    time.sleep(0.05)
    report = {"now": time.time(), "utc": datetime.datetime.now(datetime.UTC).isoformat(), "event": event.get("time"),
            "slept": time.monotonic() - began}
    boto3.client("sqs").send_message(QueueUrl="%s", MessageBody=json.dumps(report))
"""


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    with LocalCloud(tmp_path_factory.mktemp("fast") / "state", accelerated=True) as cloud:
        yield cloud


def _clock_function(fast: LocalCloud) -> tuple[str, str]:
    """Create a function that sends the time to a queue; return its ARN and the queue's URL."""
    url, arn = fast.create_queue()
    role = fast.create_role([{"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": arn}], "lambda.amazonaws.com")
    return fast.create_function(_REPORT_TIME % url, role), url


def _messages(fast: LocalCloud, url: str) -> list[dict[str, Any]]:
    reports = []
    while found := fast.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        reports += [json.loads(message["Body"]) for message in found]
    return reports


def test_a_rule_reaches_its_function_at_its_virtual_instants(fast: LocalCloud) -> None:
    function, url = _clock_function(fast)
    events = fast.client("events")
    events.put_rule(Name="daily", ScheduleExpression="rate(1 day)")
    events.put_targets(Rule="daily", Targets=[{"Id": "1", "Arn": function}])
    before = datetime.fromisoformat(fast.clock("status")["now"])
    fast.clock("advance", "--by", "3d1h")
    reports = _messages(fast, url)
    events.remove_targets(Rule="daily", Ids=["1"])
    events.delete_rule(Name="daily")
    assert len(reports) == 3
    days = [(report["now"] - before.timestamp()) / 86400 for report in reports]
    assert sorted(days) == pytest.approx([1, 2, 3], abs=0.01)
    assert all(report["utc"].startswith("2013-03-0") and report["event"].startswith("2013-03-0") for report in reports)
    assert all(0.04 < report["slept"] < 5 for report in reports)


def test_answers_are_dated_by_the_clock_of_whoever_asks(fast: LocalCloud) -> None:
    def dated() -> datetime:
        answer = fast.client("sts").get_caller_identity()
        return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])

    assert abs((dated() - datetime.now(UTC)).total_seconds()) < 60
    with time_machine.travel(datetime.fromisoformat(fast.clock("status")["now"])):
        assert dated().year == 2013


def test_a_scheduler_schedule_reaches_its_function_on_the_clock(fast: LocalCloud) -> None:
    function, url = _clock_function(fast)
    role = fast.create_role(
        [{"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": function}], "scheduler.amazonaws.com"
    )
    fast.client("scheduler").create_schedule(
        Name="nightly",
        ScheduleExpression="cron(30 2 * * ? *)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": function, "RoleArn": role, "Input": json.dumps({"time": "given"})},
    )
    fast.clock("advance", "--by", "2d")
    reports = _messages(fast, url)
    fast.client("scheduler").delete_schedule(Name="nightly")
    assert [report["event"] for report in reports] == ["given", "given"]
    assert all("T02:30:" in report["utc"] for report in reports)


def test_a_schedule_acts_with_its_role_and_what_the_role_may_not_goes_to_the_dead_letters(fast: LocalCloud) -> None:
    function, url = _clock_function(fast)
    fast.client("lambda").remove_permission(FunctionName=function, StatementId="events")
    dead_url, dead_arn = fast.create_queue(open_to_events=False)
    send = {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": dead_arn}
    may = {"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": function}
    for name, rights in (("may", [may, send]), ("may-not", [send])):
        fast.client("scheduler").create_schedule(
            Name=name,
            ScheduleExpression="rate(1 day)",
            FlexibleTimeWindow={"Mode": "OFF"},
            Target={
                "Arn": function,
                "RoleArn": fast.create_role(rights, "scheduler.amazonaws.com"),
                "Input": json.dumps({"time": name}),
                "DeadLetterConfig": {"Arn": dead_arn},
            },
        )
    fast.clock("advance", "--by", "25h")
    for name in ("may", "may-not"):
        fast.client("scheduler").delete_schedule(Name=name)
    assert [report["event"] for report in _messages(fast, url)] == ["may"]
    dead = fast.receive_message(dead_url)
    assert json.loads(dead["Body"]) == {"time": "may-not"}
    assert "AccessDenied" in dead["MessageAttributes"]["X-Amz-Scheduler-Error-Code"]["StringValue"]


def test_an_alarm_changes_state_when_its_data_leaves_the_window(fast: LocalCloud) -> None:
    url, arn = fast.create_queue()
    pattern = {"source": ["aws.cloudwatch"], "detail": {"alarmName": ["heartbeat"]}}
    fast.create_rule(pattern, {"Arn": arn})
    cloudwatch = fast.client("cloudwatch")
    now = datetime.fromisoformat(fast.clock("status")["now"])
    cloudwatch.put_metric_data(Namespace="test", MetricData=[{"MetricName": "beats", "Value": 1.0, "Timestamp": now}])
    cloudwatch.put_metric_alarm(
        AlarmName="heartbeat", Namespace="test", MetricName="beats", Statistic="Sum", Period=3600, EvaluationPeriods=2,
        Threshold=1, ComparisonOperator="LessThanThreshold", TreatMissingData="breaching",
    )  # fmt: skip
    fast.clock("advance", "--by", "1h")
    assert cloudwatch.describe_alarms(AlarmNames=["heartbeat"])["MetricAlarms"][0]["StateValue"] == "OK"
    fast.clock("advance", "--by", "6h")
    alarm = cloudwatch.describe_alarms(AlarmNames=["heartbeat"])["MetricAlarms"][0]
    assert alarm["StateValue"] == "ALARM"
    states = wait_until(lambda: [m["detail"]["state"] for m in _messages(fast, url)])
    assert states[-1]["value"] == "ALARM"
    assert states[-1]["timestamp"].startswith("2013-")
    assert alarm["StateUpdatedTimestamp"].timestamp() % 3600 < 60  # at the end of a period


def test_s3_and_containers_live_by_the_clock(fast: LocalCloud) -> None:
    s3 = fast.client("s3")
    s3.create_bucket(Bucket="clock-test")
    year = "time.gmtime().tm_year"
    script = (
        "import subprocess as s,sys,time;open('/opt/ml/output/message','w').write"
        f"(f'{{{year}}} '+"
        f"s.run([sys.executable,'-c','import time;print({year})'],capture_output=True,text=True).stdout)"
    )
    s3.put_object(Bucket="clock-test", Key="a", Body=b"x")
    assert s3.head_object(Bucket="clock-test", Key="a")["LastModified"].year == 2013
    role = fast.create_role([{"Effect": "Allow", "Action": "ecr:*", "Resource": "*"}], "sagemaker.amazonaws.com")
    sagemaker = fast.client("sagemaker")
    sagemaker.create_processing_job(
        ProcessingJobName="tell",
        AppSpecification={
            "ImageUri": "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.4-2",
            "ContainerEntrypoint": ["python3", "-c", script],
        },
        RoleArn=role,
        ProcessingResources={"ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}},
    )
    # An advance waits for the job: the clock stands still while it runs.
    fast.clock("advance", "--by", "1d")
    job = sagemaker.describe_processing_job(ProcessingJobName="tell")
    assert job["ProcessingJobStatus"] == "Completed", job
    assert job["ExitMessage"].split() == ["2013", "2013"]
    assert (job["ProcessingEndTime"] - job["CreationTime"]).total_seconds() < 120


def test_the_clock_obeys_the_root_key_only_and_goes_on_after_a_restart(fast: LocalCloud) -> None:
    before = datetime.fromisoformat(fast.clock("status")["now"])
    asked = subprocess.run(
        ["curl", "-s", f"http://127.0.0.1:{fast.port}/_localcloud/clock"], capture_output=True, text=True
    )
    assert "root's secret" in asked.stdout
    fast.run("down")
    assert fast.run("up").returncode == 0
    after = datetime.fromisoformat(fast.clock("status")["now"])
    assert before <= after
    assert (after - before).total_seconds() < 120
