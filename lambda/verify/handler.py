"""The verification's door: the release controller asks for one release of one model, asynchronously."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger

from shared.clients import Clients
from verify.environment import VerifyEnvironment
from verify.verifier import Verifier, request_of

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

logger = Logger()


@cache
def _clients() -> Clients:
    return Clients()


@cache
def _environment() -> VerifyEnvironment:
    return VerifyEnvironment.read()


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, str]:  # noqa: ARG001 - Lambda's signature
    """Verify the release that is asked about, and say what came of it."""
    model, release_id = request_of(event)
    outcome = Verifier(_clients(), _environment()).verify(model, release_id)
    logger.info(outcome, model=model, release=release_id)
    return {"outcome": outcome}
