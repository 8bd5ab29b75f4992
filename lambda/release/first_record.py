"""Create a model's release record, once: the custom resource `Custom::ReleaseRecord` (`Name`, `ServingStack`).

The record is the release controller's state, not infrastructure. A deployment creates it where it is missing, never
overwrites it, and deletes it only after the stack that reads it. An `AWS::SSM::Parameter` would write `none` over a
live endpoint as soon as one of its tags changes.
"""

from __future__ import annotations

import json
import urllib.request
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from shared.clients import Clients
from shared.errors import is_missing
from shared.log import logger
from shared.release_record import NO_RELEASE

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext
    from mypy_boto3_cloudformation import CloudFormationClient

_ANSWER_SECONDS = 30


@cache
def _clients() -> Clients:
    return Clients()


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Serve CloudFormation's request and always answer it: without an answer CloudFormation waits for an hour."""
    try:
        physical_id = provide(_clients(), event)
        answer = {"Status": "SUCCESS", "PhysicalResourceId": physical_id}
    except Exception as error:
        logger.exception("the release record could not be created")
        answer = {"Status": "FAILED", "Reason": str(error), "PhysicalResourceId": _known_id(event, context)}
    _put_answer(event, answer)


def provide(clients: Clients, event: dict[str, Any]) -> str:
    """Create the record that a create or an update names where it is missing. Delete it after its stack.

    Returns:
        The physical id, the record's name. A new name is a replacement; CloudFormation then deletes the old one.

    Raises:
        ValueError: A property is missing, or `Name` is not an absolute parameter name.
    """
    properties = event["ResourceProperties"]
    if event["RequestType"] == "Delete":
        _delete(clients, str(event["PhysicalResourceId"]), properties.get("ServingStack"))
        return str(event["PhysicalResourceId"])
    name = properties.get("Name")
    if not isinstance(name, str) or not name.startswith("/"):
        raise ValueError(f"Custom::ReleaseRecord needs Name, an absolute parameter name, got {name!r}")
    if not properties.get("ServingStack"):
        raise ValueError("Custom::ReleaseRecord needs ServingStack, the name of the stack that reads the record")
    try:
        clients.ssm.put_parameter(Name=name, Value=NO_RELEASE.format(), Type="String", Overwrite=False)
    except clients.ssm.exceptions.ParameterAlreadyExists:
        logger.info("the release record exists and is kept", record=name)
    return name


def _delete(clients: Clients, name: str, stack: str | None) -> None:
    """Delete the record unless its stack exists: a record may outlive its model's folder, never its endpoint."""
    if not name.startswith("/") or not stack:
        return  # a failed create created nothing
    if _exists(clients.cloudformation, stack):
        logger.info("the serving stack exists, so its record is kept", record=name, stack=stack)
        return
    with suppress(clients.ssm.exceptions.ParameterNotFound):
        clients.ssm.delete_parameter(Name=name)


def _exists(cloudformation: CloudFormationClient, stack: str) -> bool:
    try:
        cloudformation.describe_stacks(StackName=stack)
    except ClientError as error:
        if is_missing(error):
            return False
        raise
    return True


def _known_id(event: dict[str, Any], context: LambdaContext) -> str:
    """Return the physical id. A failed create has none yet and must return one, which CloudFormation then deletes."""
    return str(event.get("PhysicalResourceId") or context.aws_request_id)


def _put_answer(event: dict[str, Any], answer: dict[str, str]) -> None:
    url = event["ResponseURL"]
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"ResponseURL is not a web address: {url!r}")
    body = json.dumps({**answer, **{key: event[key] for key in ("StackId", "RequestId", "LogicalResourceId")}}).encode()
    # The URL is presigned for an empty content type.
    request = urllib.request.Request(url, data=body, method="PUT", headers={"Content-Type": ""})  # noqa: S310 - checked
    with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as response:  # noqa: S310 - checked above
        logger.info("answered", status=response.status, answer=answer["Status"])
