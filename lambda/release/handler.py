"""The release controller's entry point. An event is a hint; the registry is the desired state."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from release.controller import reconcile_releases
from shared.clients import Clients
from shared.dispatch import dispatch, handle_batch, is_batch, is_event
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
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Turn an event into one message a model, or take the models of messages one step towards their desired version.

    A direct invocation takes every model of the stage one step, and returns the steps.
    """
    clients, environment, invocation = _clients(), _environment(), context.aws_request_id
    if is_batch(event):
        return handle_batch(
            event,
            lambda model: reconcile_releases({}, clients, environment, invocation=invocation, models=[model]),
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
    return reconcile_releases(event, clients, environment, invocation=invocation)
