"""Types that the runtime and the control plane exchange."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

JobKind = Literal["processing", "training", "transform", "tuning"]
JobStatus = Literal["InProgress", "Completed", "Failed", "Stopping", "Stopped"]


@dataclass(frozen=True)
class Metric:
    """The last value that a regular expression of `MetricDefinitions` found in the log."""

    name: str
    value: float
    timestamp: datetime


@dataclass(frozen=True)
class JobUpdate:
    """One change of a job; each update holds everything known so far.

    Attributes:
        secondary_status: as `DescribeTrainingJob.SecondaryStatus` (`Starting`, `Downloading`, `Training`, `Uploading`,
            `Stopping`, `Completed`, `Failed`, `Stopped`, `MaxRuntimeExceeded`); processing jobs carry it too.
        status_message: `StatusMessage` in `SecondaryStatusTransitions`.
        failure_reason: at most 1,024 characters, worded as AWS does (`AlgorithmError: …, exit code: 1`).
        exit_message: a processing container's `/opt/ml/output/message`, at most 1,024 characters.
        model_artifacts: `s3://…/<job>/output/model.tar.gz`, once uploaded.
        training_started_at: when the container started (`TrainingStartTime`, `ProcessingStartTime`).
        ended_at: set in the last update only.
    """

    status: JobStatus
    secondary_status: str
    status_message: str = ""
    failure_reason: str | None = None
    exit_message: str | None = None
    model_artifacts: str | None = None
    final_metrics: tuple[Metric, ...] = ()
    started_at: datetime | None = None
    training_started_at: datetime | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True)
class VariantSpec:
    """One production variant's container, resolved by the control plane (model packages included).

    Attributes:
        model_data_url: a `model.tar.gz` or None.
        model_data_source: `ModelDataSource.S3DataSource` (also uncompressed prefixes); overrides the URL.
        data_capture: `EndpointConfig.DataCaptureConfig`, or None.
        log_group: the log group; None for the endpoint's.
        startup_timeout: seconds until the first successful ping (`ContainerStartupHealthCheckTimeoutInSeconds`).
    """

    endpoint_name: str
    variant_name: str
    image: str
    role_arn: str
    model_data_url: str | None = None
    model_data_source: Mapping[str, Any] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    network_isolation: bool = False
    data_capture: Mapping[str, Any] | None = None
    startup_timeout: float = 60.0
    log_group: str | None = None


@dataclass(frozen=True)
class Invocation:
    """One `InvokeEndpoint` request."""

    body: bytes
    content_type: str = "application/octet-stream"
    accept: str | None = None
    custom_attributes: str | None = None
    inference_id: str | None = None


@dataclass(frozen=True)
class InvocationResult:
    """The model's response."""

    body: bytes
    content_type: str
    custom_attributes: str | None = None


class ContainerError(Exception):
    """A container could not be started; the message is the endpoint's `FailureReason`."""


class ModelError(Exception):
    """The model's container responded with an error: HTTP 424 `ModelError` of `InvokeEndpoint`.

    The exception's text is `Message`, as AWS words it.

    Attributes:
        status: `OriginalStatusCode`.
        message: `OriginalMessage`, the container's response.
        log_stream_arn: `LogStreamArn`.
    """

    def __init__(self, status: int, message: str, text: str | None = None, log_stream_arn: str = "") -> None:
        self.status = status
        self.message = message
        self.log_stream_arn = log_stream_arn
        side = "client" if 400 <= status < 500 else "server"
        super().__init__(text or f'Received {side} error ({status}) from primary with message "{message}".')


class ModelNotReady(Exception):
    """The variant's worker crashed and is being restarted: HTTP 429 `ModelNotReadyException`."""
