"""Access of the pipeline to a stage's account."""

from __future__ import annotations

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
from configuration.bootstrap import bootstrap_qualifier
from evergreen.deployed import Platform, find_platform
from evergreen.errors import UsageError

_DENIED = {"AccessDenied", "AccessDeniedException"}


class _Assumed(CredentialProvider):
    """Credentials of a role, in the form that botocore asks for."""

    METHOD = "sts-assume-role"

    def __init__(self, credentials: DeferredRefreshableCredentials) -> None:
        super().__init__()
        self._credentials = credentials

    def load(self) -> DeferredRefreshableCredentials:
        """Return the credentials."""
        return self._credentials


def platform_of(session: boto3.Session, application: Application, stage: Stage) -> Platform | None:
    """Return a stage's platform with a session of its delivery role, None where no platform is deployed.

    CDK's lookup role reads the platform stack. The delivery role is deployed with the platform, so failing to assume it
    would not tell a first deployment from a missing permission.

    Args:
        session: A session of the pipeline's build role, or of a person who may assume the same roles.
        application: The application.
        stage: One of its stages.

    Raises:
        UsageError: The account does not trust this role, or its platform is older than the delivery.
    """
    account = stage.account or session.client("sts").get_caller_identity()["Account"]
    partition = session.get_partition_for_region(stage.region)
    lookup = f"arn:{partition}:iam::{account}:role/cdk-{bootstrap_qualifier()}-lookup-role-{account}-{stage.region}"
    platform = find_platform(_session(session, lookup, stage), application, stage)
    if platform is None:
        return None
    return Platform(application, stage, _session(session, platform.output("DeliveryRoleArn"), stage), platform.outputs)


def _session(session: boto3.Session, role: str, stage: Stage) -> boto3.Session:
    """Return a session of a role. It is assumed again before it expires: a wait for a release outlasts it.

    Raises:
        UsageError: The role cannot be assumed.
    """
    sts = session.client("sts", region_name=stage.region)
    assumed = get_session()
    credentials = DeferredRefreshableCredentials(
        refresh_using=create_assume_role_refresher(sts, {"RoleArn": role, "RoleSessionName": "delivery"}),
        method="sts-assume-role",
    )
    try:
        credentials.get_frozen_credentials()
    except ClientError as error:
        if error.response["Error"]["Code"] in _DENIED:
            advice = f"is {stage.name}'s account bootstrapped with --trust for this one (docs/deploy.md)?"
            raise UsageError(f"{role} cannot be assumed; {advice}") from error
        raise
    assumed.register_component("credential_provider", CredentialResolver([_Assumed(credentials)]))
    return boto3.Session(botocore_session=assumed, region_name=stage.region)
