"""The AWS clients the handlers use, each made when first needed."""

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
    from mypy_boto3_ssm import SSMClient

_CONFIG = Config(connect_timeout=5, read_timeout=30, retries={"mode": "standard", "total_max_attempts": 5})
# What fails is counted, so nothing is repeated; SageMaker gives a model 60 seconds to answer.
_RUNTIME_CONFIG = Config(connect_timeout=5, read_timeout=70, retries={"mode": "standard", "total_max_attempts": 1})
# CopyObject answers when the copy is done, which takes a while for gigabytes.
_S3_CONFIG = _CONFIG.merge(Config(read_timeout=300))


class AlarmHistory(Protocol):
    """What is asked of CloudWatch."""

    def describe_alarm_history(
        self, *, AlarmName: str, HistoryItemType: str, StartDate: datetime, ScanBy: str, MaxRecords: int
    ) -> Any: ...


class Functions(Protocol):
    """What is asked of Lambda."""

    def invoke(self, *, FunctionName: str, InvocationType: str, Payload: bytes) -> Any: ...


class Clients:
    """One client a service."""

    @cached_property
    def cloudwatch(self) -> AlarmHistory:
        client: AlarmHistory = boto3.client("cloudwatch", config=_CONFIG)
        return client

    @cached_property
    def cloudformation(self) -> CloudFormationClient:
        return boto3.client("cloudformation", config=_CONFIG)

    @cached_property
    def dynamodb(self) -> DynamoDBClient:
        return boto3.client("dynamodb", config=_CONFIG)

    @cached_property
    def functions(self) -> Functions:
        client: Functions = boto3.client("lambda", config=_CONFIG)
        return client

    @cached_property
    def s3(self) -> S3Client:
        return boto3.client("s3", config=_S3_CONFIG)

    @cached_property
    def sagemaker(self) -> SageMakerClient:
        return boto3.client("sagemaker", config=_CONFIG)

    @cached_property
    def sagemaker_runtime(self) -> SageMakerRuntimeClient:
        return boto3.client("sagemaker-runtime", config=_RUNTIME_CONFIG)

    @cached_property
    def sns(self) -> SNSClient:
        return boto3.client("sns", config=_CONFIG)

    @cached_property
    def ssm(self) -> SSMClient:
        return boto3.client("ssm", config=_CONFIG)
