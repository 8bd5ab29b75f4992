"""The retrain controller and the archive on AWS's APIs: moto, and Stubber for what moto lacks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.stub import ANY, Stubber
from moto import mock_aws

from archive.decide import ArchivePackage
from archive.execute import ArchiveExecutor
from archive.inventory import ArchiveCandidate
from archive.rules import parse_archive_rules
from retrain.controller import reconcile_retraining
from retrain.observation import Attempt, InFlightRun, RetrainRequest
from retrain.store import RetrainStore
from shared.clients import Clients
from shared.environment import ArchiveEnvironment, RetrainEnvironment
from shared.errors import Overtaken
from shared.ledger import Quarantine, ReleaseLedger
from shared.notifications import Alert, Notification, NotificationState
from shared.reconcile import ReconcileError
from shared.steps import Step
from shared.verdict import Verdict, Verdicts

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
PIPELINE = "arn:aws:sagemaker:us-east-1:123456789012:pipeline/evergreen-churn"
RUN = f"{PIPELINE}/execution/e1"
PACKAGE = "arn:aws:sagemaker:us-east-1:123456789012:model-package/evergreen-churn/7"
EVENTS = Path(__file__).parent / "events"
SENTENCE = "Not registered: auc 0.71 against 0.72 (wanted: better than it by more than 0.0 in the metric's unit)"


class Stubbed(Clients):
    """SageMaker answers what a test queued, and nothing else."""

    @cached_property
    def sagemaker(self) -> SageMakerClient:
        return boto3.client("sagemaker", region_name="us-east-1")

    @cached_property
    def stubber(self) -> Stubber:
        return Stubber(self.sagemaker)


@pytest.fixture(scope="module")
def aws() -> Iterator[Stubbed]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield Stubbed()


@pytest.fixture
def cloud(aws: Stubbed) -> Iterator[Stubbed]:
    with mock_aws():
        topic = aws.sns.create_topic(Name="alerts")["TopicArn"]
        queue = boto3.client("sqs")
        queue.create_queue(QueueName="alerts")
        aws.sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint="arn:aws:sqs:us-east-1:123456789012:alerts")
        for bucket in ("data", "artifacts"):
            aws.s3.create_bucket(Bucket=bucket)
        record = f"v1-00000001|image@sha256:0|arn:package/1|{'a' * 64}"
        aws.ssm.put_parameter(Name="/evergreen/churn/prod/release", Value=record, Type="String")
        policy(aws, {"stage": "prod"})
        aws.dynamodb.create_table(
            TableName="ledger",
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
        )
        aws.stubber.activate()
        yield aws
        aws.stubber.assert_no_pending_responses()
        aws.stubber.deactivate()


def policy(aws: Clients, document: dict[str, Any]) -> None:
    aws.ssm.put_parameter(Name="/evergreen/churn/retraining", Value=json.dumps(document), Type="String", Overwrite=True)


def store(aws: Clients) -> RetrainStore:
    return RetrainStore(aws.dynamodb, "ledger", model="churn", stage="prod")


def alerts() -> list[str]:
    sqs = boto3.client("sqs")
    url = sqs.get_queue_url(QueueName="alerts")["QueueUrl"]
    messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    return [json.loads(message["Body"])["Message"] for message in messages]


def decisions(aws: Clients) -> list[str]:
    rows = aws.dynamodb.scan(TableName="ledger")["Items"]
    return sorted(row["step"]["S"] for row in rows if row["sk"]["S"].startswith("retrain-decision#"))


def drift(aws: Clients, windows: int, *, kind: str = "data_quality") -> None:
    verdicts = Verdicts(aws.dynamodb, "ledger", model="churn", stage="prod")
    for hour in range(windows):
        end = NOW - timedelta(hours=hour)
        evidence = 'fare: distance 0.4 exceeds 0.1, "far"'
        verdicts.write(
            Verdict(kind, "Drift", end - timedelta(hours=1), end, "v1-00000001", evidence, ("fare",), labels=90)
        )


def seen(aws: Stubbed, runs: list[dict[str, Any]] | None = None, packages: list[dict[str, Any]] | None = None) -> None:
    aws.stubber.add_response("list_pipeline_executions", {"PipelineExecutionSummaries": runs or []})
    aws.stubber.add_response("list_model_packages", {"ModelPackageSummaryList": packages or []})


def run(status: str, name: str = "by-hand") -> dict[str, Any]:
    return {
        "PipelineExecutionArn": RUN,
        "PipelineExecutionDisplayName": name,
        "PipelineExecutionStatus": status,
        "StartTime": NOW - timedelta(hours=1),
    }


def reconcile(aws: Clients, event: dict[str, Any] | None = None, *, after: timedelta = timedelta()) -> dict[str, str]:
    environment = RetrainEnvironment("evergreen", "prod", "ledger", "data", "arn:aws:sns:us-east-1:123456789012:alerts")
    return reconcile_retraining(event or {}, aws, environment, invocation="request-1", now=lambda: NOW + after)


def test_an_alarm_on_persistent_drift_starts_one_run_that_carries_its_evidence(cloud: Stubbed) -> None:
    drift(cloud, 3)
    drift(cloud, 3, kind="model_quality")
    seen(cloud)
    expected = {
        "PipelineName": "evergreen-churn",
        "PipelineExecutionDisplayName": ANY,
        "PipelineExecutionDescription": ANY,
        "PipelineParameters": ANY,
        "ClientRequestToken": Attempt("drift", NOW.isoformat(), "", NOW).token("churn"),
    }
    sent: list[Any] = []
    cloud.sagemaker.meta.events.register_first(
        "provide-client-params.sagemaker.StartPipelineExecution", lambda params, **_: sent.append(params)
    )
    cloud.stubber.add_response("start_pipeline_execution", {"PipelineExecutionArn": RUN}, expected)
    assert reconcile(cloud, json.loads((EVENTS / "alarm_drift.json").read_text())) == {"churn": "Start"}
    parameters = {one["Name"]: one["Value"] for one in sent[0]["PipelineParameters"]}
    assert parameters["Trigger"] == "drift"
    assert parameters["CacheScope"] == f"drift@{NOW.isoformat()}"
    assert parameters["Evidence"].startswith("quality fell and data drifted: 3 of the last 3 windows drifted")
    assert len(parameters["Evidence"]) <= 256 and '"' not in parameters["Evidence"]
    assert [alert.split(":")[0] for alert in alerts()] == ["churn in prod"]
    seen(cloud, [run("Executing", sent[0]["PipelineExecutionDisplayName"])])
    assert reconcile(cloud) == {"churn": "Wait"}
    assert decisions(cloud) == ["Start", "Wait"]


def test_a_quarantined_version_holds_nothing_up_until_a_person_edits_it(cloud: Stubbed) -> None:
    drift(cloud, 3)
    drift(cloud, 3, kind="model_quality")
    package = {"ModelPackageArn": PACKAGE, "ModelPackageGroupName": "evergreen-churn", "ModelPackageVersion": 7}
    summary = {**package, "ModelPackageStatus": "Completed", "ModelApprovalStatus": "Approved", "CreationTime": NOW}
    details: dict[str, Any] = {
        "ModelPackageName": "7",
        "ModelPackageStatusDetails": {"ValidationStatuses": []},
        **summary,
    }
    ReleaseLedger(cloud.dynamodb, "ledger", model="churn", stage="prod").quarantine(
        Quarantine(7, "it failed", NOW, PACKAGE)
    )
    seen(cloud, packages=[summary])
    edited = {**details, "LastModifiedTime": NOW + timedelta(minutes=1)}
    cloud.stubber.add_response("describe_model_package", edited, {"ModelPackageName": PACKAGE})
    assert reconcile(cloud) == {"churn": "Hold"}
    seen(cloud, packages=[summary])
    cloud.stubber.add_response("describe_model_package", {**details, "LastModifiedTime": NOW})
    cloud.stubber.add_response("start_pipeline_execution", {"PipelineExecutionArn": RUN})
    assert reconcile(cloud) == {"churn": "Start"}


def test_a_challenger_that_does_not_beat_the_champion_is_notified_once(cloud: Stubbed) -> None:
    refused = {"StepName": "Refused", "StepStatus": "Failed", "FailureReason": SENTENCE}
    gate = {"StepName": "Gate", "StepStatus": "Succeeded"}
    seen(cloud, [run("Failed")])
    cloud.stubber.add_response("list_pipeline_execution_steps", {"PipelineExecutionSteps": [refused, gate]})
    for _ in range(2):
        seen(cloud, [run("Failed")])
    reconcile(cloud, json.loads((EVENTS / "pipeline_execution_succeeded.json").read_text()))
    reconcile(cloud)
    assert alerts() == [
        f"churn in prod: the challenger of by-hand does not beat the champion. {SENTENCE}. "
        "No action needed; the live version stays live."
    ]


@pytest.mark.parametrize(
    ("status", "step", "said"),
    [
        ("Failed", {"StepName": "Train", "StepStatus": "Failed", "FailureReason": "no memory"}, ["failed in Train"]),
        ("Succeeded", {"StepName": "Register", "Metadata": {"RegisterModel": {"Arn": PACKAGE}}}, ["version 7 was"]),
        ("Stopped", {"StepName": "Train", "StepStatus": "Stopped"}, []),
    ],
)
def test_people_hear_how_a_run_ended(cloud: Stubbed, status: str, step: dict[str, Any], said: list[str]) -> None:
    seen(cloud, [run(status)])
    cloud.stubber.add_response("list_pipeline_execution_steps", {"PipelineExecutionSteps": [step]})
    seen(cloud, [run(status)])
    reconcile(cloud)
    sent = alerts()
    assert len(sent) == len(said)
    assert all(part in sentence for part, sentence in zip(said, sent, strict=True))


@pytest.mark.parametrize(
    ("kind", "reason", "message", "said"),
    [
        (
            "ProcessingJob",
            "ClientError: AlgorithmError: See job logs for more information, exit code: 1",
            "no baseline: no row under holdout has a label",
            "no baseline: no row under holdout has a label",
        ),
        (
            "ProcessingJob",
            "ClientError: AlgorithmError: no baseline: no row, exit code: 1",
            "no baseline:\n no row",
            "ClientError: AlgorithmError: no baseline: no row, exit code: 1",
        ),
        (
            "ProcessingJob",
            "ClientError: AlgorithmError: See job logs for more information, exit code: 1",
            None,
            "ClientError: AlgorithmError: exit code: 1",
        ),
        ("TrainingJob", "AlgorithmError: the label is missing, exit code: 3", None, "AlgorithmError: the label is mis"),
        ("TrainingJob", "", None, "no reason was given"),
    ],
)
def test_people_hear_why_a_step_failed_and_where_its_log_is(
    cloud: Stubbed, kind: str, reason: str, message: str | None, said: str
) -> None:
    job = "pipelines-abc-Baseline-def"
    step = {
        "StepName": "Baseline",
        "StepStatus": "Failed",
        "FailureReason": reason,
        "Metadata": {kind: {"Arn": f"arn:aws:sagemaker:us-east-1:123456789012:{kind.lower()}/{job}"}},
    }
    described = {
        "ProcessingJobName": job,
        "ProcessingJobArn": "arn:aws:sagemaker:us-east-1:123456789012:processing-job/x",
        "ProcessingResources": {"ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.xlarge",
                                                  "VolumeSizeInGB": 30}},
        "AppSpecification": {"ImageUri": "image"},
        "ProcessingJobStatus": "Failed",
        "CreationTime": NOW,
        **({} if message is None else {"ExitMessage": message}),
    }  # fmt: skip
    seen(cloud, [run("Failed")])
    cloud.stubber.add_response("list_pipeline_execution_steps", {"PipelineExecutionSteps": [step]})
    if kind == "ProcessingJob":
        cloud.stubber.add_response("describe_processing_job", described, {"ProcessingJobName": job})
    seen(cloud, [run("Failed")])
    reconcile(cloud)
    (alert,) = alerts()
    assert f"by-hand failed in Baseline: {said}" in alert
    assert "See job logs" not in alert
    group = f"/aws/sagemaker/{kind}s"
    assert f"(log group {group}, streams {job}/)" in alert
    assert f"aws logs tail {group} --log-stream-name-prefix {job}/ --since 14d" in alert
    rows = cloud.dynamodb.scan(TableName="ledger")["Items"]
    (row,) = [row for row in rows if row["sk"]["S"].startswith("retrain#run#")]
    assert said in row["reason"]["S"], "the ledger says it too"


def test_a_pipeline_that_sagemaker_refuses_to_start_is_notified_and_not_tried_on_the_same_evidence(
    cloud: Stubbed,
) -> None:
    seen(cloud)
    cloud.stubber.add_client_error("start_pipeline_execution", "ValidationException", "CacheScope is not a parameter")
    assert reconcile(cloud, {"retrain": "churn", "reason": "a try"}) == {"churn": "Start"}
    assert "CacheScope is not a parameter. Evergreen does not try again" in alerts()[0]
    seen(cloud)
    assert reconcile(cloud) == {"churn": "Nothing"}


def test_code_comes_with_its_commit_and_the_same_delivery_twice_is_one_run(cloud: Stubbed) -> None:
    event = {
        "retrain": "churn",
        "reason": "new features",
        "code": "c" * 64,
        "commit": "abc1234",
        "author": "ada@example.com",
    }
    seen(cloud)
    cloud.stubber.add_response("start_pipeline_execution", {"PipelineExecutionArn": RUN})
    assert reconcile(cloud, event) == {"churn": "Start"}
    name = next(iter(store(cloud).read().attempts)).display_name("churn")
    seen(cloud, [run("Executing", name)])
    reconcile(cloud, event)
    state = store(cloud).read()
    parameters = dict(state.attempts[0].parameters)
    assert (parameters["CommitId"], parameters["Author"]) == ("abc1234", "ada@example.com")
    assert len(state.requests) == len(state.attempts) == 1


@pytest.mark.parametrize(
    "event",
    [
        {"retrain": "fraud", "reason": "x"},
        {"retrain": "churn", "reason": " "},
        {"retrain": "churn", "reason": "x", "code": "latest"},
        {"retrain": "churn", "reason": "x", "force": True},
        {"retrain": "churn", "reason": "x", "author": "ada of example"},
        {"retrain": "churn", "reason": "x", "author": None},
        {"retrain": "churn", "reason": '"{}"'},
        {"retrain": "churn", "reason": "please \ud800"},
    ],
)
def test_a_request_that_cannot_be_is_refused_in_one_line(cloud: Stubbed, event: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"got|there are") as refused:
        reconcile(cloud, event)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("prefix", ["raw/", "landing/flights/"])
def test_new_data_retrain_when_they_stop_landing(cloud: Stubbed, prefix: str) -> None:
    policy(cloud, {"stage": "prod", "new_data_objects": 2, "quiet_minutes": 60, "raw_prefix": prefix})
    landed = datetime.now(UTC) - NOW
    for day in (1, 2):
        cloud.s3.put_object(Bucket="data", Key=f"churn/{prefix}dt=2026-11-0{day}/a.csv", Body=b"1")
    cloud.s3.put_object(Bucket="data", Key="churn/capture/x.jsonl", Body=b"1")
    seen(cloud)
    hint = json.loads((EVENTS / "s3_object_created.json").read_text())
    assert reconcile(cloud, hint, after=landed + timedelta(minutes=30)) == {"churn": "Nothing"}
    seen(cloud)
    cloud.stubber.add_response("start_pipeline_execution", {"PipelineExecutionArn": RUN})
    assert reconcile(cloud, after=landed + timedelta(minutes=61)) == {"churn": "Start"}
    assert store(cloud).read().attempts[0].evidence.startswith("2 raw objects arrived")


def test_a_policy_that_is_not_valid_is_notified_once_and_another_stages_is_left_alone(cloud: Stubbed) -> None:
    policy(cloud, {"stage": "prod", "budget_runs": -1, "cooldown": 3})
    assert reconcile(cloud) == reconcile(cloud) == {"churn": "Hold"}
    assert [all(part in alert for part in ("cooldown is not known", "got -1")) for alert in alerts()] == [True]
    policy(cloud, {"stage": "staging"})
    assert reconcile(cloud) == {"churn": "Nothing"}


def test_the_ledger_lets_one_of_two_claims_through_and_none_twice(cloud: Stubbed) -> None:
    first, second = (Attempt("drift", window, "it drifted", NOW) for window in ("w1", "w2"))
    store(cloud).write_attempt(None, first)
    in_flight = store(cloud).read().in_flight
    assert in_flight == InFlightRun(first, finished=False)
    for observed, attempt in ((None, second), (in_flight, second)):
        with pytest.raises(Overtaken):
            store(cloud).write_attempt(observed, attempt)
    store(cloud).close_run(in_flight)
    with pytest.raises(Overtaken):
        store(cloud).write_attempt(InFlightRun(first, finished=True), first)
    store(cloud).write_attempt(InFlightRun(first, finished=True), second)
    with pytest.raises(Overtaken):
        store(cloud).close_run(in_flight)


def test_what_is_remembered_comes_back_as_it_was(cloud: Stubbed) -> None:
    request = RetrainRequest("person", "i1", "wanted", NOW, refused="no money")
    notification, sent = Notification("drift", "fare", Alert("it moved")), NotificationState("fare", NOW)
    store(cloud).write_request(request)
    store(cloud).topics.claim(None, notification, NOW)
    with pytest.raises(Overtaken):
        store(cloud).topics.claim(None, notification, NOW)
    store(cloud).topics.write("drift", sent)
    store(cloud).topics.resolve("drift", sent)
    store(cloud).write_reported_run("e1", status="Failed", reason="why", now=NOW)
    state = store(cloud).read()
    assert state.requests == (request,)
    assert state.notifications == {"drift": NotificationState("fare", NOW, sent=True, resolved=True)}
    assert state.reported_runs == {"e1"}


def test_a_verdict_comes_back_as_it_was_and_its_correction_replaces_it(cloud: Stubbed) -> None:
    verdicts = Verdicts(cloud.dynamodb, "ledger", model="churn", stage="prod")
    start, end = NOW - timedelta(hours=1), NOW
    verdict = Verdict("model_quality", "Drift", start, end, "v1-0", "auc fell", (), "s3://r", 0.61, 250, 0.98)
    verdicts.write(Verdict("model_quality", "OK", start, end, "v1-0", "auc holds"))
    verdicts.write(verdict)
    assert list(verdicts.since(NOW)) == [verdict]
    assert list(verdicts.since(NOW + timedelta(seconds=1))) == []
    for wrong in ({"kind": "mood"}, {"status": "Fine"}, {"window_end": start}):
        with pytest.raises(ValueError, match="got"):
            verdicts.write(Verdict(**{**vars(verdict), **wrong}))


def test_the_same_idleness_is_one_row_a_tick(cloud: Stubbed) -> None:
    for minute in (0, 5, 14, 15):
        store(cloud).write_decision(
            Step.NOTHING, "calm", acted=False, now=NOW + timedelta(minutes=minute), request_id="i"
        )
    assert decisions(cloud) == ["Nothing", "Nothing"]


def test_one_models_failure_keeps_no_other_from_its_turn(cloud: Stubbed) -> None:
    record = f"v1-00000001|image@sha256:0|arn:package/1|{'a' * 64}"
    cloud.ssm.put_parameter(Name="/evergreen/fraud/prod/release", Value=record, Type="String")
    cloud.stubber.add_client_error("list_pipeline_executions", "ThrottlingException", "slow down")
    with pytest.raises(ReconcileError, match=r"churn: .*slow down"):
        reconcile(cloud)
    assert decisions(cloud) == ["Nothing"]


def test_a_package_is_exported_before_it_is_called_archived_and_written_once(cloud: Stubbed) -> None:
    environment = ArchiveEnvironment("evergreen", "prod", "ledger", "artifacts", "{}")
    cloud.s3.put_object(Bucket="artifacts", Key="packages/churn/e1/record.json", Body=b'{"version":1}')
    described = {
        "ModelPackageName": "evergreen-churn",
        "ModelPackageArn": PACKAGE,
        "ModelPackageVersion": 7,
        "CreationTime": NOW,
        "ModelPackageStatus": "Completed",
        "ModelPackageStatusDetails": {"ValidationStatuses": []},
        "ModelApprovalStatus": "Rejected",
        "CustomerMetadataProperties": {"record_uri": "s3://artifacts/packages/churn/e1/record.json"},
        "ModelMetrics": {"ModelQuality": {"Statistics": {"ContentType": "json", "S3Uri": "s3://artifacts/gone.json"}}},
        "ModelCard": {"ModelCardContent": '{"model_overview":{}}', "ModelCardStatus": "Draft"},
    }
    life_cycle = {"ModelPackageArn": PACKAGE, "ModelLifeCycle": ANY}
    action = ArchivePackage(ArchiveCandidate(7, PACKAGE, "Rejected", NOW, NOW), "it was rejected")
    for _ in range(2):
        cloud.stubber.add_response("describe_model_package", described)
        cloud.stubber.add_response("update_model_package", {"ModelPackageArn": PACKAGE}, life_cycle)
        ArchiveExecutor(cloud, environment, "churn").execute(action)
        described["ModelApprovalStatus"] = "Approved"
    listed = cloud.s3.list_objects_v2(Bucket="artifacts", Prefix="archive/")["Contents"]
    assert [one["Key"].rsplit("/", 1)[1] for one in listed] == ["card.json", "package.json", "record.json"]
    exported = cloud.s3.get_object(Bucket="artifacts", Key="archive/churn/7/package.json")["Body"].read()
    assert json.loads(exported)["ModelApprovalStatus"] == "Rejected"


def test_archive_rules_that_are_not_valid_are_refused() -> None:
    for rules in ("[]", '{"forever": 1}', '{"rejected_days": 0}', '{"delete_days": true}'):
        with pytest.raises(ValueError, match="ARCHIVE_RULES"):
            parse_archive_rules(rules)


def test_a_start_that_is_denied_is_told_once_and_resumed_when_it_is_allowed(cloud: Stubbed) -> None:
    for day in range(4):
        seen(cloud)
        cloud.stubber.add_client_error("start_pipeline_execution", "AccessDeniedException", "not authorized")
        event = {"retrain": "churn", "reason": "a try"} if day == 0 else {}
        assert reconcile(cloud, event, after=timedelta(days=day)) == {"churn": "Failed"}
    (said,) = alerts()
    assert "StartPipelineExecution answered AccessDeniedException: not authorized" in said
    assert set(decisions(cloud)) == {"Failed"}
    seen(cloud)
    cloud.stubber.add_response("start_pipeline_execution", {"PipelineExecutionArn": RUN})
    assert reconcile(cloud, after=timedelta(days=4)) == {"churn": "Resume"}


@pytest.mark.parametrize(
    "row",
    [
        {"sk": {"S": "verdict#2026-11-22T11:00:00+00:00#data_quality"}, "kind": {"S": "data_quality"}},
        {"sk": {"S": "retrain#attempt#drift#x"}, "trigger_kind": {"S": "drift"}, "window_id": {"S": "x"}},
        {
            "sk": {"S": "retrain#request#person#x"},
            "at": {"S": "yesterday"},
            "trigger": {"S": "person"},
            "id": {"S": "x"},
        },
    ],
)
def test_a_row_that_cannot_be_read_is_named_once_and_the_others_count(cloud: Stubbed, row: dict[str, Any]) -> None:
    cloud.dynamodb.put_item(TableName="ledger", Item={"pk": {"S": "churn#prod"}, **row})
    for _ in range(2):
        seen(cloud)
        assert reconcile(cloud) == {"churn": "Nothing"}
    (said,) = alerts()
    assert f"the ledger has rows that cannot be read: {row['sk']['S']} (" in said


def test_rows_of_an_older_version_are_read(cloud: Stubbed) -> None:
    """Rows without schema, author, lapsed or a zone were written before these were."""
    cloud.dynamodb.put_item(
        TableName="ledger",
        Item={
            "pk": {"S": "churn#prod"},
            "sk": {"S": "retrain#told#drift"},
            "about": {"S": ""},
            "told_at": {"S": "2026-11-22T11:00:00"},
            "sent": {"BOOL": True},
        },
    )
    read = store(cloud).read()
    assert read.notifications["drift"].at == datetime(2026, 11, 22, 11, tzinfo=UTC)
    assert read.unreadable == ()


def test_a_retried_request_of_a_person_trains_once_whoever_asked_meanwhile(cloud: Stubbed) -> None:
    environment = RetrainEnvironment("evergreen", "prod", "ledger", "data", "arn:aws:sns:us-east-1:123456789012:alerts")

    def ask(invocation: str, minutes: int) -> None:
        seen(cloud, [run("Executing")])
        event = {"retrain": "churn", "reason": invocation}
        reconcile_retraining(
            event, cloud, environment, invocation=invocation, now=lambda: NOW + timedelta(minutes=minutes)
        )

    for minutes, invocation in enumerate(["ada", "bob", "ada"]):
        ask(invocation, minutes)
    assert sorted((request.id, request.at) for request in store(cloud).read().requests) == [
        ("ada", NOW),
        ("bob", NOW + timedelta(minutes=1)),
    ]


def test_another_models_failure_is_not_the_requesters(cloud: Stubbed) -> None:
    cloud.ssm.put_parameter(Name="/evergreen/aaa/prod/release", Value="none|none|none|none", Type="String")
    cloud.ssm.put_parameter(Name="/evergreen/aaa/retraining", Value=json.dumps({"stage": "prod"}), Type="String")
    seen(cloud, [run("Executing")])
    assert reconcile(cloud, {"retrain": "churn", "reason": "please"}) == {"churn": "Wait"}
