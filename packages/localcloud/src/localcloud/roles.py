"""Acting as a role: what the services that are handed roles (CodePipeline, CodeBuild) need of IAM and STS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

Credentials = Mapping[str, str]
"""`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` of a role's session."""


class Roles(Protocol):
    """Sessions of roles, and clients with their rights."""

    def assume(self, role_arn: str, principal: str, session: str) -> Credentials:
        """The role's credentials, as the service `principal` assumes it.

        Raises:
            RoleError: the role is missing, or does not trust the service.
        """

    def assume_further(self, credentials: Credentials, role_arn: str, session: str) -> Credentials:
        """A further role's credentials by STS, with the rights that the given ones have.

        Raises:
            ClientError: AccessDenied.
        """

    def client(self, service: str, credentials: Credentials | None) -> Any:
        """A boto3 client of this gateway with these credentials, or with the account's root's."""

    def denied(self, credentials: Credentials, action: str, resource: str) -> str | None:
        """Why the credentials may not do what no API of its own does (`UseConnection`), or None where they may."""
