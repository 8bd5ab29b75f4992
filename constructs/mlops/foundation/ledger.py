"""The table in which the controllers keep leases and decisions."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_dynamodb as dynamodb
from constructs import Construct

from constructs.mlops.foundation.encryption_key import EncryptionKey
from constructs.mlops.foundation.permissions import Grantee


class LedgerTable(Construct):
    """Leases, quarantined versions and decisions (docs/reference/contracts.md, "Ledger").

    Retained when the stack is deleted: it is the audit trail.
    """

    def __init__(self, scope: Construct, construct_id: str, *, key: EncryptionKey) -> None:
        super().__init__(scope, construct_id)
        self.table = dynamodb.Table(
            self,
            "Table",
            partition_key=dynamodb.Attribute(name="pk", type=dynamodb.AttributeType.STRING),
            sort_key=dynamodb.Attribute(name="sk", type=dynamodb.AttributeType.STRING),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            encryption=dynamodb.TableEncryption.CUSTOMER_MANAGED,
            encryption_key=key.key,
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            time_to_live_attribute="ttl",
            removal_policy=cdk.RemovalPolicy.RETAIN,
        )
        self.name, self.arn = self.table.table_name, self.table.table_arn

    def grant_read(self, grantee: Grantee) -> None:
        """Allow reading rows."""
        grantee.allow(["dynamodb:GetItem", "dynamodb:Query"], on=[self.arn])

    def grant_query_and_put(self, grantee: Grantee) -> None:
        """Allow finding rows and writing new ones."""
        grantee.allow(["dynamodb:Query", "dynamodb:PutItem"], on=[self.arn])

    def grant_get_and_put(self, grantee: Grantee) -> None:
        """Allow reading rows by their key and writing new ones."""
        grantee.allow(["dynamodb:GetItem", "dynamodb:PutItem"], on=[self.arn])

    def grant_read_write(self, grantee: Grantee) -> None:
        """Allow reading, writing and deleting rows."""
        grantee.allow(
            ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:DeleteItem", "dynamodb:Query"],
            on=[self.arn],
        )

    def grant_write_partitions(self, grantee: Grantee, *patterns: str) -> None:
        """Allow writing, changing and deleting rows whose partition keys match the patterns."""
        grantee.allow(
            ["dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"],
            on=[self.arn],
            conditions={"ForAllValues:StringLike": {"dynamodb:LeadingKeys": list(patterns)}},
        )
