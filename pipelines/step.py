"""A pipeline step that carries an explicit request.

The SDK's own steps are made from trainers and processors, which upload code, call IAM and S3, and put timestamps into
addresses. This step takes a finished request; the SDK still makes the graph, references, retries and the definition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sagemaker.core.workflow.functions import JsonGet
from sagemaker.core.workflow.properties import Properties, PropertyFile
from sagemaker.mlops.workflow.retry import (
    SageMakerJobExceptionTypeEnum,
    SageMakerJobStepRetryPolicy,
    StepExceptionTypeEnum,
    StepRetryPolicy,
)
from sagemaker.mlops.workflow.steps import CacheConfig, ConfigurableRetryStep, StepTypeEnum

_RESPONSES = {
    StepTypeEnum.PROCESSING: "DescribeProcessingJobResponse",
    StepTypeEnum.TRAINING: "DescribeTrainingJobResponse",
    StepTypeEnum.REGISTER_MODEL: "DescribeModelPackageOutput",
}


class RequestStep(ConfigurableRetryStep):  # type: ignore[misc]  # the SDK is untyped
    """A processing, training or registration step.

    Args:
        name: The step's name.
        step_type: The kind of job or package that the request creates.
        request: The request of the corresponding Create… call, without a job name: SageMaker assigns one.
        result: Name of a JSON file, and of the processing output that holds it, whose values later steps read.
        cached: Whether a run with the same request may be reused, for 30 days.
    """

    def __init__(
        self,
        name: str,
        step_type: StepTypeEnum,
        request: Mapping[str, object],
        *,
        description: str,
        result: str | None = None,
        cached: bool = False,
    ) -> None:
        super().__init__(
            name=name, step_type=step_type, description=description, retry_policies=_retry_policies(step_type)
        )
        self.property_files = [PropertyFile(name=result, output_name=result, path=f"{result}.json")] if result else []
        self._request = request
        self._cached = cached
        self._properties = Properties(step_name=name, step=self, shape_name=_RESPONSES[step_type])

    @property
    def arguments(self) -> dict[str, object]:
        """The request."""
        return dict(self._request)

    @property
    def properties(self) -> Properties:
        """The response of the corresponding Describe… call, as references."""
        return self._properties

    def value(self, path: str) -> JsonGet:
        """Return a reference to a value of the result file, by JSON path."""
        return JsonGet(step_name=self.name, property_file=self.property_files[0], json_path=path)

    def output_uri(self, output: str) -> Any:
        """Return a reference to the address of a processing output, of this run or of the reused one."""
        return self.properties.ProcessingOutputConfig.Outputs[output].S3Output.S3Uri

    def to_request(self) -> dict[str, object]:
        """Return the step as written to the definition."""
        request: dict[str, object] = super().to_request()
        if self.property_files:
            request["PropertyFiles"] = [file.expr for file in self.property_files]
        if self._cached:
            request.update(CacheConfig(enable_caching=True, expire_after="P30D").config)
        return request


def _retry_policies(step_type: StepTypeEnum) -> Sequence[object]:
    """Retry transient failures: throttling, faults of the service, and missing capacity."""
    policies: list[object] = [
        StepRetryPolicy(
            exception_types=[StepExceptionTypeEnum.SERVICE_FAULT, StepExceptionTypeEnum.THROTTLING],
            interval_seconds=5,
            max_attempts=5,
        )
    ]
    if step_type is not StepTypeEnum.REGISTER_MODEL:
        policies.append(
            SageMakerJobStepRetryPolicy(
                exception_types=[SageMakerJobExceptionTypeEnum.RESOURCE_LIMIT],
                failure_reason_types=[
                    SageMakerJobExceptionTypeEnum.INTERNAL_ERROR,
                    SageMakerJobExceptionTypeEnum.CAPACITY_ERROR,
                ],
                interval_seconds=60,
                max_attempts=5,
            )
        )
    return policies
