"""The retrain controller's door: events, ticks and requests. An event is a hint, the ledger is the truth."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from retrain.controller import Controller, logger
from retrain.environment import RetrainEnvironment
from shared.clients import Clients

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@cache
def _clients() -> Clients:
    return Clients()


@cache
def _environment() -> RetrainEnvironment:
    return RetrainEnvironment.read()


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, str]:
    """Look after every model of the stage: start at most one run each, or say why not."""
    controller = Controller(_clients(), _environment(), invocation=context.aws_request_id)
    return controller.reconcile(event)
