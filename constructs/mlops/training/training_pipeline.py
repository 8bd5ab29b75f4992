"""A model's SageMaker Pipeline with its code and roles."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3_assets as s3_assets
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from constructs.mlops.foundation.assets import AnalyzerCode, TextFile
from constructs.mlops.foundation.buckets import ArtifactBucket, Bucket
from constructs.mlops.foundation.container_permissions import ContainerPermissions
from constructs.mlops.foundation.encryption_key import EncryptionKey
from constructs.mlops.foundation.permissions import arn
from constructs.mlops.training.package_group import PackageGroup
from constructs.mlops.training.pipeline_role import pipeline_role

_STEPS = Path(__file__).parents[3] / "pipelines" / "steps"
_OWN_OBJECTS = "The objects of this model; their keys contain dates, executions and hashes."


@dataclass(frozen=True)
class TrainingSettings:
    """The settings of one model's training.

    Attributes:
        name: The pipeline's name.
        model: The model's name.
        description: The model's description.
        definition: The compiled pipeline; the names in `${}` are replaced at deployment.
        folder: The folder of the model's scripts.
        baseline_settings: The input of the baseline step (`constructs.mlops.monitoring.monitors.baseline_settings`).
        image_uri: The framework's image.
        raw_prefix: The prefix of the model's raw data.
        record: The name of the release record that names the champion.
    """

    name: str
    model: str
    description: str
    definition: str
    folder: Path
    baseline_settings: str
    image_uri: str
    raw_prefix: str
    record: str


class TrainingPipeline(Construct):
    """The compiled pipeline with this account's names: snapshot, preprocess, train, evaluate, register.

    The model's own scripts run under `job_role`, without a network. Snapshot and record call AWS, so they run under
    `tool_role` with a network, and execute none of the model's code.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: TrainingSettings,
        group: PackageGroup,
        data: Bucket,
        artifacts: ArtifactBucket,
        key: EncryptionKey,
    ) -> None:
        super().__init__(scope, construct_id)
        self._settings, self._data, self._artifacts, self._key = settings, data, artifacts, key
        code = s3_assets.Asset(
            self,
            "Code",
            path=str(settings.folder),
            exclude=["model.yaml", "data.py", "__pycache__", ".*"],
            ignore_mode=cdk.IgnoreMode.GIT,
        )
        snapshot = s3_assets.Asset(self, "Snapshot", path=str(_STEPS / "snapshot.py"))
        record = s3_assets.Asset(
            self,
            "Record",
            path=str(_STEPS),
            exclude=["*", "!record.py", "!model_card.py"],
            ignore_mode=cdk.IgnoreMode.GIT,
        )
        analyzer = AnalyzerCode(self, "Analyzer").asset
        baselines = TextFile(self, "Baselines", text=settings.baseline_settings).asset
        self.job_role = self._job_role([analyzer, baselines])
        self.tool_role = self._tool_role([code, snapshot, record])
        self.role = pipeline_role(
            self,
            model=settings.model,
            group=group.name,
            job_role=self.job_role,
            tool_role=self.tool_role,
            artifacts=artifacts,
            key=key,
        )
        values = {
            "ImageUri": settings.image_uri,
            "ModelPackageGroupName": group.name,
            "DataBucket": data.name,
            "ArtifactBucket": artifacts.name,
            "KmsKeyArn": key.arn,
            "JobRoleArn": self.job_role.role_arn,
            "ToolRoleArn": self.tool_role.role_arn,
            "ReleaseParameter": settings.record,
            "CodeUri": code.s3_object_url,
            "SnapshotScriptUri": snapshot.s3_object_url,
            "RecordScriptUri": record.s3_object_url,
            "AnalyzerUri": analyzer.s3_object_url,
            "BaselineSettingsUri": baselines.s3_object_url,
        }
        self.pipeline = sagemaker.CfnPipeline(
            self,
            "Pipeline",
            pipeline_name=settings.name,
            pipeline_description=settings.description,
            pipeline_definition={
                "PipelineDefinitionBody": cdk.Fn.sub(settings.definition, _used(settings.definition, values))
            },
            role_arn=self.role.role_arn,
        )

    def _job_role(self, assets: Sequence[s3_assets.Asset]) -> iam.Role:
        settings, model = self._settings, self._settings.model
        permissions = ContainerPermissions(
            self, image_uri=settings.image_uri, log_groups=["ProcessingJobs", "TrainingJobs"], key=self._key
        )
        self._data.grant_read_folders(permissions, settings.raw_prefix, because=_OWN_OBJECTS)
        read = [f"{folder}/{model}/" for folder in ("code", "datasets", "runs", "releases")]
        self._artifacts.grant_read_folders(permissions, *read, because=_OWN_OBJECTS)
        self._artifacts.grant_write_folders(permissions, f"runs/{model}/", because=_OWN_OBJECTS)
        permissions.allow_reading_assets(assets)
        return permissions.container_role(
            self, "JobRole", description=f"Preprocesses, trains and evaluates {model}, without a network"
        )

    def _tool_role(self, assets: Sequence[s3_assets.Asset]) -> iam.Role:
        settings, model = self._settings, self._settings.model
        permissions = ContainerPermissions(
            self, image_uri=settings.image_uri, log_groups=["ProcessingJobs"], key=self._key
        )
        self._data.grant_read_folders(permissions, settings.raw_prefix, because=_OWN_OBJECTS, old_versions=True)
        read = [f"{folder}/{model}/" for folder in ("code", "datasets", "runs", "packages", "releases")]
        self._artifacts.grant_read_folders(permissions, *read, because=_OWN_OBJECTS)
        written = [f"{folder}/{model}/" for folder in ("code", "datasets", "runs", "packages")]
        self._artifacts.grant_write_folders(permissions, *written, because=_OWN_OBJECTS)
        permissions.allow_reading_assets(assets)
        permissions.allow(["ssm:GetParameter"], on=[arn(self, "ssm", f"parameter{settings.record}")])
        permissions.allow(
            ["sagemaker:DescribePipelineExecution"],
            on=[arn(self, "sagemaker", f"pipeline/{settings.name}/execution/*")],
            because="The record states who started the run; SageMaker generates the ids of this pipeline's runs.",
        )
        return permissions.container_role(
            self, "ToolRole", description=f"Takes the snapshot of {model}'s data and writes its registration record"
        )


def _used(definition: str, values: dict[str, str]) -> dict[str, str]:
    """Return the values of the names that a pipeline definition contains.

    Raises:
        ValueError: The definition contains a name that has no value.
    """
    names = set(re.findall(r"\$\{([A-Za-z]+)\}", definition))
    if unknown := sorted(names - values.keys()):
        raise ValueError(
            f"the pipeline definition needs values for {', '.join(unknown)}, which the stack does not have"
        )
    return {name: values[name] for name in sorted(names)}
