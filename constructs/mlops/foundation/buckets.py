"""Where data, artefacts and access logs lie."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

_LOGS_KEPT_DAYS = 365
_OLD_VERSIONS_KEPT_DAYS = 90


class Bucket(Construct):
    """A versioned bucket under the stage's key that speaks TLS only, logs access and tells EventBridge.

    Retained when the stack goes: it holds what models were trained on, and the models.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, key: kms.IKey, logs: s3.IBucket, name: str | None = None
    ) -> None:
        """Make it.

        Args:
            name: By which another account knows it; None for one that CloudFormation makes.
        """
        super().__init__(scope, construct_id)
        self.bucket = s3.Bucket(
            self,
            "Bucket",
            bucket_name=name,
            versioned=True,
            encryption=s3.BucketEncryption.KMS,
            encryption_key=key,
            bucket_key_enabled=True,
            enforce_ssl=True,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            server_access_logs_bucket=logs,
            server_access_logs_prefix=f"{construct_id.lower()}/",
            lifecycle_rules=[s3.LifecycleRule(abort_incomplete_multipart_upload_after=cdk.Duration.days(7))],
            removal_policy=cdk.RemovalPolicy.RETAIN,
        )
        # `event_bridge_enabled=True` would bring a function of CDK's own to do what CloudFormation does by itself.
        resource = self.bucket.node.default_child
        if not isinstance(resource, s3.CfnBucket):
            raise TypeError(f"a bucket's default child is a CfnBucket, got {type(resource).__name__}")
        resource.notification_configuration = s3.CfnBucket.NotificationConfigurationProperty(
            event_bridge_configuration=s3.CfnBucket.EventBridgeConfigurationProperty(event_bridge_enabled=True)
        )


class LogBucket(Construct):
    """Access logs of the other buckets, for a year. Retained: they say who read what."""

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        self.bucket = s3.Bucket(
            self,
            "Bucket",
            versioned=True,
            # S3 delivers access logs only into buckets under its own keys.
            encryption=s3.BucketEncryption.S3_MANAGED,
            enforce_ssl=True,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            lifecycle_rules=[
                s3.LifecycleRule(
                    expiration=cdk.Duration.days(_LOGS_KEPT_DAYS),
                    noncurrent_version_expiration=cdk.Duration.days(_OLD_VERSIONS_KEPT_DAYS),
                    abort_incomplete_multipart_upload_after=cdk.Duration.days(7),
                )
            ],
            removal_policy=cdk.RemovalPolicy.RETAIN,
        )
