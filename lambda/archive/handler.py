"""The archive's entry point: a schedule, or a person's dry run (`{"dry_run": true}`)."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from archive.controller import archive_models
from shared.clients import Clients
from shared.environment import ArchiveEnvironment
from shared.log import logger

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@cache
def _clients() -> Clients:
    return Clients()


@cache
def _environment() -> ArchiveEnvironment:
    return ArchiveEnvironment.read()


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, list[str]]:  # noqa: ARG001 - Lambda's signature
    """Archive what is obsolete of every model of the stage, or return what would be archived."""
    return archive_models(event, _clients(), _environment())
