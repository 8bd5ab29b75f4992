"""The release controller's door: events and ticks come in here. An event is a hint, the registry is the truth."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from release.controller import Controller, logger
from shared.clients import Clients
from shared.environment import Environment

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@cache
def _clients() -> Clients:
    return Clients()


@cache
def _environment() -> Environment:
    return Environment.read()


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, str]:
    """Take every model of the stage one step towards what its people approved."""
    controller = Controller(_clients(), _environment(), invocation=context.aws_request_id)
    return controller.reconcile(event)
