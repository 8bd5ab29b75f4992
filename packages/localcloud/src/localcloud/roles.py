"""What services that are given roles (CodePipeline, CodeBuild) need of IAM and STS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

Credentials = Mapping[str, str]
"""`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` of a role's session."""


class Roles(Protocol):
    """Role sessions, and clients with their rights."""

    def assume(self, role_arn: str, principal: str, session: str) -> Credentials:
        """Return the role's credentials, as the service `principal` assumes it.

        Raises:
            RoleError: The role is missing, or does not trust the service.
        """

    def assume_further(self, credentials: Credentials, role_arn: str, session: str) -> Credentials:
        """Return the credentials of another role, assumed by STS with the given credentials.

        Raises:
            ClientError: AccessDenied.
        """

    def client(self, service: str, credentials: Credentials | None) -> Any:
        """Return a boto3 client of this gateway with these credentials, or with the account root's."""

    def denied(self, credentials: Credentials, action: str, resource: str) -> str | None:
        """Return why an action without an API of its own (`UseConnection`) is denied, or None if it is allowed."""
