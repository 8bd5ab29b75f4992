"""SageMaker's events, in the shapes of AWS's "Amazon EventBridge events from SageMaker AI".

The shapes are not uniform: package events carry ISO times, endpoint and job events carry epoch milliseconds. An
endpoint's status is `IN_SERVICE` in events and `InService` in the API.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from localcloud.cloud import Cloud
from localcloud.sagemaker.context import Document
from localcloud.sagemaker.shapes import serialised

SOURCE = "aws.sagemaker"
# The members of AWS's published samples, and the failure reason that the text beside them names.
_JOB_MEMBERS = {
    "Processing": (
        *("ProcessingInputs", "ProcessingOutputConfig", "ProcessingJobName", "ProcessingResources"),
        *("StoppingCondition", "AppSpecification", "NetworkConfig", "RoleArn", "ExperimentConfig", "ProcessingJobArn"),
        *("ProcessingJobStatus", "FailureReason", "ProcessingEndTime", "ProcessingStartTime", "LastModifiedTime"),
        "CreationTime",
    ),
    "Training": (
        *("TrainingJobName", "TrainingJobArn", "TrainingJobStatus", "SecondaryStatus", "FailureReason"),
        *("HyperParameters", "AlgorithmSpecification", "RoleArn", "InputDataConfig", "OutputDataConfig"),
        *("ResourceConfig", "VpcConfig", "StoppingCondition", "CreationTime", "TrainingStartTime", "TrainingEndTime"),
        *("LastModifiedTime", "SecondaryStatusTransitions"),
    ),
    "Transform": (
        *("TransformJobName", "TransformJobArn", "TransformJobStatus", "FailureReason", "ModelName"),
        *("MaxConcurrentTransforms", "MaxPayloadInMB", "BatchStrategy", "Environment", "TransformInput"),
        *("TransformOutput", "TransformResources", "CreationTime", "TransformStartTime", "TransformEndTime"),
    ),
}
_TUNING_MEMBERS = (
    *("HyperParameterTuningJobName", "HyperParameterTuningJobArn", "HyperParameterTuningJobConfig"),
    *("TrainingJobDefinition", "HyperParameterTuningJobStatus", "CreationTime", "LastModifiedTime"),
    *("TrainingJobStatusCounters", "ObjectiveStatusCounters"),
)
# AWS publishes no sample of these two. The members are those of the Describe operations.
_MODEL_MEMBERS = (
    *("ModelName", "ModelArn", "PrimaryContainer", "Containers", "ExecutionRoleArn", "VpcConfig", "CreationTime"),
    "EnableNetworkIsolation",
)
_CONFIG_MEMBERS = (
    *("EndpointConfigName", "EndpointConfigArn", "ProductionVariants", "DataCaptureConfig", "KmsKeyId"),
    "CreationTime",
)
_PACKAGE_MEMBERS = (
    *("ModelPackageGroupName", "ModelPackageVersion", "ModelPackageArn", "CreationTime", "InferenceSpecification"),
    *("ModelPackageStatus", "ModelPackageStatusDetails", "CertifyForMarketplace", "ModelApprovalStatus"),
    *("MetadataProperties", "ModelMetrics", "ModelLifeCycle", "LastModifiedTime"),
)


def iso(epoch: float) -> str:
    """Format epoch seconds as `2026-11-22T10:15:30Z`."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _milliseconds(epoch: float) -> int:
    return round(epoch * 1000)


class Events:
    """Publisher of SageMaker's events on the default bus."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def _emit(self, detail_type: str, resources: Sequence[str], detail: Mapping[str, Any]) -> None:
        self._cloud.emit(SOURCE, f"SageMaker {detail_type}", resources, detail)

    def model_package(self, package: Document, updated: Sequence[str] = ()) -> None:
        """Publish a change of a model package; `updated` names the members that changed."""
        detail = {name: package[name] for name in _PACKAGE_MEMBERS if package.get(name) is not None}
        for name in ("CreationTime", "LastModifiedTime"):
            if name in detail:
                detail[name] = iso(detail[name])
        if updated:
            detail["UpdatedModelPackageFields"] = list(updated)
        self._emit("Model Package State Change", [package["ModelPackageArn"]], detail)

    def job(self, operation: str, job: Document, tags: Mapping[str, str]) -> None:
        """Publish a change of a processing, training or transform job.

        Args:
            operation: the job's `Describe…` operation.
            job: its document.
            tags: its tags.
        """
        detail = serialised(operation, job)
        kind = operation.removeprefix("Describe").removesuffix("Job")
        detail = {name: detail[name] for name in _JOB_MEMBERS[kind] if name in detail}
        for name in [name for name in detail if name.endswith("Time")]:
            detail[name] = _milliseconds(detail[name])
        for transition in detail.get("SecondaryStatusTransitions", ()):
            for name in ("StartTime", "EndTime"):
                if name in transition:
                    transition[name] = _milliseconds(transition[name])
        if kind == "Processing":
            detail.setdefault("ExperimentConfig", {})
        else:
            detail["Tags"] = dict(tags)
        self._emit(f"{kind} Job State Change", [job[f"{kind}JobArn"]], detail)

    def monitoring_schedule(self, schedule: Document) -> None:
        """Publish a change of a monitoring schedule or of its last execution."""
        detail = serialised("DescribeMonitoringSchedule", schedule)
        for part in (detail, detail.get("LastMonitoringExecutionSummary", {})):
            for name in [name for name in part if name.endswith("Time")]:
                part[name] = _milliseconds(part[name])
        self._emit("Monitoring Schedule State Change", [schedule["MonitoringScheduleArn"]], detail)

    def tuning_job(self, job: Document, tags: Mapping[str, str]) -> None:
        """Publish a change of a hyperparameter tuning job."""
        detail = serialised("DescribeHyperParameterTuningJob", job)
        detail = {name: detail[name] for name in _TUNING_MEMBERS if name in detail}
        for name in [name for name in detail if name.endswith("Time")]:
            detail[name] = _milliseconds(detail[name])
        arn = job["HyperParameterTuningJobArn"]
        self._emit("HyperParameter Tuning Job State Change", [arn], {**detail, "Tags": dict(tags)})

    def model(self, model: Document, tags: Mapping[str, str]) -> None:
        """Publish that a model was created or deleted."""
        self._made("Model State Change", model["ModelArn"], _MODEL_MEMBERS, model, tags)

    def endpoint_config(self, config: Document, tags: Mapping[str, str]) -> None:
        """Publish that an endpoint configuration was created or deleted."""
        self._made("Endpoint Config State Change", config["EndpointConfigArn"], _CONFIG_MEMBERS, config, tags)

    def _made(
        self, detail_type: str, arn: str, members: Sequence[str], document: Document, tags: Mapping[str, str]
    ) -> None:
        detail = {name: document[name] for name in members if document.get(name) is not None}
        detail |= {"CreationTime": _milliseconds(document["CreationTime"]), "Tags": dict(tags)}
        self._emit(detail_type, [arn], detail)

    def endpoint(self, endpoint: Document, tags: Mapping[str, str]) -> None:
        """Publish a change of an endpoint's status."""
        detail = self._endpoint_detail(endpoint, tags)
        wanted = ("VariantName", "DesiredWeight", "DesiredInstanceCount")  # the deployment's event has more
        detail["ProductionVariants"] = [
            {name: value for name, value in variant.items() if name in wanted}
            for variant in detail["ProductionVariants"]
        ]
        self._emit("Endpoint State Change", [endpoint["EndpointArn"]], detail)

    def endpoint_deployment(self, endpoint: Document, tags: Mapping[str, str]) -> None:
        """Publish the progress of a deployment, with its `PendingDeploymentSummary`."""
        detail = self._endpoint_detail(endpoint, tags)
        pending = endpoint.get("PendingDeploymentSummary")
        if pending:
            detail["PendingDeploymentSummary"] = {
                "EndpointConfigName": pending["EndpointConfigName"],
                "StartTime": _milliseconds(pending["StartTime"]),
                "ProductionVariants": [_pending_variant(variant) for variant in pending["ProductionVariants"]],
            }
        self._emit("Endpoint Deployment State Change", [endpoint["EndpointArn"]], detail)

    def _endpoint_detail(self, endpoint: Document, tags: Mapping[str, str]) -> Document:
        detail = {
            "EndpointName": endpoint["EndpointName"],
            "EndpointArn": endpoint["EndpointArn"],
            "EndpointConfigName": endpoint["EndpointConfigName"],
            "ProductionVariants": [_variant(variant) for variant in endpoint.get("ProductionVariants", ())],
            "EndpointStatus": re.sub(r"(?<=[a-z])(?=[A-Z])", "_", endpoint["EndpointStatus"]).upper(),
            "CreationTime": _milliseconds(endpoint["CreationTime"]),
            "LastModifiedTime": _milliseconds(endpoint["LastModifiedTime"]),
            "Tags": dict(tags),
        }
        if endpoint.get("FailureReason"):
            detail["FailureReason"] = endpoint["FailureReason"]
        return detail

    def execution(self, execution: Document, previous: str | None) -> None:
        """Publish a status change of a pipeline execution; `previous` is the status before."""
        detail = {
            "pipelineExecutionDisplayName": execution.get("PipelineExecutionDisplayName"),
            "currentPipelineExecutionStatus": execution["PipelineExecutionStatus"],
            "previousPipelineExecutionStatus": previous,
            "executionStartTime": iso(execution["CreationTime"]),
            "executionEndTime": iso(execution["EndTime"]) if execution.get("EndTime") else None,
            "pipelineExecutionDescription": execution.get("PipelineExecutionDescription"),
            "pipelineArn": execution["PipelineArn"],
            "pipelineExecutionArn": execution["PipelineExecutionArn"],
        }
        self._emit(
            "Model Building Pipeline Execution Status Change",
            [execution["PipelineArn"], execution["PipelineExecutionArn"]],
            {name: value for name, value in detail.items() if value is not None},
        )

    def step(self, execution: Document, step: Document, previous: str | None) -> None:
        """Publish a status change of a pipeline step; `previous` is the status before."""
        detail = {
            "metadata": _camel(step.get("Metadata") or {}),
            "stepStartTime": iso(step["StartTime"]),
            "stepEndTime": iso(step["EndTime"]) if step.get("EndTime") else None,
            "stepName": step["StepName"],
            "stepType": step["StepType"],
            "previousStepStatus": previous,
            "currentStepStatus": step["StepStatus"],
            "failureReason": step.get("FailureReason"),
            "pipelineArn": execution["PipelineArn"],
            "pipelineExecutionArn": execution["PipelineExecutionArn"],
        }
        if "CacheHitResult" in step:
            detail["cacheHitResult"] = {
                "sourcePipelineExecutionArn": step["CacheHitResult"]["SourcePipelineExecutionArn"]
            }
        self._emit(
            "Model Building Pipeline Execution Step Status Change",
            [execution["PipelineArn"], execution["PipelineExecutionArn"]],
            {name: value for name, value in detail.items() if value is not None},
        )


def _variant(variant: Document) -> Document:
    members = ("VariantName", "CurrentWeight", "DesiredWeight", "CurrentInstanceCount", "DesiredInstanceCount")
    return {name: variant[name] for name in members if variant.get(name) is not None}


def _pending_variant(variant: Document) -> Document:
    statuses = [
        {**status, "StartTime": _milliseconds(status["StartTime"])} if "StartTime" in status else dict(status)
        for status in variant.get("VariantStatus", ())
    ]
    return {**_variant(variant), "VariantStatus": statuses}


def _camel(value: Any) -> Any:
    """Convert member names: `{"ProcessingJob": {"Arn": …}}` → `{"processingJob": {"arn": …}}`."""
    if isinstance(value, dict):
        return {name[:1].lower() + name[1:]: _camel(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_camel(item) for item in value]
    return value
