"""What stages may read of each other, each in an account of its own or not.

A stage is told by events and reads by itself: versions and what was registered with them in the hub, the verification
in the stage before. In one account a role's own policy is enough. Across accounts the other side must agree, and admits
one role by its name: the account as principal, because a role that does not exist yet cannot be one, and the role's ARN
as the condition behind it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import aws_cdk as cdk
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from constructs.mlops.foundation.permissions import Permissions, allow, arn

# CloudFormation makes the other bucket's name, from no fewer characters of its stack's.
_STACK_NAME_KEPT = 24
_REGISTERED = ("runs/*", "packages/*")
_VERIFIED = ("releases/*/verified.json",)


@dataclass(frozen=True)
class Foreigner:
    """A role of another account, known by its name."""

    account: str
    role: str

    def conditions(self, partition: str) -> Mapping[str, Mapping[str, str]]:
        """The condition that leaves this role of all the account's."""
        return {"ArnEquals": {"aws:PrincipalArn": f"arn:{partition}:iam::{self.account}:role/{self.role}"}}

    def principal(self) -> iam.IPrincipal:
        """The account; never without `conditions`."""
        return iam.AccountPrincipal(self.account)


def release_role_name(app: str, stage: str) -> str:
    """The release controller's role, where another stage must know it."""
    return f"{app}-release-{stage}"


def events_role_name(app: str, stage: str) -> str:
    """The role by which a stage hands its events on."""
    return f"{app}-events-{stage}"


def artifact_bucket_name(app: str, stage: str, account: str) -> str:
    """The artifact bucket of a stage whose verification another stage reads; at most 54 characters."""
    return f"{app}-{stage}-artifacts-{account}"


def rename(role: iam.Role, name: str) -> None:
    """Give a role the name by which another account knows it."""
    resource = role.node.default_child
    if not isinstance(resource, iam.CfnRole):
        raise TypeError(f"a role's default child is a CfnRole, got {type(resource).__name__}")
    resource.role_name = name


def may_read_the_hub(role: iam.Role, *, app: str, hub_stack: str, account: str) -> None:
    """Let a stage's release controller read versions, and copy what was registered with them.

    Args:
        hub_stack: The hub's platform stack, by whose name its artifact bucket is known.
        account: The hub's.
    """
    allow(
        role,
        ["sagemaker:DescribeModelPackageGroup", "sagemaker:DescribeModelPackage", "sagemaker:ListModelPackages"],
        on=[arn(role, "sagemaker", f"model-package{kind}/{app}-*", account=account) for kind in ("-group", "")],
        because="The registry of all models is the hub's; its groups' policies say what of it this role sees.",
    )
    bucket = f"arn:{cdk.Stack.of(role).partition}:s3:::{hub_stack[:_STACK_NAME_KEPT]}*"
    _may_read(role, bucket, _REGISTERED, account, "CloudFormation made the hub's bucket, and ended its name.")
    allow(
        role,
        # Without it a missing object is an AccessDenied, which cannot be told from a missing permission.
        ["s3:ListBucket"],
        on=[bucket],
        conditions={"StringEquals": {"aws:ResourceAccount": account}},
        because="CloudFormation made the hub's bucket, and ended its name.",
    )


def may_read_verifications(role: iam.Role, *, bucket: str, account: str) -> None:
    """Let a stage's release controller read what the stage before verified, and nothing else there."""
    address = f"arn:{cdk.Stack.of(role).partition}:s3:::{bucket}"
    _may_read(role, address, _VERIFIED, account, "The verification of any release of any model.")


def _may_read(role: iam.Role, bucket: str, keys: Sequence[str], account: str, because: str) -> None:
    here = {"StringEquals": {"aws:ResourceAccount": account}}
    allow(role, ["s3:GetObject"], on=[f"{bucket}/{key}" for key in keys], conditions=here, because=because)
    allow(
        role,
        ["kms:Decrypt"],
        on=[arn(role, "kms", "key/*", account=account)],
        conditions={"StringEquals": {"kms:ViaService": f"s3.{cdk.Stack.of(role).region}.amazonaws.com"}},
        because="The id of another platform's key is not known here; through S3 it opens only what may be read there.",
    )


def admit_readers_of_what_was_registered(bucket: s3.Bucket, key: kms.Key, foreigners: Sequence[Foreigner]) -> None:
    """The hub's side of `may_read_the_hub`."""
    for one in foreigners:
        _admit(bucket, key, one, _REGISTERED)
        bucket.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[one.principal()],
                actions=["s3:ListBucket"],
                resources=[bucket.bucket_arn],
                conditions=one.conditions(cdk.Stack.of(bucket).partition),
            )
        )


def admit_reader_of_verifications(bucket: s3.Bucket, key: kms.Key, foreigner: Foreigner) -> None:
    """A verifying stage's side of `may_read_verifications`."""
    _admit(bucket, key, foreigner, _VERIFIED)


def _admit(bucket: s3.Bucket, key: kms.Key, foreigner: Foreigner, keys: Sequence[str]) -> None:
    stack = cdk.Stack.of(bucket)
    conditions = foreigner.conditions(stack.partition)
    bucket.add_to_resource_policy(
        iam.PolicyStatement(
            principals=[foreigner.principal()],
            actions=["s3:GetObject"],
            resources=[bucket.arn_for_objects(pattern) for pattern in keys],
            conditions=conditions,
        )
    )
    key.add_to_resource_policy(
        iam.PolicyStatement(
            principals=[foreigner.principal()],
            actions=["kms:Decrypt"],
            resources=["*"],
            conditions={**conditions, "StringEquals": {"kms:ViaService": f"s3.{stack.region}.amazonaws.com"}},
        )
    )


def registry_policy(scope: Construct, *, group: str, foreigners: Sequence[Foreigner]) -> dict[str, object] | None:
    """A model package group's policy: the stages' release controllers read it; None where all are of this account."""
    if not foreigners:
        return None
    partition = cdk.Stack.of(scope).partition
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": f"Reader{index}",
                "Effect": "Allow",
                "Principal": {"AWS": f"arn:{partition}:iam::{one.account}:root"},
                "Action": [
                    "sagemaker:DescribeModelPackageGroup",
                    "sagemaker:DescribeModelPackage",
                    "sagemaker:ListModelPackages",
                ],
                "Resource": [
                    arn(scope, "sagemaker", f"model-package-group/{group}"),
                    arn(scope, "sagemaker", f"model-package/{group}/*"),
                ],
                "Condition": one.conditions(partition),
            }
            for index, one in enumerate(foreigners, start=1)
        ],
    }


def approvals(app: str) -> events.EventPattern:
    """Someone approved or rejected a version."""
    return events.EventPattern(
        source=["aws.sagemaker"],
        detail_type=["SageMaker Model Package State Change"],
        detail={
            "ModelPackageGroupName": [{"prefix": f"{app}-"}],
            "ModelApprovalStatus": ["Approved", "Rejected"],
        },
    )


def verifications(bucket: str) -> events.EventPattern:
    """A stage verified a release."""
    return events.EventPattern(
        source=["aws.s3"],
        detail_type=["Object Created"],
        detail={"bucket": {"name": [bucket]}, "object": {"key": [{"wildcard": _VERIFIED[0]}]}},
    )


class ForwardedEvents(Construct):
    """Events handed on to the default buses of stages in other accounts.

    They are hints there as they are here: what is lost costs a quarter of an hour, and what could not be handed over
    waits in a queue.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        role_name: str,
        description: str,
        pattern: events.EventPattern,
        accounts: Sequence[str],
        undelivered: sqs.IQueue,
    ) -> None:
        super().__init__(scope, construct_id)
        buses = [arn(self, "events", "event-bus/default", account=account) for account in accounts]
        permissions = Permissions()
        permissions.allow(["events:PutEvents"], on=buses)
        role = permissions.named_role(
            self,
            "Role",
            name=role_name,
            principal=iam.ServicePrincipal("events.amazonaws.com"),
            description="Hands events on to stages in other accounts",
        )
        self.rule = events.Rule(
            self,
            "Rule",
            description=f"{description}: told to stages in other accounts",
            event_pattern=pattern,
            targets=[
                targets.EventBus(
                    events.EventBus.from_event_bus_arn(self, f"Bus{index}", bus),
                    role=role,
                    dead_letter_queue=undelivered,
                )
                for index, bus in enumerate(buses)
            ],
        )


class AdmittedEvents(Construct):
    """Admits what one role of another account hands on, of one source, on this account's default bus."""

    def __init__(
        self, scope: Construct, construct_id: str, *, statement_id: str, forwarder: Foreigner, source: str
    ) -> None:
        super().__init__(scope, construct_id)
        partition = cdk.Stack.of(self).partition
        events.CfnEventBusPolicy(
            self,
            "Policy",
            statement_id=statement_id,
            statement={
                "Effect": "Allow",
                "Principal": {"AWS": f"arn:{partition}:iam::{forwarder.account}:root"},
                "Action": "events:PutEvents",
                "Resource": arn(self, "events", "event-bus/default"),
                "Condition": {**forwarder.conditions(partition), "StringEquals": {"events:source": source}},
            },
        )
