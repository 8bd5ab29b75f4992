"""Permissions of the roles that SageMaker assumes for a container."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3_assets as s3_assets
from constructs import Construct

from constructs.mlops.foundation.encryption_key import EncryptionKey
from constructs.mlops.foundation.permissions import Permissions, arn


class ContainerPermissions(Permissions):
    """Permissions that every container needs: pull its image, write logs and metrics, use the stage's key."""

    def __init__(self, scope: Construct, *, image_uri: str, log_groups: Sequence[str], key: EncryptionKey) -> None:
        """Collect the common permissions.

        Args:
            scope: A construct of the stack that the role will belong to.
            image_uri: The container's image; it may be pulled from this registry and repository only.
            log_groups: Names, under `/aws/sagemaker/`, of the log groups that SageMaker writes for these containers.
            key: The stage's key.
        """
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
            conditions={"StringLike": {"cloudwatch:namespace": ["/aws/sagemaker/*", "aws/sagemaker/*"]}},
            because="CloudWatch authorises PutMetricData on all resources only; a condition restricts the namespaces.",
        )
        self.allow(
            ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"],
            on=[arn(scope, "logs", f"log-group:/aws/sagemaker/{name}:*") for name in log_groups],
            because="SageMaker chooses the names of the log streams in its own log groups.",
        )
        key.grant_use_by_jobs(self)

    def allow_pulling(self, *image_uris: str) -> None:
        """Allow pulling images, each from its own registry and repository."""
        self.allow(
            ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
            on=[_repository(self._scope, image_uri) for image_uri in image_uris],
        )

    def allow_reading_assets(self, assets: Sequence[s3_assets.Asset]) -> None:
        """Allow reading some of the application's CDK assets, which are all in one bucket."""
        if not assets:
            return
        bucket, keys = assets[0].bucket.bucket_arn, [asset.s3_object_key for asset in assets]
        self.allow(["s3:GetObject"], on=[f"{bucket}/{name}" for name in keys])
        self.allow(
            ["s3:ListBucket"],
            on=[bucket],
            conditions={"StringLike": {"s3:prefix": [f"{name}*" for name in keys]}},
        )

    def container_role(self, scope: Construct, construct_id: str, *, description: str) -> iam.Role:
        """Define the role with these permissions."""
        return self.role(scope, construct_id, service="sagemaker.amazonaws.com", description=description)


def _repository(scope: Construct, image_uri: str) -> str:
    registry, _, repository = image_uri.partition("/")
    return arn(scope, "ecr", f"repository/{repository.partition(':')[0]}", account=registry.partition(".")[0])
