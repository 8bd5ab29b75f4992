"""The requests of the steps, with the API's own names (Amazon SageMaker API Reference)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sagemaker.core.workflow.execution_variables import ExecutionVariables
from sagemaker.core.workflow.functions import Join

from configuration import Model
from configuration.images import SERVING_ENVIRONMENT, TRAINING_ENVIRONMENT
from configuration.instances import has_local_disk, offered

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.type_defs import (
        ChannelTypeDef,
        ModelPackageContainerDefinitionTypeDef,
        ProcessingInputTypeDef,
        ProcessingOutputTypeDef,
    )

INPUT = "/opt/ml/processing/input"
OUTPUT = "/opt/ml/processing/output"
CONTENT_TYPES = ["text/csv", "application/json"]
RESPONSE_TYPES = ["text/csv", "application/json"]
# The script's name is that of its CDK asset, a hash, so a pattern selects it.
TOOL_ENTRYPOINT = ["/bin/sh", "-c", f"exec python3 {INPUT}/script/*.py"]
# A folder's asset is a zip file, from which Python can import directly.
RECORD_ENTRYPOINT = ["/bin/sh", "-c", f"PYTHONPATH=$(echo {INPUT}/script/*.zip) exec python3 -m record"]
ANALYZER_ENTRYPOINT = [
    "/bin/sh",
    "-c",
    f"PYTHONPATH=$(echo {INPUT}/analyzer/*.zip) exec python3 -m drift_analyzer.baseline_step",
]

Variable = Any
"""A string, or a pipeline variable of the SDK that becomes one at run time. The SDK is untyped."""


def text(*values: Variable) -> Variable:
    """Return the values, joined at run time."""
    return Join(on="", values=list(values))


@dataclass(frozen=True)
class Requests:
    """Requests of one model's pipeline.

    Attributes:
        model: The model that is trained.
        parameters: The pipeline's parameters by name.
    """

    model: Model
    parameters: Mapping[str, Variable]

    def artifact_uri(self, *path: Variable) -> Variable:
        """Return an address in the artifact bucket."""
        return text("s3://", self.parameters["ArtifactBucket"], "/", *path)

    def run_uri(self, step: str, output: str = "") -> Variable:
        """Return the address of a step's output; each execution has a folder of its own."""
        return self.artifact_uri(
            f"runs/{self.model.name}/", ExecutionVariables.PIPELINE_EXECUTION_ID, f"/{step}" + (output and f"/{output}")
        )

    def tool(
        self,
        step: str,
        *,
        script: Variable,
        environment: Mapping[str, Variable],
        output: str,
        entrypoint: Sequence[str] = TOOL_ENTRYPOINT,
    ) -> dict[str, object]:
        """Return a `CreateProcessingJob` request for a program of ours that calls AWS, hence without isolation."""
        return {
            **self._processing(step, [("script", script, "S3Prefix")], [output], isolated=False),
            "AppSpecification": {"ImageUri": self.parameters["ImageUri"], "ContainerEntrypoint": list(entrypoint)},
            "Environment": dict(environment),
            "RoleArn": self.parameters["ToolRoleArn"],
        }

    def script(
        self,
        step: str,
        *,
        program: str,
        arguments: Sequence[Variable] = (),
        inputs: Sequence[tuple[str, Variable, str]],
        outputs: Sequence[str],
    ) -> dict[str, object]:
        """Return a `CreateProcessingJob` request for one of the model's scripts, under network isolation.

        Args:
            step: The step's name.
            program: The script's file name.
            arguments: The script's arguments.
            inputs: Name, address and kind (`S3Prefix` or `ManifestFile`) of each; `code` must be among them.
            outputs: Names of the folders that are uploaded.
        """
        specification = {
            "ImageUri": self.parameters["ImageUri"],
            "ContainerEntrypoint": ["python3", f"{INPUT}/code/{program}"],
            **({"ContainerArguments": list(arguments)} if arguments else {}),
        }
        return {
            **self._processing(step, inputs, outputs, isolated=True),
            "AppSpecification": specification,
            "Environment": self._cache_scope(),
            "RoleArn": self.parameters["JobRoleArn"],
        }

    def baseline(self, step: str, *, inputs: Sequence[tuple[str, Variable, str]], output: str) -> dict[str, object]:
        """Return a `CreateProcessingJob` request for the analyzer, which runs the model's code and so is isolated."""
        given = [
            ("analyzer", self.parameters["AnalyzerUri"], "S3Prefix"),
            ("settings", self.parameters["BaselineSettingsUri"], "S3Prefix"),
        ]
        return {
            **self._processing(step, [*given, *inputs], [output], isolated=True),
            "AppSpecification": {
                "ImageUri": self.parameters["ImageUri"],
                "ContainerEntrypoint": ANALYZER_ENTRYPOINT,
            },
            "RoleArn": self.parameters["JobRoleArn"],
        }

    def _cache_scope(self) -> dict[str, Variable]:
        """Return the variable that separates caches: a step is reused only by runs with the same scope."""
        return {"CACHE_SCOPE": self.parameters["CacheScope"]}

    def training(self, step: str, *, train: Variable, code: Variable) -> dict[str, object]:
        """Return the `CreateTrainingJob` request: script mode, with the code as a channel, as there is no network."""
        training = self.model.training
        hyperparameters = {
            "sagemaker_program": json.dumps("train.py"),
            "sagemaker_submit_directory": json.dumps("/opt/ml/input/data/code"),
            "seed": self.parameters["Seed"].to_string(),
            **{name: quoted(default, self.parameters[name]) for name, default in training.hyperparameters.items()},
        }
        return {
            "AlgorithmSpecification": {"TrainingImage": self.parameters["ImageUri"], "TrainingInputMode": "File"},
            "Environment": {**self._cache_scope(), **TRAINING_ENVIRONMENT},
            "HyperParameters": hyperparameters,
            "InputDataConfig": [_channel("train", train, "text/csv"), _channel("code", code)],
            "OutputDataConfig": {"S3OutputPath": self.run_uri(step), "KmsKeyId": self.parameters["KmsKeyArn"]},
            "ResourceConfig": {
                "InstanceCount": training.instance_count,
                "InstanceType": self.parameters["TrainingInstanceType"],
                "VolumeSizeInGB": training.volume_gb,
                **self._volume_key(training.instance_type),
            },
            "StoppingCondition": {"MaxRuntimeInSeconds": training.max_runtime_minutes * 60},
            "EnableNetworkIsolation": True,
            "EnableInterContainerTrafficEncryption": True,
            "RoleArn": self.parameters["JobRoleArn"],
        }

    def package(
        self,
        *,
        artifact: Variable,
        description: Variable,
        metadata: Mapping[str, Variable],
        evaluation: Variable,
        payload: Variable,
        code: Variable,
        baselines: Mapping[str, Variable],
        card: Variable,
    ) -> dict[str, object]:
        """Return the `CreateModelPackage` request; a person must approve the package."""
        container: ModelPackageContainerDefinitionTypeDef = {
            "Image": self.parameters["ImageUri"],
            "ModelDataUrl": artifact,
            "Environment": SERVING_ENVIRONMENT,
            "Framework": self.model.framework.name.upper(),
            "FrameworkVersion": self.model.framework.version,
        }
        instance_types = sorted(
            {serving.instance_type for serving in self.model.serving.values() if serving.profile == "realtime"}
        )
        # Optional for a version of a group, and SageMaker offers half of the processing types only.
        transform = self.model.processing.instance_type
        return {
            "ModelPackageGroupName": self.parameters["ModelPackageGroupName"],
            "ModelPackageDescription": description,
            "ModelApprovalStatus": "PendingManualApproval",
            "InferenceSpecification": {
                "Containers": [container],
                "SupportedContentTypes": CONTENT_TYPES,
                "SupportedResponseMIMETypes": RESPONSE_TYPES,
                **({"SupportedTransformInstanceTypes": [transform]} if transform in offered("transform") else {}),
                **({"SupportedRealtimeInferenceInstanceTypes": instance_types} if instance_types else {}),
            },
            "ModelMetrics": {"ModelQuality": {"Statistics": {"ContentType": "application/json", "S3Uri": evaluation}}},
            "MetadataProperties": {
                "CommitId": self.parameters["CommitId"],
                "GeneratedBy": ExecutionVariables.PIPELINE_EXECUTION_ARN,
            },
            "CustomerMetadataProperties": dict(metadata),
            "Domain": "MACHINE_LEARNING",
            "Task": "REGRESSION" if self.model.problem_type == "regression" else "CLASSIFICATION",
            **({"DriftCheckBaselines": drift_check_baselines(baselines)} if baselines else {}),
            "ModelCard": {"ModelCardContent": card, "ModelCardStatus": "PendingReview"},
            "SamplePayloadUrl": payload,
            "SourceUri": code,
        }

    def _processing(
        self, step: str, inputs: Sequence[tuple[str, Variable, str]], outputs: Sequence[str], *, isolated: bool
    ) -> dict[str, object]:
        processing = self.model.processing
        return {
            "ProcessingInputs": [_input(name, uri, kind) for name, uri, kind in inputs],
            "ProcessingOutputConfig": {
                "Outputs": [_output(name, self.run_uri(step, name)) for name in outputs],
                "KmsKeyId": self.parameters["KmsKeyArn"],
            },
            "ProcessingResources": {
                "ClusterConfig": {
                    "InstanceCount": 1,
                    "InstanceType": self.parameters["ProcessingInstanceType"],
                    "VolumeSizeInGB": processing.volume_gb,
                    **self._volume_key(processing.instance_type),
                }
            },
            "StoppingCondition": {"MaxRuntimeInSeconds": processing.max_runtime_minutes * 60},
            "NetworkConfig": {"EnableNetworkIsolation": isolated, "EnableInterContainerTrafficEncryption": True},
        }

    def _volume_key(self, instance_type: str) -> dict[str, Variable]:
        """Return the volume's key, or none for a type with local NVMe, for which SageMaker refuses one."""
        return {} if has_local_disk(instance_type) else {"VolumeKmsKeyId": self.parameters["KmsKeyArn"]}


def drift_check_baselines(baselines: Mapping[str, Variable]) -> dict[str, object]:
    """Return `DriftCheckBaselines` for the baselines' addresses by file (see `pipelines.names.BASELINES`)."""
    places = {
        "data-quality/statistics.json": ("ModelDataQuality", "Statistics"),
        "data-quality/constraints.json": ("ModelDataQuality", "Constraints"),
        "model-quality/statistics.json": ("ModelQuality", "Statistics"),
        "model-quality/constraints.json": ("ModelQuality", "Constraints"),
        "bias/analysis.json": ("Bias", "PostTrainingConstraints"),
        "explainability/analysis.json": ("Explainability", "Constraints"),
    }
    found: dict[str, dict[str, object]] = {}
    for file, uri in baselines.items():
        section, name = places[file]
        found.setdefault(section, {})[name] = {"ContentType": "application/json", "S3Uri": uri}
    return dict(found)


def quoted(default: bool | int | float | str, parameter: Variable) -> Variable:
    """Return a hyperparameter as the training toolkit reads it: JSON, so a string is in quotes."""
    return text('"', parameter, '"') if isinstance(default, str) else parameter.to_string()


def _input(name: str, uri: Variable, kind: Any) -> ProcessingInputTypeDef:
    return {
        "InputName": name,
        "S3Input": {"S3Uri": uri, "LocalPath": f"{INPUT}/{name}", "S3DataType": kind, "S3InputMode": "File"},
    }


def _output(name: str, uri: Variable) -> ProcessingOutputTypeDef:
    return {
        "OutputName": name,
        "S3Output": {"S3Uri": uri, "LocalPath": f"{OUTPUT}/{name}", "S3UploadMode": "EndOfJob"},
    }


def _channel(name: str, uri: Variable, content_type: str | None = None) -> ChannelTypeDef:
    channel: ChannelTypeDef = {
        "ChannelName": name,
        "DataSource": {
            "S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
        },
    }
    if content_type:
        channel["ContentType"] = content_type
    return channel
