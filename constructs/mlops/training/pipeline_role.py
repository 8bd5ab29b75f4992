"""The role of a model's SageMaker Pipeline."""

from __future__ import annotations

from aws_cdk import aws_iam as iam
from constructs import Construct

from constructs.mlops.foundation.buckets import Bucket
from constructs.mlops.foundation.encryption_key import EncryptionKey
from constructs.mlops.foundation.permissions import Permissions, arn

_SAGEMAKER = "sagemaker.amazonaws.com"
_RUNS = "The runs and packages of this model; their keys contain the execution's id."
_VERSIONS = "The versions of this model's own package group."


def pipeline_role(
    scope: Construct,
    *,
    model: str,
    group: str,
    job_role: iam.IRole,
    tool_role: iam.IRole,
    artifacts: Bucket,
    key: EncryptionKey,
) -> iam.Role:
    """Define the role of a model's pipeline: it starts jobs with their two roles and registers versions for approval.

    Args:
        scope: The parent of the role.
        model: The model's name.
        group: The name of the model's package group.
        job_role: The role of the model's own scripts.
        tool_role: The role of the steps that call AWS.
        artifacts: The bucket of runs and packages.
        key: The stage's key.
    """
    permissions = Permissions()
    registry = [
        arn(scope, "sagemaker", f"model-package-group/{group}"),
        arn(scope, "sagemaker", f"model-package/{group}/*"),
    ]
    for kind, what in (("processing-job", "ProcessingJob"), ("training-job", "TrainingJob")):
        permissions.allow(
            [f"sagemaker:{verb}{what}" for verb in ("Create", "Describe", "Stop")] + ["sagemaker:AddTags"],
            on=[arn(scope, "sagemaker", f"{kind}/pipelines-*")],
            because="SageMaker Pipelines generates the names of its jobs: pipelines-<execution>-<step>-<random>.",
        )
    permissions.allow(
        ["iam:PassRole"],
        on=[job_role.role_arn, tool_role.role_arn],
        conditions={"StringEquals": {"iam:PassedToService": _SAGEMAKER}},
    )
    permissions.allow(
        ["sagemaker:CreateModelPackage"],
        on=registry,
        # Only people approve.
        conditions={"StringEquals": {"sagemaker:ModelApprovalStatus": "PendingManualApproval"}},
        because=_VERSIONS,
    )
    permissions.allow(
        ["sagemaker:DescribeModelPackage", "sagemaker:DescribeModelPackageGroup", "sagemaker:AddTags"],
        on=registry,
        because=_VERSIONS,
    )
    written = [f"{folder}/{model}/" for folder in ("runs", "packages")]
    artifacts.grant_read_folders(permissions, *written, because=_RUNS)
    key.grant_use_by_jobs(permissions)
    return permissions.role(
        scope, "PipelineRole", service=_SAGEMAKER, description=f"Starts the jobs of {model} and registers its versions"
    )
