"""Roles that SageMaker takes on in a container, and what they have in common."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_s3_assets as s3_assets
from constructs import Construct

from constructs.mlops.foundation.permissions import Permissions, arn

_SAGEMAKER = "sagemaker.amazonaws.com"
_RUNS = "This model's own runs; their keys hold the execution's id."


class ContainerPermissions(Permissions):
    """What a container's role may do: pull the framework's image, log, use the stage's key, and more.

    Args:
        image_uri: The framework's image; its registry and repository are the only ones that can be pulled from.
        log_groups: Name of the log group that SageMaker writes for this kind of container, or its beginning.
    """

    def __init__(self, scope: Construct, *, image_uri: str, log_groups: Sequence[str], key: kms.IKey) -> None:
        super().__init__()
        self._scope = scope
        self.allow_pulling(image_uri)
        self.allow(
            ["ecr:GetAuthorizationToken"],
            on=["*"],
            because="ECR authorises GetAuthorizationToken on all resources only; what is pulled is one repository.",
        )
        self.allow(
            ["cloudwatch:PutMetricData"],
            on=["*"],
            conditions={"StringLike": {"cloudwatch:namespace": "/aws/sagemaker/*"}},
            because="CloudWatch authorises PutMetricData on all resources only; the condition leaves SageMaker's.",
        )
        self.allow(
            ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"],
            on=[arn(scope, "logs", f"log-group:/aws/sagemaker/{name}:*") for name in log_groups],
            because="SageMaker chooses the names of the log streams in its own log groups.",
        )
        self.allow(["kms:Decrypt", "kms:GenerateDataKey", "kms:DescribeKey"], on=[key.key_arn])
        # SageMaker makes a grant for the encrypted disk of a job.
        self.allow(["kms:CreateGrant"], on=[key.key_arn], conditions={"Bool": {"kms:GrantIsForAWSResource": "true"}})

    def allow_pulling(self, *image_uris: str) -> None:
        """Let it pull images, each from its own registry and repository."""
        self.allow(
            ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
            on=[_repository(self._scope, image_uri) for image_uri in image_uris],
        )

    def allow_reading(self, bucket: s3.IBucket, *prefixes: str, because: str, versions: bool = False) -> None:
        """Let it read what lies under some prefixes of a bucket, and list it; old versions too where asked for."""
        self.allow(
            ["s3:GetObject", *(["s3:GetObjectVersion"] if versions else [])],
            on=_objects(bucket, prefixes),
            because=because,
        )
        self.allow(
            ["s3:ListBucket", *(["s3:ListBucketVersions"] if versions else [])],
            on=[bucket.bucket_arn],
            conditions={"StringLike": {"s3:prefix": [f"{prefix}*" for prefix in prefixes]}},
        )

    def allow_reading_assets(self, assets: Sequence[s3_assets.Asset]) -> None:
        """Let it read some of the application's CDK assets, which all lie in one bucket."""
        if not assets:
            return
        bucket, keys = assets[0].bucket.bucket_arn, [asset.s3_object_key for asset in assets]
        self.allow(["s3:GetObject"], on=[f"{bucket}/{name}" for name in keys])
        self.allow(
            ["s3:ListBucket"],
            on=[bucket],
            conditions={"StringLike": {"s3:prefix": [f"{name}*" for name in keys]}},
        )

    def allow_writing(self, bucket: s3.IBucket, *prefixes: str, because: str) -> None:
        """Let it write under some prefixes of a bucket."""
        self.allow(
            ["s3:PutObject", "s3:AbortMultipartUpload"],
            on=_objects(bucket, prefixes),
            because=because,
        )

    def attach(self, scope: Construct, construct_id: str, *, description: str) -> iam.Role:
        """Make the role."""
        return self.role(scope, construct_id, service=_SAGEMAKER, description=description)


def _repository(scope: Construct, image_uri: str) -> str:
    registry, _, repository = image_uri.partition("/")
    return arn(scope, "ecr", f"repository/{repository.partition(':')[0]}", account=registry.partition(".")[0])


def _objects(bucket: s3.IBucket, prefixes: Sequence[str]) -> list[str]:
    address = bucket.bucket_arn
    return [f"{address}/{prefix}*" for prefix in prefixes]


def pipeline_role(scope: Construct, *, group: str, job_role: iam.IRole, tool_role: iam.IRole, key: kms.IKey,
                  artifacts: s3.IBucket, model: str) -> iam.Role:  # fmt: skip
    """The role of a model's pipeline: it starts jobs, hands them their two roles, and registers for approval."""
    permissions = Permissions()
    registry = [
        arn(scope, "sagemaker", f"model-package-group/{group}"),
        arn(scope, "sagemaker", f"model-package/{group}/*"),
    ]
    for kind, what in (("processing-job", "ProcessingJob"), ("training-job", "TrainingJob")):
        permissions.allow(
            [f"sagemaker:{verb}{what}" for verb in ("Create", "Describe", "Stop")] + ["sagemaker:AddTags"],
            on=[arn(scope, "sagemaker", f"{kind}/pipelines-*")],
            because="SageMaker Pipelines names the jobs of its steps pipelines-<execution>-<step>-<random>.",
        )
    permissions.allow(
        ["iam:PassRole"],
        on=[job_role.role_arn, tool_role.role_arn],
        conditions={"StringEquals": {"iam:PassedToService": _SAGEMAKER}},
    )
    permissions.allow(
        ["sagemaker:CreateModelPackage"],
        on=registry,
        # Approving is for people.
        conditions={"StringEquals": {"sagemaker:ModelApprovalStatus": "PendingManualApproval"}},
        because="The versions of this model's own package group.",
    )
    permissions.allow(
        ["sagemaker:DescribeModelPackage", "sagemaker:DescribeModelPackageGroup", "sagemaker:AddTags"],
        on=registry,
        because="The versions of this model's own package group.",
    )
    written = [f"{folder}/{model}/" for folder in ("runs", "packages")]
    permissions.allow(["s3:GetObject"], on=_objects(artifacts, written), because=_RUNS)
    permissions.allow(
        ["s3:ListBucket"],
        on=[artifacts.bucket_arn],
        conditions={"StringLike": {"s3:prefix": [f"{prefix}*" for prefix in written]}},
    )
    permissions.allow(["kms:Decrypt", "kms:GenerateDataKey", "kms:DescribeKey"], on=[key.key_arn])
    permissions.allow(
        ["kms:CreateGrant"],
        on=[key.key_arn],
        conditions={"Bool": {"kms:GrantIsForAWSResource": "true"}},
    )
    return permissions.role(
        scope, "PipelineRole", service=_SAGEMAKER, description=f"Starts the jobs of {model} and registers its versions"
    )
