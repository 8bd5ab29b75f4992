"""The retrain controller's entry point: events, ticks and requests. An event is a hint; the ledger is the state."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from retrain.controller import reconcile_retraining
from shared.clients import Clients
from shared.environment import RetrainEnvironment
from shared.log import logger

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
    """Reconcile every model of the stage: start at most one run each, or record why not."""
    return reconcile_retraining(event, _clients(), _environment(), invocation=context.aws_request_id)
