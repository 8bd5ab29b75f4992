"""The customer managed key of a stage."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct

from constructs.mlops.foundation.external_role import ExternalRole
from constructs.mlops.foundation.permissions import Grantee, arn


class EncryptionKey(Construct):
    """One key for all data of a stage, which AWS services may use where CDK does not allow it by itself.

    Without these statements failures are silent: EventBridge drops events that it cannot write to an encrypted
    dead-letter queue, CloudWatch alarms cannot publish, and log groups cannot be created. Retained when the stack is
    deleted: without the key the retained buckets and the ledger are unreadable.
    """

    def __init__(self, scope: Construct, construct_id: str, *, app: str) -> None:
        super().__init__(scope, construct_id)
        self.key = kms.Key(
            self,
            "Key",
            description=f"Data, artifacts, ledger, queues, logs and endpoints of {app}",
            enable_key_rotation=True,
            removal_policy=cdk.RemovalPolicy.RETAIN,
        )
        self.arn = self.key.key_arn
        # EventBridge sends no source account when it encrypts for a queue; the queue's own policy names the rules.
        own_account = {"StringEquals": {"aws:SourceAccount": cdk.Stack.of(self).account}}
        for service, conditions in (("events", None), ("cloudwatch", own_account)):
            self.key.add_to_resource_policy(
                iam.PolicyStatement(
                    principals=[iam.ServicePrincipal(f"{service}.amazonaws.com")],
                    actions=["kms:Decrypt", "kms:GenerateDataKey*"],
                    resources=["*"],
                    conditions=conditions,
                )
            )
        log_groups = arn(self, "logs", f"log-group:{app}-*")
        self.key.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[iam.ServicePrincipal(f"logs.{cdk.Stack.of(self).region}.amazonaws.com")],
                actions=["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"],
                resources=["*"],
                conditions={"ArnLike": {"kms:EncryptionContext:aws:logs:arn": log_groups}},
            )
        )

    def grant_decrypt(self, grantee: Grantee) -> None:
        """Allow decrypting."""
        grantee.allow(["kms:Decrypt"], on=[self.arn])

    def grant_encrypt_decrypt(self, grantee: Grantee) -> None:
        """Allow encrypting and decrypting."""
        grantee.allow(["kms:Decrypt", "kms:GenerateDataKey"], on=[self.arn])

    def grant_describe(self, grantee: Grantee) -> None:
        """Allow describing the key."""
        grantee.allow(["kms:DescribeKey"], on=[self.arn])

    def grant_use_by_jobs(self, grantee: Grantee) -> None:
        """Allow SageMaker jobs to encrypt and decrypt, on their disks too."""
        # Encrypt is for jobs with a key on their output (SageMaker Developer Guide, "KMS permissions").
        grantee.allow(["kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey", "kms:DescribeKey"], on=[self.arn])
        self.grant_create_grant(grantee)

    def grant_create_grant(self, grantee: Grantee) -> None:
        """Allow AWS services to create grants on the key; SageMaker needs one for an encrypted disk."""
        grantee.allow(["kms:CreateGrant"], on=[self.arn], conditions={"Bool": {"kms:GrantIsForAWSResource": "true"}})

    def grant_decrypt_through_s3(self, role: ExternalRole) -> None:
        """Allow another account's role to decrypt the objects that it may read in S3."""
        through_s3 = {"StringEquals": {"kms:ViaService": f"s3.{cdk.Stack.of(self).region}.amazonaws.com"}}
        self.key.add_to_resource_policy(role.statement(self, ["kms:Decrypt"], on=["*"], conditions=through_s3))
