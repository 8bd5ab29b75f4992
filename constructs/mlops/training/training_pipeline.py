"""A model's package group, its code and its SageMaker Pipeline."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_s3_assets as s3_assets
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from constructs.mlops.foundation.across_accounts import Foreigner, registry_policy
from constructs.mlops.foundation.permissions import arn
from constructs.mlops.monitoring.monitor_jobs import AnalyzerCode, TextFile
from constructs.mlops.training.job_roles import ContainerPermissions, pipeline_role

_STEPS = Path(__file__).parents[3] / "pipelines" / "steps"
_OWN_OBJECTS = "This model's own objects; their keys hold dates, executions and hashes."


class PackageGroup(Construct):
    """A model's versions in the registry.

    Retained when the stack goes: its packages say what was served, when and why, and SageMaker does not delete a group
    that has any.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        name: str,
        description: str,
        readers: Sequence[Foreigner] = (),
    ) -> None:
        """Make it.

        Args:
            readers: Release controllers of other accounts.
        """
        super().__init__(scope, construct_id)
        self.name = name
        group = sagemaker.CfnModelPackageGroup(
            self,
            "Group",
            model_package_group_name=name,
            model_package_group_description=description,
            model_package_group_policy=registry_policy(self, group=name, foreigners=readers),
        )
        group.apply_removal_policy(cdk.RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE)


class TrainingPipeline(Construct):
    """Snapshot, preprocess, train, evaluate, register: the compiled definition, with this account's names filled in.

    The model's own scripts run with `job_role` and without a network. Snapshot and record call AWS, so they have a
    network and `tool_role`, and run no code of the model.

    Args:
        baseline_settings: What the baseline step reads (`constructs.mlops.monitoring.monitors.baseline_settings`).
        definition: The compiled pipeline; names in `${}` are filled in here.
        record: Name of the release record that names the champion.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        name: str,
        model: str,
        description: str,
        definition: str,
        folder: Path,
        baseline_settings: str,
        image_uri: str,
        raw_prefix: str,
        group: PackageGroup,
        record: str,
        data: s3.IBucket,
        artifacts: s3.IBucket,
        key: kms.IKey,
    ) -> None:
        super().__init__(scope, construct_id)
        code = s3_assets.Asset(
            self,
            "Code",
            path=str(folder),
            exclude=["model.yaml", "data.py", "__pycache__", ".*"],
            ignore_mode=cdk.IgnoreMode.GIT,
        )
        snapshot = s3_assets.Asset(self, "Snapshot", path=str(_STEPS / "snapshot.py"))
        record_script = s3_assets.Asset(
            self,
            "Record",
            path=str(_STEPS),
            exclude=["*", "!record.py", "!model_card.py"],
            ignore_mode=cdk.IgnoreMode.GIT,
        )
        analyzer = AnalyzerCode(self, "Analyzer").asset
        settings = TextFile(self, "Baselines", text=baseline_settings).asset
        self.job_role = self._job_role(model, raw_prefix, image_uri, data, artifacts, key, [analyzer, settings])
        self.tool_role = self._tool_role(
            name, model, record, raw_prefix, image_uri, data, artifacts, key, [code, snapshot, record_script]
        )
        self.role = pipeline_role(
            self,
            group=group.name,
            job_role=self.job_role,
            tool_role=self.tool_role,
            key=key,
            artifacts=artifacts,
            model=model,
        )
        values = {
            "ImageUri": image_uri,
            "ModelPackageGroupName": group.name,
            "DataBucket": data.bucket_name,
            "ArtifactBucket": artifacts.bucket_name,
            "KmsKeyArn": key.key_arn,
            "JobRoleArn": self.job_role.role_arn,
            "ToolRoleArn": self.tool_role.role_arn,
            "ReleaseParameter": record,
            "CodeUri": code.s3_object_url,
            "SnapshotScriptUri": snapshot.s3_object_url,
            "RecordScriptUri": record_script.s3_object_url,
            "AnalyzerUri": analyzer.s3_object_url,
            "BaselineSettingsUri": settings.s3_object_url,
        }
        self.pipeline = sagemaker.CfnPipeline(
            self,
            "Pipeline",
            pipeline_name=name,
            pipeline_description=description,
            pipeline_definition={"PipelineDefinitionBody": cdk.Fn.sub(definition, _wanted(definition, values))},
            role_arn=self.role.role_arn,
        )

    def _job_role(
        self,
        model: str,
        raw_prefix: str,
        image_uri: str,
        data: s3.IBucket,
        artifacts: s3.IBucket,
        key: kms.IKey,
        assets: list[s3_assets.Asset],
    ) -> iam.Role:
        permissions = ContainerPermissions(
            self, image_uri=image_uri, log_groups=["ProcessingJobs", "TrainingJobs"], key=key
        )
        permissions.allow_reading(data, raw_prefix, because=_OWN_OBJECTS)
        read = [f"{folder}/{model}/" for folder in ("code", "datasets", "runs", "releases")]
        permissions.allow_reading(artifacts, *read, because=_OWN_OBJECTS)
        permissions.allow_writing(artifacts, f"runs/{model}/", because=_OWN_OBJECTS)
        permissions.allow_reading_assets(assets)
        return permissions.attach(
            self, "JobRole", description=f"Preprocesses, trains and evaluates {model}, without a network"
        )

    def _tool_role(
        self,
        pipeline: str,
        model: str,
        record: str,
        raw_prefix: str,
        image_uri: str,
        data: s3.IBucket,
        artifacts: s3.IBucket,
        key: kms.IKey,
        assets: list[s3_assets.Asset],
    ) -> iam.Role:
        permissions = ContainerPermissions(self, image_uri=image_uri, log_groups=["ProcessingJobs"], key=key)
        permissions.allow_reading(data, raw_prefix, versions=True, because=_OWN_OBJECTS)
        read = [f"{folder}/{model}/" for folder in ("code", "datasets", "runs", "packages", "releases")]
        permissions.allow_reading(artifacts, *read, because=_OWN_OBJECTS)
        written = [f"{folder}/{model}/" for folder in ("code", "datasets", "runs", "packages")]
        permissions.allow_writing(artifacts, *written, because=_OWN_OBJECTS)
        permissions.allow_reading_assets(assets)
        permissions.allow(["ssm:GetParameter"], on=[arn(self, "ssm", f"parameter{record}")])
        permissions.allow(
            ["sagemaker:DescribePipelineExecution"],
            on=[arn(self, "sagemaker", f"pipeline/{pipeline}/execution/*")],
            because="Who started a run is written into its record; SageMaker makes the ids of this pipeline's runs.",
        )
        return permissions.attach(
            self, "ToolRole", description=f"Takes the snapshot of {model}'s data and writes its registration record"
        )


def _wanted(definition: str, values: dict[str, str]) -> dict[str, str]:
    """Values of the names that the definition holds.

    Raises:
        ValueError: If it holds a name that has no value.
    """
    names = set(re.findall(r"\$\{([A-Za-z]+)\}", definition))
    if unknown := sorted(names - values.keys()):
        raise ValueError(f"the pipeline definition wants {', '.join(unknown)}, which the stack does not have")
    return {name: values[name] for name in sorted(names)}
