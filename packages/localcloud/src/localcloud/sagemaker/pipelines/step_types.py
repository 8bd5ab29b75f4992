"""Supported step types and their fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from localcloud.runtime.contract import JobKind


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
        job: the kind of the job that the step starts; None for the others.
        name_length: the longest name of what the step creates.
        settings: the fields besides the arguments that may hold expressions.
    """

    name: str
    operation: str | None = None
    name_member: str | None = None
    describe: str | None = None
    cache_members: tuple[str, ...] = ()
    fields: frozenset[str] = frozenset()
    metadata: str = ""
    retryable: bool = False
    job: JobKind | None = None
    settings: frozenset[str] = frozenset()
    name_length: int = 63


_COMMON = frozenset({"Name", "Type", "Arguments", "DependsOn", "DisplayName", "Description"})
_JOB = frozenset({"RetryPolicies", "CacheConfig"})
_CHECK = frozenset(
    {
        *("CheckType", "ModelPackageGroupName", "SkipCheck", "FailOnViolation", "RegisterNewBaseline"),
        *("SuppliedBaselineStatistics", "SuppliedBaselineConstraints", "ModelName"),
    }
)


def _check(name: str) -> StepType:
    return StepType(
        name,
        "CreateProcessingJob",
        "ProcessingJobName",
        cache_members=("AppSpecification", "Environment", "ProcessingInputs"),
        fields=_JOB | _CHECK,
        metadata=name,
        retryable=True,
        job="processing",
        settings=_CHECK,
    )


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
            job="processing",
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
            job="training",
        ),
        StepType(
            "Transform",
            "CreateTransformJob",
            "TransformJobName",
            "DescribeTransformJob",
            ("DataProcessing", "Environment", "ModelName", "TransformInput"),
            _JOB,
            "TransformJob",
            retryable=True,
            job="transform",
        ),
        StepType(
            "Tuning",
            "CreateHyperParameterTuningJob",
            "HyperParameterTuningJobName",
            "DescribeHyperParameterTuningJob",
            ("HyperParameterTuningJobConfig", "TrainingJobDefinition", "TrainingJobDefinitions"),
            _JOB,
            "TuningJob",
            retryable=True,
            job="tuning",
            name_length=32,
        ),
        _check("QualityCheck"),
        _check("ClarifyCheck"),
        StepType(
            "Callback",
            fields=frozenset({"SqsQueueUrl", "OutputParameters", "CacheConfig"}),
            metadata="Callback",
            settings=frozenset({"SqsQueueUrl"}),
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
