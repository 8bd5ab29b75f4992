"""Supported step types and their fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class StepType:
    """One step type.

    Attributes:
        operation: the SageMaker operation that the step calls with its arguments.
        name_member: the request member that the pipeline fills in where it is absent.
        describe: the operation whose response holds the step's properties.
        cache_members: the arguments in the cache key (AWS: "Default cache key attributes by pipeline step type"); empty
            where a step cannot be cached.
        metadata: the member of the step's metadata.
    """

    name: str
    operation: str | None = None
    name_member: str | None = None
    describe: str | None = None
    cache_members: tuple[str, ...] = ()
    fields: frozenset[str] = frozenset()
    metadata: str = ""
    retryable: bool = False


_COMMON = frozenset({"Name", "Type", "Arguments", "DependsOn", "DisplayName", "Description"})
_JOB = frozenset({"RetryPolicies", "CacheConfig"})

STEP_TYPES: Mapping[str, StepType] = {
    one.name: one
    for one in (
        StepType(
            "Processing",
            "CreateProcessingJob",
            "ProcessingJobName",
            "DescribeProcessingJob",
            ("AppSpecification", "Environment", "ProcessingInputs"),
            _JOB | {"PropertyFiles"},
            "ProcessingJob",
            retryable=True,
        ),
        StepType(
            "Training",
            "CreateTrainingJob",
            "TrainingJobName",
            "DescribeTrainingJob",
            (
                "AlgorithmSpecification",
                "CheckpointConfig",
                "DebugHookConfig",
                "DebugRuleConfigurations",
                "Environment",
                "HyperParameters",
                "InputDataConfig",
            ),
            _JOB,
            "TrainingJob",
            retryable=True,
        ),
        StepType(
            "Model",
            "CreateModel",
            "ModelName",
            "DescribeModel",
            fields=frozenset({"RetryPolicies"}),
            metadata="Model",
            retryable=True,
        ),
        StepType(
            "RegisterModel",
            "CreateModelPackage",
            None,
            "DescribeModelPackage",
            fields=frozenset({"RetryPolicies"}),
            metadata="RegisterModel",
            retryable=True,
        ),
        StepType("Lambda", fields=frozenset({"FunctionArn", "OutputParameters", "CacheConfig"}), metadata="Lambda"),
        StepType("Condition", metadata="Condition"),
        StepType("Fail", metadata="Fail"),
    )
}


def known_fields(step_type: StepType) -> frozenset[str]:
    """Return the fields that a step of this type may have."""
    return _COMMON | step_type.fields
