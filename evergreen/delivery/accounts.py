"""How the pipeline reaches a stage's account."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import boto3
from botocore.credentials import (
    CredentialProvider,
    CredentialResolver,
    DeferredRefreshableCredentials,
    create_assume_role_refresher,
)
from botocore.exceptions import ClientError
from botocore.session import get_session

from configuration import Application, Stage

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient

_QUALIFIER = "hnb659fds"
# A stack that was never there, or whose first deployment failed: CloudFormation keeps its name, and nothing else.
_EMPTY = {"REVIEW_IN_PROGRESS", "ROLLBACK_COMPLETE", "DELETE_COMPLETE"}
_DENIED = {"AccessDenied", "AccessDeniedException"}


class Unreachable(Exception):
    """A stage's account cannot be used; one line that says what to do."""


@dataclass(frozen=True)
class Platform:
    """A stage's platform as it is deployed.

    Attributes:
        session: of the stage's delivery role.
        outputs: of the platform's stack.
    """

    application: Application
    stage: Stage
    session: boto3.Session
    outputs: Mapping[str, str]

    def output(self, name: str) -> str:
        """An output of the platform's stack.

        Raises:
            Unreachable: There is none of that name.
        """
        if name not in self.outputs:
            stack = platform_stack(self.application, self.stage)
            raise Unreachable(f"{stack} has no output {name}: deploy it once by hand, npx cdk deploy {stack}")
        return self.outputs[name]

    def models(self) -> list[str]:
        """The models that have a release record in the stage, by name: also one whose code went with this push."""
        app, stage = self.application.name, self.stage.name
        pages = self.session.client("ssm").get_paginator("get_parameters_by_path")
        names = [
            parameter["Name"].split("/")
            for page in pages.paginate(Path=f"/{app}", Recursive=True)
            for parameter in page["Parameters"]
        ]
        return sorted(name[2] for name in names if len(name) == 5 and name[3:] == [stage, "release"])


class _Assumed(CredentialProvider):
    """Credentials of a role, as botocore asks for them."""

    METHOD = "sts-assume-role"

    def __init__(self, credentials: DeferredRefreshableCredentials) -> None:
        super().__init__()
        self._credentials = credentials

    def load(self) -> DeferredRefreshableCredentials:
        return self._credentials


def platform_of(session: boto3.Session, application: Application, stage: Stage) -> Platform | None:
    """Find a stage's platform, None where none was deployed yet.

    CDK's lookup role answers that: the stage's own delivery role comes with its platform, so that a role that cannot be
    taken would not tell a first deployment from a missing permission.

    Args:
        session: Of the pipeline's build role, or of a person who may take the same roles.

    Raises:
        Unreachable: The account does not let this role in, or its platform is older than the delivery.
    """
    account = stage.account or session.client("sts").get_caller_identity()["Account"]
    partition = session.get_partition_for_region(stage.region)
    lookup = f"arn:{partition}:iam::{account}:role/cdk-{_QUALIFIER}-lookup-role-{account}-{stage.region}"
    outputs = outputs_of(_session(session, lookup, stage).client("cloudformation"), platform_stack(application, stage))
    if outputs is None:
        return None
    platform = Platform(application, stage, session, outputs)
    return Platform(application, stage, _session(session, platform.output("DeliveryRoleArn"), stage), outputs)


def platform_stack(application: Application, stage: Stage) -> str:
    """The name of a stage's platform stack."""
    return f"{application.name}-platform-{stage.name}"


def outputs_of(cloudformation: CloudFormationClient, stack: str) -> dict[str, str] | None:
    """A stack's outputs, None where there is no stack, or an empty one."""
    try:
        (found,) = cloudformation.describe_stacks(StackName=stack)["Stacks"]
    except ClientError as error:
        if "does not exist" in error.response["Error"].get("Message", ""):
            return None
        raise
    if found["StackStatus"] in _EMPTY:
        return None
    return {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}


def _session(session: boto3.Session, role: str, stage: Stage) -> boto3.Session:
    """A session of a role, taken again before it ends: waiting for a release takes longer than one lasts.

    Raises:
        Unreachable: The role cannot be taken.
    """
    sts = session.client("sts", region_name=stage.region)
    taken = get_session()
    credentials = DeferredRefreshableCredentials(
        refresh_using=create_assume_role_refresher(sts, {"RoleArn": role, "RoleSessionName": "delivery"}),
        method="sts-assume-role",
    )
    try:
        credentials.get_frozen_credentials()
    except ClientError as error:
        if error.response["Error"]["Code"] in _DENIED:
            advice = f"is {stage.name}'s account bootstrapped with --trust for this one (docs/deploy.md)?"
            raise Unreachable(f"{role} cannot be taken; {advice}") from error
        raise
    taken.register_component("credential_provider", CredentialResolver([_Assumed(credentials)]))
    return boto3.Session(botocore_session=taken, region_name=stage.region)
