"""A stage's platform in moto: the stack, the ledger, the registry, a release record."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import boto3
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from moto import mock_aws

REGION = "us-east-1"
MODEL = "flight-delays"
GROUP = f"evergreen-{MODEL}"
_STACK = "evergreen-platform-prod"
_RESOURCES = {
    "FailuresQueueB0898B50": ("AWS::SQS::Queue", "failures"),
    "CaptureUnreadQueue839B4A50": ("AWS::SQS::Queue", "capture-unread"),
    "ReleaseHandlerLogs156D302B": ("AWS::Logs::LogGroup", "/release"),
    "RetrainHandlerLogs88C2543C": ("AWS::Logs::LogGroup", "/retrain"),
}
_CALL = BaseClient._make_api_call  # type: ignore[attr-defined]


def _stack(client: BaseClient, operation: str, request: dict[str, Any]) -> Any:
    """Answer for CloudFormation, which moto offers with further dependencies only; moto answers the rest."""
    if operation == "DescribeStacks":
        if request["StackName"] != _STACK:
            missing = f"Stack with id {request['StackName']} does not exist"
            raise ClientError({"Error": {"Code": "ValidationError", "Message": missing}}, operation)
        outputs = [{"OutputKey": "LedgerTableName", "OutputValue": "ledger"}]
        return {"Stacks": [{"StackName": _STACK, "StackStatus": "UPDATE_COMPLETE", "Outputs": outputs}]}
    if operation == "ListStackResources":
        sqs = boto3.client("sqs", REGION)
        return {
            "StackResourceSummaries": [
                {
                    "LogicalResourceId": logical,
                    "ResourceType": kind,
                    "PhysicalResourceId": sqs.get_queue_url(QueueName=name)["QueueUrl"] if "SQS" in kind else name,
                }
                for logical, (kind, name) in _RESOURCES.items()
            ]
        }
    return _CALL(client, operation, request)


class Fixture:
    """The account, and what tests put into it."""

    def __init__(self) -> None:
        boto3.client("dynamodb", REGION).create_table(
            TableName="ledger",
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
        )
        for kind, name in _RESOURCES.values():
            if kind == "AWS::SQS::Queue":
                boto3.client("sqs", REGION).create_queue(QueueName=name)
            else:
                boto3.client("logs", REGION).create_log_group(logGroupName=name)
        self.release("none|none|none|none")
        self.sagemaker = boto3.client("sagemaker", REGION)
        self.sagemaker.create_model_package_group(ModelPackageGroupName=GROUP)

    def release(self, record: str, model: str = MODEL) -> None:
        """Write a model's release record."""
        name = f"/evergreen/{model}/prod/release"
        boto3.client("ssm", REGION).put_parameter(Name=name, Value=record, Type="String", Overwrite=True)

    def register(self, approval: Literal["Approved", "PendingManualApproval"] = "PendingManualApproval") -> str:
        """Register a version. Return its ARN."""
        return self.sagemaker.create_model_package(ModelPackageGroupName=GROUP, ModelApprovalStatus=approval)[
            "ModelPackageArn"
        ]

    def write(self, sk: str, **values: str | bool) -> None:
        """Write a row of the model's ledger."""
        item: dict[str, Any] = {"pk": {"S": f"{MODEL}#prod"}, "sk": {"S": sk}}
        for name, value in values.items():
            item[name] = {"BOOL": value} if isinstance(value, bool) else {"S": value}
        boto3.client("dynamodb", REGION).put_item(TableName="ledger", Item=item)

    def log(self, group: str, at: datetime, *messages: str) -> None:
        """Write log events, a second apart."""
        logs = boto3.client("logs", REGION)
        logs.create_log_stream(logGroupName=group, logStreamName="one")
        start = int(1000 * at.timestamp())
        events = [{"timestamp": start + 1000 * n, "message": text} for n, text in enumerate(messages)]
        logs.put_log_events(logGroupName=group, logStreamName="one", logEvents=events)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, configuration_file: Path) -> None:
    """Select the test application and no account."""
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "TARGET", "EVERGREEN_PORT", "EVERGREEN_STATE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("EVERGREEN_CONFIG", str(configuration_file))


@pytest.fixture
def configuration_file(root: Path) -> Path:
    """Return the application's file."""
    return root / "tests" / "fixtures" / "application" / "evergreen.yaml"


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fixture]:
    """Yield an account with the platform deployed."""
    monkeypatch.setattr(BaseClient, "_make_api_call", _stack)
    with mock_aws():
        yield Fixture()
