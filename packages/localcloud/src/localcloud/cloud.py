"""What the parts of the local cloud need from the rest of it: one object, made by the gateway, handed to each part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from localcloud.store import Store


class Clock:
    """The one source of "now" for everything the local cloud stamps or schedules."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class ClientFactory(Protocol):
    """Make a boto3 client that talks to this gateway."""

    def __call__(self, service: str, *, role_arn: str | None = None) -> Any:
        """Return a client with `role_arn`'s temporary credentials (its policies apply), or the account root's."""


class RoleError(ValueError):
    """A service was given a role that it cannot assume; the text is what SageMaker says."""

    def __init__(self, role_arn: str, service_principal: str | None) -> None:
        super().__init__(
            f"Could not assume role {role_arn}. Please ensure that the role exists and allows principal "
            f"'{service_principal}' to assume the role."
        )


@dataclass(frozen=True)
class Cloud:
    """The gateway's services to its parts.

    Attributes:
        state_dir: everything durable lies below it.
        endpoint_url: `http://127.0.0.1:<port>`.
        emit: put an event on the default bus: (source, detail_type, resources, detail). Allowed `aws.*` sources.
        put_logs: append (milliseconds since epoch, line) pairs to a CloudWatch log stream, creating group and stream.
        role_environment: the AWS_* variables a container gets for a role: endpoint, region, temporary credentials.
            Raises RoleError when the role is missing or does not trust sagemaker.amazonaws.com.
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
