"""The bucket of the delivery pipeline."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_s3 as s3
from constructs import Construct

from constructs.mlops.foundation.buckets import LogBucket
from constructs.mlops.foundation.encryption_key import EncryptionKey

# A change that waits longer for an approval must be built again.
_EXPIRATION_DAYS = 90


class DeliveryStore(Construct):
    """The pipeline's artifacts and the builds' dependency cache; all of it can be built again."""

    def __init__(self, scope: Construct, construct_id: str, *, key: EncryptionKey, logs: LogBucket) -> None:
        super().__init__(scope, construct_id)
        self.bucket = s3.Bucket(
            self,
            "Bucket",
            versioned=True,
            encryption=s3.BucketEncryption.KMS,
            encryption_key=key.key,
            bucket_key_enabled=True,
            enforce_ssl=True,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            server_access_logs_bucket=logs.bucket,
            server_access_logs_prefix="store/",
            lifecycle_rules=[
                s3.LifecycleRule(
                    expiration=cdk.Duration.days(_EXPIRATION_DAYS),
                    noncurrent_version_expiration=cdk.Duration.days(1),
                    abort_incomplete_multipart_upload_after=cdk.Duration.days(1),
                )
            ],
            removal_policy=cdk.RemovalPolicy.RETAIN,
        )
