"""The customer managed key of a stage."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct

from constructs.mlops.foundation.permissions import arn


class EncryptionKey(Construct):
    """One key for all data of a stage, with the services that CDK forgets to let use it.

    Without these statements nothing fails loudly: EventBridge drops what it cannot put into an encrypted dead-letter
    queue, CloudWatch alarms fire into the void, and log groups cannot be made. Retained when the stack goes: without
    the key the retained buckets and the ledger cannot be read.
    """

    def __init__(self, scope: Construct, construct_id: str, *, app: str) -> None:
        super().__init__(scope, construct_id)
        self.key = kms.Key(
            self,
            "Key",
            description=f"Data, artefacts, ledger, queues, logs and endpoints of {app}",
            enable_key_rotation=True,
            removal_policy=cdk.RemovalPolicy.RETAIN,
        )
        # EventBridge gives no source account when it encrypts for a queue; the queue's own policy names the rules.
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
