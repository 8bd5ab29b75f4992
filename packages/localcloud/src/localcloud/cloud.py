"""The gateway's services to the parts of the local cloud."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from localcloud.store import Store


class Clock:
    """The one source of "now" for everything that the local cloud stamps or schedules."""

    def now(self) -> datetime:
        """Return the current time, in UTC."""
        return datetime.now(UTC)


class ClientFactory(Protocol):
    """Makes boto3 clients of this gateway."""

    def __call__(self, service: str, *, role_arn: str | None = None) -> Any:
        """Return a client with `role_arn`'s temporary credentials (its policies apply), or the account root's."""


class RoleError(ValueError):
    """A service cannot assume the role that it was given; the text is SageMaker's."""

    def __init__(self, role_arn: str, service_principal: str | None) -> None:
        super().__init__(
            f"Could not assume role {role_arn}. Please ensure that the role exists and allows principal "
            f"'{service_principal}' to assume the role."
        )


def _allowed(_role_arn: str, _action: str, _resource: str) -> str | None:
    return None


@dataclass(frozen=True)
class Cloud:
    """The gateway's services, made once and passed to each part.

    Attributes:
        state_dir: The folder of everything durable.
        endpoint_url: `http://127.0.0.1:<port>`.
        emit: Puts an event on the default bus: (source, detail_type, resources, detail). `aws.*` sources are allowed.
        put_logs: Appends (milliseconds since epoch, line) pairs to a CloudWatch log stream, creating group and stream.
        role_environment: Returns the AWS_* variables of a container for a role: endpoint, region, temporary
            credentials. Raises RoleError when the role is missing or does not trust sagemaker.amazonaws.com.
        denied: Returns AWS's sentence if SageMaker may not perform an action with a role, otherwise None; for actions
            whose API is not run here: (role ARN, action, resource ARN). Without a gateway everything is allowed.
    """

    state_dir: Path
    endpoint_url: str
    region: str
    account: str
    store: Store
    clock: Clock
    client: ClientFactory
    emit: Callable[[str, str, Sequence[str], Mapping[str, Any]], None]
    put_logs: Callable[[str, str, Sequence[tuple[int, str]]], None]
    role_environment: Callable[[str], dict[str, str]]
    denied: Callable[[str, str, str], str | None] = _allowed
