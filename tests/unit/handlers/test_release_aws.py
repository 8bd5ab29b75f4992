"""The release controller on AWS's APIs: moto, and Stubber for CloudFormation, which moto models too loosely."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import ANY, Stubber
from moto import mock_aws

from release import handler
from release.controller import reconcile_releases
from release.monitors import is_behind
from release.observation import StackState
from release.observe import observe
from release.rollout import STACK_POLICY, ChangeSetRefused, Rollout
from release.verified_copy import PackageRefused, copy_release, inference_specification_sha256
from shared.canonical import canonical_json, sha256_of
from shared.clients import Clients
from shared.environment import ReleaseEnvironment
from shared.ledger import Approval, Lease, LeaseLost, Quarantine, ReleaseDecision, ReleaseLedger
from shared.reconcile import ReconcileError
from shared.release_record import NO_RELEASE, ReleaseRecord, parse_release_record
from shared.steps import Step

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_sagemaker.literals import ModelApprovalStatusType
    from mypy_boto3_sqs import SQSClient

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
BUCKET = "artifacts"
IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost"
DIGEST = "sha256:" + "4d" * 32
RECORD_NAME = "/evergreen/churn/staging/release"
ROLE = "arn:aws:iam::123456789012:role/release"
REGISTRY = "arn:aws:sagemaker:us-east-1:123456789012"


class WithoutStack(Clients):
    """A stage without a serving stack. moto's CloudFormation needs packages that are not installed here."""

    @cached_property
    def cloudformation(self) -> CloudFormationClient:
        client = super().cloudformation
        stubber = Stubber(client)
        for _ in range(40):
            stubber.add_client_error("describe_stacks", "ValidationError", "StackState with id x does not exist")
        stubber.activate()
        return client

    @cached_property
    def sqs(self) -> SQSClient:
        return boto3.client("sqs")


# One for all tests of this module: creating a client takes longer than most tests.
AWS = WithoutStack()


@pytest.fixture(scope="module")
def credentials() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield


@pytest.fixture
def environment(credentials: None) -> Iterator[ReleaseEnvironment]:
    with mock_aws():
        topic = AWS.sns.create_topic(Name="alerts")["TopicArn"]
        AWS.sqs.create_queue(QueueName="alerts")
        AWS.sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint="arn:aws:sqs:us-east-1:123456789012:alerts")
        AWS.s3.create_bucket(Bucket=BUCKET)
        AWS.ssm.put_parameter(Name=RECORD_NAME, Value=NO_RELEASE.format(), Type="String")
        AWS.dynamodb.create_table(
            TableName="ledger",
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
        )
        yield ReleaseEnvironment("evergreen", "staging", "ledger", BUCKET, topic, ROLE, REGISTRY, "verify")


@pytest.fixture
def ledger(environment: ReleaseEnvironment) -> ReleaseLedger:
    return ReleaseLedger(AWS.dynamodb, environment.ledger_table, model="churn", stage="staging")


def alerts() -> list[str]:
    url = AWS.sqs.get_queue_url(QueueName="alerts")["QueueUrl"]
    messages = AWS.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    return [json.loads(message["Body"])["Message"] for message in messages]


@dataclass
class Registered:
    """A package as the pipeline registers it: artefact, payload and record in the bucket, the rest as described."""

    version: int = 7
    model: str = "churn"

    def __post_init__(self) -> None:
        self.artifact = f"runs/{self.model}/{self.version}/train/model.tar.gz"
        self.payload = f"runs/{self.model}/{self.version}/preprocess/payload.csv"
        self.record = f"packages/{self.model}/{self.version}/record.json"
        self.specification: dict[str, Any] = {
            "Containers": [
                {
                    "Image": f"{IMAGE}:3.2-0",
                    "ImageDigest": DIGEST,
                    "ModelDataUrl": f"s3://{BUCKET}/{self.artifact}",
                    "Environment": {"SAGEMAKER_PROGRAM": "inference.py"},
                }
            ],
            "SupportedContentTypes": ["text/csv"],
            "SupportedResponseMIMETypes": ["text/csv"],
        }
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w:gz") as tar:
            tar.addfile(tarfile.TarInfo("model.ubj"))
        self.artifact_sha256 = sha256_of(archive.getvalue())
        self.content = {
            "version": 1,
            "model": self.model,
            "artifact": {"uri": f"s3://{BUCKET}/{self.artifact}", "sha256": self.artifact_sha256},
            "inference_specification_sha256": inference_specification_sha256(self.specification),
            "sample_payload": {"uri": f"s3://{BUCKET}/{self.payload}", "sha256": sha256_of(b"1,2\n")},
        }
        put(self.artifact, archive.getvalue())
        put(self.payload, b"1,2\n")
        self.write_record()

    def write_record(self) -> None:
        put(self.record, canonical_json(self.content))
        self.metadata = {
            "record_uri": f"s3://{BUCKET}/{self.record}",
            "record_sha256": sha256_of(canonical_json(self.content)),
        }

    @property
    def described(self) -> Any:
        return {
            "ModelPackageVersion": self.version,
            "ModelPackageArn": f"arn:aws:sagemaker:us-east-1:123456789012:model-package/evergreen-churn/{self.version}",
            "CustomerMetadataProperties": self.metadata,
            "InferenceSpecification": self.specification,
        }


def put(key: str, body: bytes) -> None:
    AWS.s3.put_object(Bucket=BUCKET, Key=key, Body=body)


def released_objects() -> dict[str, bytes]:
    listed = AWS.s3.list_objects_v2(Bucket=BUCKET, Prefix="releases/").get("Contents", [])
    return {item["Key"]: AWS.s3.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read() for item in listed}


def copy(package: Registered) -> ReleaseRecord:
    return copy_release(AWS.s3, BUCKET, "churn", package.described)


def test_monitors_follow_what_is_live_and_a_failure_is_not_repeated_at_once() -> None:
    now = datetime(2026, 11, 23, 1, tzinfo=UTC)

    def stack(status: str, release: str, minutes_ago: int, parameter: str = "Release0badcafe") -> StackState:
        updated_at = (now - timedelta(minutes=minutes_ago)).isoformat()
        return StackState(status, updated_at, release, "", (parameter, "BootstrapVersion"))

    assert is_behind(stack("CREATE_COMPLETE", "", 5), "v7-0badcafe", now)
    assert is_behind(stack("UPDATE_COMPLETE", "v6-0badcafe", 5), "v7-0badcafe", now)
    assert not is_behind(stack("UPDATE_COMPLETE", "v7-0badcafe", 5), "v7-0badcafe", now)
    assert not is_behind(stack("UPDATE_IN_PROGRESS", "v6-0badcafe", 5), "v7-0badcafe", now)
    assert not is_behind(stack("UPDATE_ROLLBACK_COMPLETE", "v6-0badcafe", 5), "v7-0badcafe", now)
    assert is_behind(stack("UPDATE_ROLLBACK_COMPLETE", "v6-0badcafe", 90), "v7-0badcafe", now)
    assert not is_behind(stack("UPDATE_COMPLETE", "", 5, parameter="Other"), "v7-0badcafe", now)


def test_a_copy_holds_what_was_registered_and_the_image_by_digest(environment: ReleaseEnvironment) -> None:
    package = Registered()
    release = copy(package)
    assert release.release_id == f"v7-{package.metadata['record_sha256'][:8]}"
    assert release.image == f"{IMAGE}@{DIGEST}"
    assert release.artifact_sha256 == package.artifact_sha256
    folder = f"releases/churn/{release.release_id}"
    copies = released_objects()
    assert set(copies) == {f"{folder}/model.tar.gz", f"{folder}/record.json", f"{folder}/payload.csv"}
    assert sha256_of(copies[f"{folder}/model.tar.gz"]) == package.artifact_sha256


def test_baselines_are_copied_with_the_release_and_hashed(environment: ReleaseEnvironment) -> None:
    package, file = Registered(), "data-quality/statistics.json"
    key = "packages/churn/7/baselines/data-quality/statistics.json"
    put(key, b"{}")
    package.content["baselines"] = {file: {"uri": f"s3://{BUCKET}/{key}", "sha256": sha256_of(b"{}")}}
    package.write_record()
    release = copy(package)
    assert released_objects()[f"releases/churn/{release.release_id}/baselines/{file}"] == b"{}"


@pytest.mark.parametrize("file", ["../../fraud/model.tar.gz", "data-quality/statistics.sh", "other/statistics.json"])
def test_what_is_no_baseline_is_not_copied_as_one(environment: ReleaseEnvironment, file: str) -> None:
    package = Registered()
    package.content["baselines"] = {file: {"uri": f"s3://{BUCKET}/x", "sha256": "0" * 64}}
    package.write_record()
    with pytest.raises(PackageRefused, match="not a baseline's name"):
        copy(package)
    assert not released_objects()


def test_copying_again_needs_nothing_but_the_record(environment: ReleaseEnvironment) -> None:
    package = Registered()
    first = copy(package)
    AWS.s3.delete_object(Bucket=BUCKET, Key=package.artifact)
    assert copy(package) == first


def _corrupt_artifact(package: Registered) -> None:
    put(package.artifact, b"something else")


def _lose_artifact(package: Registered) -> None:
    AWS.s3.delete_object(Bucket=BUCKET, Key=package.artifact)


def _rewrite_record(package: Registered) -> None:
    put(package.record, b"{}")


def _lose_record(package: Registered) -> None:
    AWS.s3.delete_object(Bucket=BUCKET, Key=package.record)


def _repoint(package: Registered) -> None:
    package.specification["Containers"][0]["ModelDataUrl"] = f"s3://{BUCKET}/runs/churn/6/train/model.tar.gz"


def _inject_environment(package: Registered) -> None:
    package.specification["Containers"][0]["Environment"]["SAGEMAKER_PROGRAM"] = "evil.py"


def _second_container(package: Registered) -> None:
    package.specification["Containers"].append(package.specification["Containers"][0])


def _other_model(package: Registered) -> None:
    package.content["model"] = "fraud"
    package.write_record()


def _by_hand(package: Registered) -> None:
    package.metadata = {}


def _no_digest(package: Registered) -> None:
    del package.specification["Containers"][0]["ImageDigest"]


def _later_version(package: Registered) -> None:
    package.content["version"] = 2
    package.write_record()


@pytest.mark.parametrize(
    ("tamper", "sentence"),
    [
        (_corrupt_artifact, "model.tar.gz has SHA-256"),
        (_lose_artifact, "model.tar.gz does not exist"),
        (_rewrite_record, "registration record .* has SHA-256"),
        (_lose_record, "record.json does not exist"),
        (_repoint, "inference specification was changed after registration"),
        (_inject_environment, "inference specification was changed after registration"),
        (_second_container, "has 2 containers"),
        (_other_model, "is of the model 'fraud', not of churn"),
        (_by_hand, "no registration record"),
        (_no_digest, "no digest for its image"),
        (_later_version, "not of version 1"),
    ],
)
def test_what_is_not_what_was_registered_is_refused(
    environment: ReleaseEnvironment, tamper: Any, sentence: str
) -> None:
    package = Registered()
    tamper(package)
    with pytest.raises(PackageRefused, match=sentence):
        copy(package)
    assert not [key for key in released_objects() if key.endswith("model.tar.gz")]


def test_a_wrong_copy_is_refused_and_never_overwritten(environment: ReleaseEnvironment) -> None:
    package = Registered()
    folder = f"releases/churn/v7-{package.metadata['record_sha256'][:8]}"
    put(f"{folder}/model.tar.gz", b"planted")
    with pytest.raises(PackageRefused, match="does not hold what was registered"):
        copy(package)
    assert released_objects()[f"{folder}/model.tar.gz"] == b"planted"


def some_lease(owner: str = "release-controller/1") -> Lease:
    return Lease(owner, "prepare", "v7-00000000", NO_RELEASE.format(), 100, 200, "", "")


def test_two_controllers_cannot_both_take_the_lease(ledger: ReleaseLedger) -> None:
    ledger.swap_lease(None, some_lease("release-controller/1"))
    with pytest.raises(LeaseLost):
        ledger.swap_lease(None, some_lease("release-controller/2"))
    assert ledger.lease() == some_lease("release-controller/1")


def test_a_lease_is_given_back_only_by_who_holds_it(ledger: ReleaseLedger) -> None:
    ledger.swap_lease(None, some_lease("release-controller/1"))
    with pytest.raises(LeaseLost):
        ledger.release_lease(some_lease("release-controller/2"))
    ledger.release_lease(some_lease("release-controller/1"))
    assert ledger.lease() is None


def test_quarantine_and_decisions_are_read_back_as_written(ledger: ReleaseLedger) -> None:
    entry = Quarantine(7, "it failed", NOW, "arn:7")
    ledger.quarantine(entry)
    assert ledger.quarantined() == {7: entry}
    assert ledger.last_decision() is None
    for minute, step in enumerate((Step.DEPLOY, Step.COMPLETE)):
        decision = ReleaseDecision(step, "because", "v7", "v6", "arn:approver")
        ledger.write_decision(decision, now=NOW + timedelta(minutes=minute), request_id="r")
    assert ledger.last_decision() == ReleaseDecision(Step.COMPLETE, "because", "v7", "v6", "arn:approver")


@pytest.mark.parametrize(
    "text", ["", "v1|a|b", "none|a|b|c", "v1-00000000|none|b|c", "../x|a|b|c", "v0-00000000|a|b|c"]
)
def test_a_malformed_record_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="release record"):
        parse_release_record(text)


def test_missing_environment_variables_are_all_named() -> None:
    with pytest.raises(KeyError, match="STAGE, LEDGER_TABLE, ARTIFACT_BUCKET, ALERT_TOPIC_ARN, RELEASE_ROLE_ARN, REG"):
        ReleaseEnvironment.read({"APP": "evergreen"})


def register(
    group: str,
    count: int = 1,
    approval: ModelApprovalStatusType = "Approved",
    metadata: Mapping[str, str] | None = None,
) -> list[str]:
    if not AWS.sagemaker.list_model_package_groups(NameContains=group)["ModelPackageGroupSummaryList"]:
        AWS.sagemaker.create_model_package_group(ModelPackageGroupName=group)
    made = [
        AWS.sagemaker.create_model_package(
            ModelPackageGroupName=group, ModelApprovalStatus=approval, CustomerMetadataProperties=metadata or {}
        )
        for _ in range(count)
    ]
    return [package["ModelPackageArn"] for package in made]


def test_only_the_models_own_group_is_read_through_all_pages(
    environment: ReleaseEnvironment, ledger: ReleaseLedger
) -> None:
    oldest = register("evergreen-churn")[0]
    register("evergreen-churn", 130, "PendingManualApproval")
    register("evergreen-churn-two", 3)
    observation = observe(AWS, environment, ledger, "churn")
    assert [package.arn for package in observation.packages] == [oldest]
    newest = register("evergreen-churn", 105)[-1]
    observation = observe(AWS, environment, ledger, "churn")
    assert [package.arn for package in observation.packages] == [newest]
    assert (observation.stack, observation.endpoint, observation.record) == (None, None, NO_RELEASE)


def test_below_a_quarantined_version_the_next_one_is_seen(
    environment: ReleaseEnvironment, ledger: ReleaseLedger
) -> None:
    first, second = register("evergreen-churn", 2)
    ledger.quarantine(Quarantine(2, "it failed", datetime.now(UTC) + timedelta(hours=1), second))
    assert [package.arn for package in observe(AWS, environment, ledger, "churn").packages] == [
        second,
        first,
    ]


def verified_in_staging(bucket: str) -> str:
    return json.dumps({"verified_in": {"stage": "staging", "bucket": bucket}})


def policy(environment: ReleaseEnvironment, text: str) -> None:
    AWS.ssm.put_parameter(Name="/evergreen/churn/staging/policy", Value=text, Type="String", Overwrite=True)


def test_a_version_counts_as_verified_only_by_the_stage_befores_own_word(
    environment: ReleaseEnvironment, ledger: ReleaseLedger
) -> None:
    digest = "ab" * 32
    register("evergreen-churn", metadata={"record_uri": "s3://b/k", "record_sha256": digest})
    policy(environment, verified_in_staging(BUCKET))
    key = f"releases/churn/v1-{digest[:8]}/verified.json"
    for body in (None, {}, {"release_id": "v2-abababab", "stage": "staging"}, {"release_id": "v1-abababab"}):
        if body is not None:
            put(key, canonical_json(body))
        assert observe(AWS, environment, ledger, "churn").verified == frozenset()
    put(key, canonical_json({"release_id": "v1-abababab", "stage": "staging"}))
    assert observe(AWS, environment, ledger, "churn").verified == {1}


def test_a_pinned_version_is_looked_at_however_old(environment: ReleaseEnvironment, ledger: ReleaseLedger) -> None:
    oldest = register("evergreen-churn")[0]
    register("evergreen-churn", 105)
    policy(environment, json.dumps({"pin": {"version": 1, "until": "2027-01-01", "reason": "audit"}}))
    assert [package.arn for package in observe(AWS, environment, ledger, "churn").packages] == [oldest]


def test_an_invalid_release_policy_is_notified_once_and_holds(
    environment: ReleaseEnvironment, ledger: ReleaseLedger
) -> None:
    register("evergreen-churn", metadata={"record_uri": "s3://b/k", "record_sha256": "ab" * 32})
    policy(environment, '{"pin": {"version": "2"}, "verify": 3}')
    for _ in range(2):
        assert reconcile(environment) == {"churn": "Hold"}
    assert alerts() == [
        "churn in staging: the release policy is not valid: verify must be an object, got 3; pin.until is "
        'missing; pin.reason is missing; pin.version must be a version, 1 or more, got "2". Evergreen releases nothing '
        "until this is resolved. Correct it in model.yaml or evergreen.yaml, and deploy."
    ]


def test_the_first_approver_is_kept_and_an_earlier_look_never_replaces_a_later_one(ledger: ReleaseLedger) -> None:
    first = Approval(1, "arn:ada", NOW, "good")
    later = Approval(1, "arn:bob", NOW + timedelta(seconds=1), "again")
    for approval in (later, first):
        ledger.write_approval(approval)
    assert ledger.approvals() == {1: later}


def test_models_are_found_by_their_release_records(environment: ReleaseEnvironment) -> None:
    for name in ("/evergreen/fraud/staging/release", "/evergreen/fraud/prod/release", "/evergreen/x/staging/other"):
        AWS.ssm.put_parameter(Name=name, Value=NO_RELEASE.format(), Type="String")
    assert environment.models(AWS.ssm) == ["churn", "fraud"]


def test_a_message_about_a_model_that_is_gone_creates_no_record(environment: ReleaseEnvironment) -> None:
    AWS.ssm.delete_parameter(Name=RECORD_NAME)
    steps = reconcile_releases({}, AWS, environment, invocation="request", models=["churn"], now=lambda: NOW)
    assert steps == {"churn": "Nothing"}
    assert environment.models(AWS.ssm) == []


def reconcile(environment: ReleaseEnvironment, event: dict[str, Any] | None = None) -> dict[str, str]:
    return reconcile_releases(event or {}, AWS, environment, invocation="request", now=lambda: NOW)


def test_an_approval_without_a_stack_is_notified_once(environment: ReleaseEnvironment, ledger: ReleaseLedger) -> None:
    register("evergreen-churn", metadata={"record_uri": "s3://b/k", "record_sha256": "ab" * 32})
    for _ in range(3):
        assert reconcile(environment, {"source": "evergreen.tick"}) == {"churn": "Hold"}
    assert alerts() == [
        "churn in staging: a version is approved and there is no serving stack yet. Evergreen releases nothing until "
        "this is resolved. Deploy the serving stack."
    ]


def test_a_package_registered_by_hand_is_quarantined_and_notified(
    environment: ReleaseEnvironment, ledger: ReleaseLedger
) -> None:
    register("evergreen-churn")
    assert reconcile(environment) == {"churn": "Refuse → Nothing"}
    assert ledger.quarantined()[1].reason == "it carries no registration record, so it did not come from the pipeline"
    assert len(alerts()) == 1


def test_one_models_failure_is_a_row_and_one_sentence_and_never_stops_the_others(
    environment: ReleaseEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    AWS.ssm.put_parameter(Name="/evergreen/broken/staging/release", Value=NO_RELEASE.format(), Type="String")
    register("evergreen-churn")
    real = ReleaseLedger.lease

    def lease(self: ReleaseLedger) -> Lease | None:
        if self._pk == {"S": "broken#staging"}:
            raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no kms:Decrypt"}}, "GetItem")
        return real(self)

    monkeypatch.setattr(ReleaseLedger, "lease", lease)
    for _ in range(3):
        steps = reconcile(environment)
        assert steps["broken"] == "Failed"
    refused, failed = sorted(alerts(), reverse=True)
    assert "version 1 was approved and is refused" in refused
    assert failed.startswith(
        "broken in staging: the release controller cannot continue, because GetItem answered AccessDeniedException: "
        "no kms:Decrypt. What is live stays live"
    )
    last = ReleaseLedger(AWS.dynamodb, "ledger", model="broken", stage="staging").last_decision()
    assert last is not None
    assert last.step == "Failed"


def test_a_throttled_look_is_retried_and_not_told(
    environment: ReleaseEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lease(self: ReleaseLedger) -> Lease | None:
        raise ClientError({"Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"}}, "GetItem")

    monkeypatch.setattr(ReleaseLedger, "lease", lease)
    with pytest.raises(ReconcileError, match=r"churn: .*Rate exceeded"):
        reconcile(environment)
    assert alerts() == []


def test_the_handler_looks_at_the_hinted_model_and_at_a_tick_at_all(
    environment: ReleaseEnvironment, ledger: ReleaseLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in fields(ReleaseEnvironment):
        monkeypatch.setenv(name.name.upper(), getattr(environment, name.name))
    monkeypatch.setattr(handler, "_clients", lambda: AWS)
    handler._environment.cache_clear()
    AWS.ssm.put_parameter(Name="/evergreen/abalone/staging/release", Value=NO_RELEASE.format(), Type="String")
    approved = (Path(__file__).parent / "events" / "model_package_approved.json").read_text()
    event = json.loads(approved.replace("churn-prod", "evergreen-churn"))
    context = SimpleNamespace(
        aws_request_id="request", function_name="release", memory_limit_in_mb=512, invoked_function_arn="arn"
    )
    steps = handler.handler(event, cast("LambdaContext", context))
    assert steps == {"churn": "Nothing"}
    steps = handler.handler({"source": "evergreen.tick"}, cast("LambdaContext", context))
    assert steps == {"abalone": "Nothing", "churn": "Nothing"}


RELEASE = ReleaseRecord("v7-00000000", f"{IMAGE}@{DIGEST}", "arn:7", "a" * 64)
CHANGE_SET = {"StackName": "evergreen-serving-churn-staging", "ChangeSetName": "release-v7-00000000-1"}
CREATE = {
    **CHANGE_SET,
    "ChangeSetType": "UPDATE",
    "Description": ANY,
    "UsePreviousTemplate": True,
    "Parameters": [
        {"ParameterKey": "BootstrapVersion", "UsePreviousValue": True},
        {"ParameterKey": "Release1a2b", "UsePreviousValue": True},
    ],
    "Capabilities": ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
    "RoleARN": ROLE,
    "ClientToken": CHANGE_SET["ChangeSetName"],
}
SERVING = StackState("UPDATE_COMPLETE", parameters=("BootstrapVersion", "Release1a2b"))


def resolved(value: str) -> dict[str, Any]:
    return {
        "Status": "CREATE_COMPLETE",
        "ExecutionStatus": "AVAILABLE",
        "Parameters": [
            {"ParameterKey": "BootstrapVersion", "ParameterValue": "/cdk/version", "ResolvedValue": "31"},
            {"ParameterKey": "Release1a2b", "ParameterValue": RECORD_NAME, "ResolvedValue": value},
        ],
    }


@pytest.fixture
def stubbed(environment: ReleaseEnvironment) -> Iterator[tuple[Rollout, Stubber]]:
    client = boto3.client("cloudformation")
    rollout = Rollout(client, stack_name=CHANGE_SET["StackName"], name=CHANGE_SET["ChangeSetName"], role_arn=ROLE)
    with Stubber(client) as stubber:
        stubber.add_response(
            "set_stack_policy", {}, {"StackName": CHANGE_SET["StackName"], "StackPolicyBody": STACK_POLICY}
        )
        stubber.add_response("create_change_set", {}, CREATE)
        yield rollout, stubber


def test_a_release_moves_no_template_and_uses_its_own_role(stubbed: tuple[Rollout, Stubber]) -> None:
    rollout, stubber = stubbed
    stubber.add_response("describe_change_set", resolved(RELEASE.format()), CHANGE_SET)
    stubber.add_response("describe_change_set", resolved(RELEASE.format()), CHANGE_SET)
    stubber.add_response("execute_change_set", {}, {**CHANGE_SET, "ClientRequestToken": CHANGE_SET["ChangeSetName"]})
    rollout.prepare(SERVING, RELEASE)
    rollout.execute()
    stubber.assert_no_pending_responses()


def test_a_change_set_that_means_another_release_is_never_executed(stubbed: tuple[Rollout, Stubber]) -> None:
    rollout, stubber = stubbed
    stubber.add_response("describe_change_set", resolved(NO_RELEASE.format()), CHANGE_SET)
    stubber.add_response("describe_change_set", resolved(NO_RELEASE.format()), CHANGE_SET)
    stubber.add_response("delete_change_set", {}, CHANGE_SET)
    with pytest.raises(ChangeSetRefused, match="expected was v7-00000000"):
        rollout.prepare(SERVING, RELEASE)
    stubber.assert_no_pending_responses()


def test_a_failed_change_set_says_why(stubbed: tuple[Rollout, Stubber]) -> None:
    rollout, stubber = stubbed
    stubber.add_response("describe_change_set", {"Status": "FAILED", "StatusReason": "no such image"}, CHANGE_SET)
    stubber.add_response("delete_change_set", {}, CHANGE_SET)
    with pytest.raises(ChangeSetRefused, match="no such image"):
        rollout.prepare(SERVING, RELEASE)


@pytest.mark.parametrize(
    ("status", "refused"), [("AVAILABLE", True), ("OBSOLETE", True), ("EXECUTE_IN_PROGRESS", False)]
)
def test_a_repeated_execution_is_no_refusal(environment: ReleaseEnvironment, status: str, refused: bool) -> None:
    client = boto3.client("cloudformation")
    rollout = Rollout(client, stack_name=CHANGE_SET["StackName"], name=CHANGE_SET["ChangeSetName"], role_arn=ROLE)
    with Stubber(client) as stubber:
        stubber.add_client_error("execute_change_set", "InvalidChangeSetStatus")
        stubber.add_response("describe_change_set", {"ExecutionStatus": status}, CHANGE_SET)
        if refused:
            with pytest.raises(ChangeSetRefused):
                rollout.execute()
        else:
            rollout.execute()


def test_the_stack_policy_protects_every_endpoint_by_its_type() -> None:
    denied = json.loads(STACK_POLICY)["Statement"][1]
    assert denied["Effect"] == "Deny"
    assert denied["Action"] == ["Update:Replace", "Update:Delete"]
    assert denied["Condition"] == {"StringEquals": {"ResourceType": ["AWS::SageMaker::Endpoint"]}}
