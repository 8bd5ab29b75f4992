"""The verification's entry point. The release controller invokes it asynchronously for one release of one model."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from shared.clients import Clients
from shared.environment import VerifyEnvironment
from shared.log import logger
from verify.verifier import ReleaseVerifier, parse_request

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@cache
def _clients() -> Clients:
    return Clients()


@cache
def _environment() -> VerifyEnvironment:
    return VerifyEnvironment.read()


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, str]:  # noqa: ARG001 - Lambda's signature
    """Verify the requested release and return the result."""
    model, release_id = parse_request(event)
    outcome = ReleaseVerifier(_clients(), _environment()).verify(model, release_id)
    logger.info(outcome, model=model, release=release_id)
    return {"outcome": outcome}
