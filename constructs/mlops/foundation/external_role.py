"""Roles of other accounts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from constructs import Construct


@dataclass(frozen=True)
class ExternalRole:
    """A role of another account, identified by its name.

    A resource policy cannot name a role that does not exist yet as its principal. So the principal is the account, and
    a condition restricts it to the role's ARN.
    """

    account: str
    name: str

    def condition(self, scope: Construct) -> Mapping[str, Mapping[str, str]]:
        """Return the condition that restricts the account to this role."""
        partition = cdk.Stack.of(scope).partition
        return {"ArnEquals": {"aws:PrincipalArn": f"arn:{partition}:iam::{self.account}:role/{self.name}"}}

    def principal_arn(self, scope: Construct) -> str:
        """Return the account's principal, for policies that are written as JSON."""
        return f"arn:{cdk.Stack.of(scope).partition}:iam::{self.account}:root"

    def statement(
        self,
        scope: Construct,
        actions: Sequence[str],
        on: Sequence[str],
        *,
        conditions: Mapping[str, Mapping[str, str]] | None = None,
    ) -> iam.PolicyStatement:
        """Return the statement of a resource policy that allows this role some actions.

        Args:
            scope: The construct that the policy belongs to.
            actions: IAM actions.
            on: ARNs of the resources.
            conditions: Conditions besides the role's own.
        """
        return iam.PolicyStatement(
            principals=[iam.AccountPrincipal(self.account)],
            actions=list(actions),
            resources=list(on),
            conditions={**self.condition(scope), **(conditions or {})},
        )
