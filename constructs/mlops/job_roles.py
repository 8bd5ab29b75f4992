"""Roles that SageMaker takes on in a container, and what they have in common."""

from __future__ import annotations

from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_s3_assets as s3_assets
from constructs import Construct

from constructs.mlops.permissions import Permissions, arn


class ContainerRole(Construct):
    """A role for containers: it can pull the framework's image, write logs and metrics, and use the stage's key.

    What else it may do is added to `permissions`; `attach` then makes the policy of all of it.

    Args:
        image_uri: The framework's image; its registry and repository are the only ones that can be pulled from.
        log_groups: Name of the log group that SageMaker writes for this kind of container, or its beginning.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        description: str,
        image_uri: str,
        log_groups: Sequence[str],
        key: kms.IKey,
    ) -> None:
        super().__init__(scope, construct_id)
        self.role = iam.Role(
            self, "Role", assumed_by=iam.ServicePrincipal("sagemaker.amazonaws.com"), description=description
        )
        self.permissions = Permissions()
        self.allow_pulling(image_uri)
        self.permissions.allow(
            ["ecr:GetAuthorizationToken"],
            on=["*"],
            because="ECR authorises GetAuthorizationToken on all resources only; what is pulled is one repository.",
        )
        self.permissions.allow(
            ["cloudwatch:PutMetricData"],
            on=["*"],
            conditions={"StringLike": {"cloudwatch:namespace": "/aws/sagemaker/*"}},
            because="CloudWatch authorises PutMetricData on all resources only; the condition leaves SageMaker's.",
        )
        self.permissions.allow(
            ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"],
            on=[
                cdk.Stack.of(self).format_arn(
                    service="logs",
                    resource="log-group",
                    resource_name=f"/aws/sagemaker/{name}:*",
                    arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME,
                )
                for name in log_groups
            ],
            because="SageMaker chooses the names of the log streams in its own log groups.",
        )
        self.permissions.allow(["kms:Decrypt", "kms:GenerateDataKey", "kms:DescribeKey"], on=[key.key_arn])

    def allow_pulling(self, *image_uris: str) -> None:
        """Let it pull images, each from its own registry and repository."""
        self.permissions.allow(
            ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
            on=[_repository(self, image_uri) for image_uri in image_uris],
        )

    def allow_reading(self, bucket: s3.IBucket, *prefixes: str, because: str, versions: bool = False) -> None:
        """Let it read what lies under some prefixes of a bucket, and list it; old versions too where asked for."""
        self.permissions.allow(
            ["s3:GetObject", *(["s3:GetObjectVersion"] if versions else [])],
            on=_objects(bucket, prefixes),
            because=because,
        )
        self.permissions.allow(
            ["s3:ListBucket", *(["s3:ListBucketVersions"] if versions else [])],
            on=[bucket.bucket_arn],
            conditions={"StringLike": {"s3:prefix": [f"{prefix}*" for prefix in prefixes]}},
        )

    def allow_reading_assets(self, assets: Sequence[s3_assets.Asset]) -> None:
        """Let it read some of the application's CDK assets, which all lie in one bucket."""
        if not assets:
            return
        self.permissions.allow(
            ["s3:GetObject"], on=[asset.bucket.arn_for_objects(asset.s3_object_key) for asset in assets]
        )
        self.permissions.allow(
            ["s3:ListBucket"],
            on=[assets[0].bucket.bucket_arn],
            conditions={"StringLike": {"s3:prefix": [f"{asset.s3_object_key}*" for asset in assets]}},
        )

    def allow_writing(self, bucket: s3.IBucket, *prefixes: str, because: str) -> None:
        """Let it write under some prefixes of a bucket."""
        self.permissions.allow(
            ["s3:PutObject", "s3:AbortMultipartUpload"],
            on=_objects(bucket, prefixes),
            because=because,
        )

    def attach(self) -> iam.Role:
        """Give the role its policy; nothing can be allowed afterwards."""
        self.permissions.attach_to(self.role)
        return self.role


def _repository(scope: Construct, image_uri: str) -> str:
    registry, _, repository = image_uri.partition("/")
    return cdk.Stack.of(scope).format_arn(
        service="ecr",
        account=registry.partition(".")[0],
        resource="repository",
        resource_name=repository.partition(":")[0],
    )


def _objects(bucket: s3.IBucket, prefixes: Sequence[str]) -> list[str]:
    address = bucket.bucket_arn
    return [f"{address}/{prefix}*" for prefix in prefixes]


def pipeline_role(scope: Construct, *, group: str, job_role: iam.IRole, tool_role: iam.IRole, key: kms.IKey,
                  artifacts: s3.IBucket, model: str) -> iam.Role:  # fmt: skip
    """The role of a model's pipeline: it starts jobs, hands them their two roles, and registers for approval."""
    role = iam.Role(scope, "PipelineRole", assumed_by=iam.ServicePrincipal("sagemaker.amazonaws.com"))
    permissions = Permissions()
    for kind, what in (("processing-job", "ProcessingJob"), ("training-job", "TrainingJob")):
        permissions.allow(
            [f"sagemaker:{verb}{what}" for verb in ("Create", "Describe", "Stop")] + ["sagemaker:AddTags"],
            on=[arn(scope, "sagemaker", f"{kind}/pipelines-*")],
            because="SageMaker Pipelines names the jobs of its steps pipelines-<execution>-<step>-<random>.",
        )
    permissions.allow(
        ["iam:PassRole"],
        on=[job_role.role_arn, tool_role.role_arn],
        conditions={"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
    )
    permissions.allow(
        ["sagemaker:CreateModelPackage"],
        on=[
            arn(scope, "sagemaker", f"model-package-group/{group}"),
            arn(scope, "sagemaker", f"model-package/{group}/*"),
        ],
        # Approving is for people.
        conditions={"StringEquals": {"sagemaker:ModelApprovalStatus": "PendingManualApproval"}},
        because="The versions of this model's own package group.",
    )
    permissions.allow(
        ["sagemaker:DescribeModelPackage", "sagemaker:AddTags"],
        on=[arn(scope, "sagemaker", f"model-package/{group}/*")],
        because="The versions of this model's own package group.",
    )
    permissions.allow(
        ["s3:GetObject"],
        on=[artifacts.arn_for_objects(f"runs/{model}/*")],
        because="Conditions read the property files that this model's own runs wrote.",
    )
    permissions.allow(["kms:Decrypt", "kms:GenerateDataKey", "kms:DescribeKey"], on=[key.key_arn])
    permissions.allow(
        ["kms:CreateGrant"],
        on=[key.key_arn],
        conditions={"Bool": {"kms:GrantIsForAWSResource": "true"}},
    )
    permissions.attach_to(role)
    return role
