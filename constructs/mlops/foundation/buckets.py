"""The buckets for data, artifacts and access logs."""

from __future__ import annotations

from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_s3 as s3
from constructs import Construct

from constructs.mlops.foundation.encryption_key import EncryptionKey
from constructs.mlops.foundation.external_role import ExternalRole
from constructs.mlops.foundation.permissions import Grantee

REGISTERED = ("runs/*", "packages/*")
"""Keys of what a run made and of what was registered with a version."""
VERIFICATIONS = ("releases/*/verified.json",)
"""Keys of the verifications that a stage writes for the next one."""

_LOG_DAYS = 365
_OLD_LOG_VERSION_DAYS = 90


class Bucket(Construct):
    """A versioned bucket under the stage's key that requires TLS, logs access and sends events to EventBridge.

    Retained when the stack is deleted: it holds models or what they were trained on.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, key: EncryptionKey, logs: LogBucket, name: str | None = None
    ) -> None:
        """Define the bucket.

        Args:
            scope: The parent.
            construct_id: Also the prefix of its access logs, in lower case.
            key: The stage's key.
            logs: Receives its access logs.
            name: A name that another account knows; None for one that CloudFormation generates.
        """
        super().__init__(scope, construct_id)
        self.bucket = s3.Bucket(
            self,
            "Bucket",
            bucket_name=name,
            versioned=True,
            encryption=s3.BucketEncryption.KMS,
            encryption_key=key.key,
            bucket_key_enabled=True,
            enforce_ssl=True,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            server_access_logs_bucket=logs.bucket,
            server_access_logs_prefix=f"{construct_id.lower()}/",
            lifecycle_rules=[s3.LifecycleRule(abort_incomplete_multipart_upload_after=cdk.Duration.days(7))],
            removal_policy=cdk.RemovalPolicy.RETAIN,
        )
        # `event_bridge_enabled=True` would add a function of CDK's own for what CloudFormation does by itself.
        resource = self.bucket.node.default_child
        if not isinstance(resource, s3.CfnBucket):
            raise TypeError(f"a bucket's default child is a CfnBucket, got {type(resource).__name__}")
        resource.notification_configuration = s3.CfnBucket.NotificationConfigurationProperty(
            event_bridge_configuration=s3.CfnBucket.EventBridgeConfigurationProperty(event_bridge_enabled=True)
        )
        # Read once: each attribute is a call to CDK's process, and every model's stacks use them.
        self.name, self.arn = self.bucket.bucket_name, self.bucket.bucket_arn

    def uri(self, key: str) -> str:
        """Return the S3 URI of an object or a prefix."""
        return f"s3://{self.name}/{key}"

    def grant_read(self, grantee: Grantee, *patterns: str, because: str = "") -> None:
        """Allow reading objects whose keys match the patterns; `because` explains their wildcards."""
        grantee.allow(["s3:GetObject"], on=self._objects(patterns), because=because)

    def grant_put(self, grantee: Grantee, *patterns: str, because: str = "") -> None:
        """Allow writing objects whose keys match the patterns; `because` explains their wildcards."""
        grantee.allow(["s3:PutObject"], on=self._objects(patterns), because=because)

    def grant_list(self, grantee: Grantee) -> None:
        """Allow listing the bucket; without it S3 answers AccessDenied for a missing object."""
        grantee.allow(["s3:ListBucket"], on=[self.arn])

    def grant_read_folders(self, grantee: Grantee, *folders: str, because: str, old_versions: bool = False) -> None:
        """Allow reading and listing what is under some prefixes.

        Args:
            grantee: Receives the permissions.
            folders: Prefixes that end with a slash.
            because: Why the whole folders are needed.
            old_versions: Whether to allow the objects' earlier versions too.
        """
        grantee.allow(
            ["s3:GetObject", *(["s3:GetObjectVersion"] if old_versions else [])],
            on=self._objects([f"{folder}*" for folder in folders]),
            because=because,
        )
        grantee.allow(
            ["s3:ListBucket", *(["s3:ListBucketVersions"] if old_versions else [])],
            on=[self.arn],
            conditions={"StringLike": {"s3:prefix": [f"{folder}*" for folder in folders]}},
        )

    def grant_write_folders(self, grantee: Grantee, *folders: str, because: str) -> None:
        """Allow writing under some prefixes, in several parts too."""
        grantee.allow(
            ["s3:PutObject", "s3:AbortMultipartUpload"],
            on=self._objects([f"{folder}*" for folder in folders]),
            because=because,
        )

    def _objects(self, patterns: Sequence[str]) -> list[str]:
        return [f"{self.arn}/{pattern}" for pattern in patterns]


class ArtifactBucket(Bucket):
    """The bucket of runs, packages, releases and findings, which stages in other accounts may read in part."""

    def __init__(
        self, scope: Construct, construct_id: str, *, key: EncryptionKey, logs: LogBucket, name: str | None = None
    ) -> None:
        super().__init__(scope, construct_id, key=key, logs=logs, name=name)
        self._key = key

    def grant_read_registered(self, role: ExternalRole) -> None:
        """Allow another account's role to read what was registered; counterpart of `StageReference`'s method."""
        self._grant_read_from_outside(role, REGISTERED)
        self.bucket.add_to_resource_policy(role.statement(self, ["s3:ListBucket"], on=[self.arn]))

    def grant_read_verifications(self, role: ExternalRole) -> None:
        """Allow another account's role to read verifications; counterpart of `StageReference`'s method."""
        self._grant_read_from_outside(role, VERIFICATIONS)

    def _grant_read_from_outside(self, role: ExternalRole, patterns: Sequence[str]) -> None:
        self.bucket.add_to_resource_policy(role.statement(self, ["s3:GetObject"], on=self._objects(patterns)))
        self._key.grant_decrypt_through_s3(role)


class LogBucket(Construct):
    """Access logs of the other buckets, kept for a year. Retained when the stack is deleted, as an audit trail."""

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        self.bucket = s3.Bucket(
            self,
            "Bucket",
            versioned=True,
            # S3 delivers access logs only to buckets under its own keys.
            encryption=s3.BucketEncryption.S3_MANAGED,
            enforce_ssl=True,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            lifecycle_rules=[
                s3.LifecycleRule(
                    expiration=cdk.Duration.days(_LOG_DAYS),
                    noncurrent_version_expiration=cdk.Duration.days(_OLD_LOG_VERSION_DAYS),
                    abort_incomplete_multipart_upload_after=cdk.Duration.days(7),
                )
            ],
            removal_policy=cdk.RemovalPolicy.RETAIN,
        )
