"""The functions' AWS clients. Each is created at its first use."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from datetime import datetime

    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_sagemaker_runtime import SageMakerRuntimeClient
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_ssm import SSMClient

_CONFIG = Config(connect_timeout=5, read_timeout=30, retries={"mode": "adaptive", "total_max_attempts": 5})
# Verification counts failed requests, so none is retried. SageMaker gives a model 60 seconds to answer.
_RUNTIME_CONFIG = Config(connect_timeout=5, read_timeout=70, retries={"mode": "standard", "total_max_attempts": 1})
# CopyObject answers when the copy is done, which takes minutes for gigabytes.
_S3_CONFIG = _CONFIG.merge(Config(read_timeout=300))


class Alarms(Protocol):
    """The part of CloudWatch's client that is used."""

    def set_alarm_state(self, *, AlarmName: str, StateValue: str, StateReason: str) -> Any:
        """Set the state of an alarm until its next evaluation."""

    def describe_alarm_history(
        self, *, AlarmName: str, HistoryItemType: str, StartDate: datetime, ScanBy: str, MaxRecords: int
    ) -> Any:
        """Return the history of one alarm."""


class Functions(Protocol):
    """The part of Lambda's client that is used."""

    def invoke(self, *, FunctionName: str, InvocationType: str, Payload: bytes) -> Any:
        """Invoke a function."""


class Clients:
    """One client per service."""

    @cached_property
    def cloudwatch(self) -> Alarms:
        """Return the CloudWatch client."""
        client: Alarms = boto3.client("cloudwatch", config=_CONFIG)
        return client

    @cached_property
    def cloudformation(self) -> CloudFormationClient:
        """Return the CloudFormation client."""
        return boto3.client("cloudformation", config=_CONFIG)

    @cached_property
    def dynamodb(self) -> DynamoDBClient:
        """Return the DynamoDB client."""
        return boto3.client("dynamodb", config=_CONFIG)

    @cached_property
    def functions(self) -> Functions:
        """Return the Lambda client."""
        client: Functions = boto3.client("lambda", config=_CONFIG)
        return client

    @cached_property
    def s3(self) -> S3Client:
        """Return the S3 client."""
        return boto3.client("s3", config=_S3_CONFIG)

    @cached_property
    def sagemaker(self) -> SageMakerClient:
        """Return the SageMaker client."""
        return boto3.client("sagemaker", config=_CONFIG)

    @cached_property
    def sagemaker_runtime(self) -> SageMakerRuntimeClient:
        """Return the SageMaker Runtime client."""
        return boto3.client("sagemaker-runtime", config=_RUNTIME_CONFIG)

    @cached_property
    def sns(self) -> SNSClient:
        """Return the SNS client."""
        return boto3.client("sns", config=_CONFIG)

    @cached_property
    def sqs(self) -> SQSClient:
        """Return the SQS client."""
        return boto3.client("sqs", config=_CONFIG)

    @cached_property
    def ssm(self) -> SSMClient:
        """Return the SSM client."""
        return boto3.client("ssm", config=_CONFIG)
