"""The archive on AWS's APIs: inventory, collection, and a dry run that changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.stub import Stubber
from moto import mock_aws

from archive.controller import archive_models
from shared.clients import Clients
from shared.environment import ArchiveEnvironment
from shared.ledger import Lease, ReleaseLedger

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_sagemaker.type_defs import ProductionVariantTypeDef

ENVIRONMENT = ArchiveEnvironment("evergreen", "prod", "ledger", "artifacts", "{}")
LATER = datetime.now(UTC) + timedelta(days=40)
ROLE = "arn:aws:iam::123456789012:role/serving"


class WithStack(Clients):
    """The serving stack is at rest on `evergreenconfig3`. moto's needs packages that are not installed here."""

    @cached_property
    def cloudformation(self) -> CloudFormationClient:
        client = boto3.client("cloudformation")
        stubber = Stubber(client)
        stack = {
            "StackName": "evergreen-serving-churn-prod",
            "CreationTime": datetime(2026, 1, 1, tzinfo=UTC),
            "StackStatus": "UPDATE_COMPLETE",
            "Outputs": [{"OutputKey": "EndpointConfigName", "OutputValue": "evergreenconfig3"}],
        }
        for _ in range(4):
            stubber.add_response("describe_stacks", {"Stacks": [stack]})
        stubber.activate()
        return client


@pytest.fixture
def cloud() -> Iterator[Clients]:
    with mock_aws(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        aws = WithStack()
        aws.s3.create_bucket(Bucket="artifacts")
        aws.dynamodb.create_table(
            TableName="ledger",
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
        )
        record = f"v3-00000003|image@sha256:0|arn:package/3|{'a' * 64}"
        aws.ssm.put_parameter(Name="/evergreen/churn/prod/release", Value=record, Type="String")
        for n in (1, 2, 3):
            serve(
                aws, f"evergreenmodel{n}", f"evergreenconfig{n}", f"s3://artifacts/releases/churn/v{n}-0/model.tar.gz"
            )
        serve(aws, "evergreenmodel9", "evergreenconfig9", "s3://elsewhere/releases/churn/v9-0/model.tar.gz")
        serve(aws, "byhand", "byhand", "s3://artifacts/releases/churn/v1-0/model.tar.gz")
        aws.sagemaker.create_endpoint(EndpointName="evergreen-churn-prod", EndpointConfigName="evergreenconfig3")
        aws.sagemaker.create_model_package_group(ModelPackageGroupName="evergreen-churn")
        for approval in ("Approved", "Rejected", "Approved"):
            aws.sagemaker.create_model_package(ModelPackageGroupName="evergreen-churn", ModelApprovalStatus=approval)
        yield aws


def serve(aws: Clients, model: str, config: str, url: str) -> None:
    aws.sagemaker.create_model(
        ModelName=model, ExecutionRoleArn=ROLE, PrimaryContainer={"Image": "image", "ModelDataUrl": url}
    )
    variant: ProductionVariantTypeDef = {
        "VariantName": "AllTraffic",
        "ModelName": model,
        "InitialInstanceCount": 1,
        "InstanceType": "ml.m5.large",
    }
    aws.sagemaker.create_endpoint_config(EndpointConfigName=config, ProductionVariants=[variant])


def names(aws: Clients) -> tuple[set[str], set[str]]:
    configs = {one["EndpointConfigName"] for one in aws.sagemaker.list_endpoint_configs()["EndpointConfigs"]}
    return configs, {one["ModelName"] for one in aws.sagemaker.list_models()["Models"]}


def test_what_releases_left_behind_is_collected_and_the_rollback_target_stays(cloud: Clients) -> None:
    before = names(cloud)
    would = archive_models({"dry_run": True}, cloud, ENVIRONMENT, lambda: LATER)
    assert would["churn"] == [
        "Archive version 2: it was rejected 30 days ago",
        "DeleteConfig evergreenconfig1: no endpoint is on it, and none would go back to it",
    ]
    assert names(cloud) == before
    assert "Contents" not in cloud.s3.list_objects_v2(Bucket="artifacts")
    assert archive_models({}, cloud, ENVIRONMENT, lambda: LATER) == would
    assert "DeleteModel evergreenmodel1: no endpoint configuration names it" in archive_models(
        {}, cloud, ENVIRONMENT, lambda: LATER
    ).get("churn", [])
    configs, models = names(cloud)
    assert before[0] - configs == {"evergreenconfig1"}
    assert before[1] - models == {"evergreenmodel1"}


def test_nothing_is_touched_under_a_lease_or_before_its_time(cloud: Clients) -> None:
    assert archive_models({}, cloud, ENVIRONMENT)["churn"] == []
    ledger = ReleaseLedger(cloud.dynamodb, "ledger", model="churn", stage="prod")
    ledger.swap_lease(None, Lease("pipeline", "deploy", "v4-0", "none|none|none|none", 0, 1))
    assert archive_models({}, cloud, ENVIRONMENT, lambda: LATER)["churn"] == []


def test_a_dry_run_is_asked_for_by_a_boolean(cloud: Clients) -> None:
    with pytest.raises(ValueError, match="got 'false'"):
        archive_models({"dry_run": "false"}, cloud, ENVIRONMENT)


@pytest.mark.parametrize("event", [{"dryRun": True}, {"dry-run": True}, {"source": "aws.ec2", "detail": {}}])
def test_an_event_that_is_no_request_changes_nothing(cloud: Clients, event: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a request has the key dry_run only, got"):
        archive_models(event, cloud, ENVIRONMENT)
