"""The handler of captured data: SQS messages with S3 "Object Created" events."""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from monitor.captured import process
from monitor.environment import CaptureEnvironment

if TYPE_CHECKING:
    from aws_lambda_powertools import Logger

    from shared.clients import Clients


@cache
def _environment() -> CaptureEnvironment:
    return CaptureEnvironment.read()


@cache
def _clients() -> "Clients":
    from shared.clients import Clients

    return Clients()


@cache
def _logger() -> "Logger":
    from aws_lambda_powertools import Logger

    return Logger()


def handler(event: Mapping[str, Any], _context: object) -> dict[str, Any]:
    """Fold a batch of captured objects, judge their windows, and return the messages to retry."""
    failed = process(event.get("Records", []), _environment(), _clients(), _logger())
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}
