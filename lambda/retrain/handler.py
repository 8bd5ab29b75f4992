"""The retrain controller's entry point: events, ticks and requests. An event is a hint; the ledger is the state."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from retrain.controller import reconcile_retraining
from shared.clients import Clients
from shared.dispatch import dispatch, handle_batch, is_batch, is_event
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
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Turn an event into one message a model, or reconcile the models of messages: start a run, or record why not.

    A direct invocation is a request for one model, or reconciles every model of the stage, and returns the steps.
    """
    clients, environment, invocation = _clients(), _environment(), context.aws_request_id
    if is_batch(event):
        return handle_batch(
            event,
            lambda model: reconcile_retraining({}, clients, environment, invocation=invocation, models=[model]),
        )
    if is_event(event) and environment.model_queue_url:
        return dispatch(
            clients.sqs,
            environment.model_queue_url,
            event,
            app=environment.app,
            stage=environment.stage,
            models=lambda: environment.models(clients.ssm),
            invocation=invocation,
        )
    return reconcile_retraining(event, clients, environment, invocation=invocation)
