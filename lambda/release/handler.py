"""The release controller's entry point. An event is a hint; the registry is the desired state."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from release.controller import reconcile_releases
from shared.clients import Clients
from shared.environment import ReleaseEnvironment
from shared.log import logger

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@cache
def _clients() -> Clients:
    return Clients()


@cache
def _environment() -> ReleaseEnvironment:
    return ReleaseEnvironment.read()


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, str]:
    """Take every model of the stage one step towards its desired version."""
    return reconcile_releases(event, _clients(), _environment(), invocation=context.aws_request_id)
