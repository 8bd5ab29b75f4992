"""Makes a model's release record, once: the custom resource `Custom::ReleaseRecord` (`Name`, `ServingStack`).

The record is state that the release controller keeps, not infrastructure: it is made where there is none, never
overwritten by a deployment, and deleted only when the stack that reads it is gone. An `AWS::SSM::Parameter` would write
`none` again over a live endpoint as soon as one of its tags changes.
"""

from __future__ import annotations

import json
import urllib.request
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger
from botocore.exceptions import ClientError

from shared.clients import Clients
from shared.record import NO_RELEASE

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext
    from mypy_boto3_cloudformation import CloudFormationClient

logger = Logger()

_ANSWER_SECONDS = 30


@cache
def _clients() -> Clients:
    return Clients()


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Do what CloudFormation asks, and answer it whatever happens: without an answer it waits for an hour."""
    try:
        physical_id = provide(_clients(), event)
        answer = {"Status": "SUCCESS", "PhysicalResourceId": physical_id}
    except Exception as error:
        logger.exception("the release record could not be made")
        answer = {"Status": "FAILED", "Reason": str(error), "PhysicalResourceId": _known_id(event, context)}
    _put_answer(event, answer)


def provide(clients: Clients, event: dict[str, Any]) -> str:
    """Make the record where a create or an update names one that is not there yet; retire it after its stack.

    Returns:
        The physical id, the record's name. A new name is a replacement; the delete of the old one follows.

    Raises:
        ValueError: a property is missing, or `Name` is no absolute parameter name.
    """
    properties = event["ResourceProperties"]
    if event["RequestType"] == "Delete":
        _retire(clients, str(event["PhysicalResourceId"]), properties.get("ServingStack"))
        return str(event["PhysicalResourceId"])
    name = properties.get("Name")
    if not isinstance(name, str) or not name.startswith("/"):
        raise ValueError(f"Custom::ReleaseRecord wants Name, an absolute parameter name, got {name!r}")
    if not properties.get("ServingStack"):
        raise ValueError("Custom::ReleaseRecord wants ServingStack, the name of the stack that reads the record")
    try:
        clients.ssm.put_parameter(Name=name, Value=NO_RELEASE.format(), Type="String", Overwrite=False)
    except clients.ssm.exceptions.ParameterAlreadyExists:
        logger.info("the release record is there already and stays", record=name)
    return name


def _retire(clients: Clients, name: str, stack: str | None) -> None:
    """Delete the record unless a stack may still read it: a record outlives its model's folder, not its endpoint."""
    if not name.startswith("/") or not stack:
        return  # a create that failed made nothing
    if _exists(clients.cloudformation, stack):
        logger.info("the serving stack is still there, so its record stays", record=name, stack=stack)
        return
    with suppress(clients.ssm.exceptions.ParameterNotFound):
        clients.ssm.delete_parameter(Name=name)


def _exists(cloudformation: CloudFormationClient, stack: str) -> bool:
    try:
        cloudformation.describe_stacks(StackName=stack)
    except ClientError as error:
        if "does not exist" in str(error):
            return False
        raise
    return True


def _known_id(event: dict[str, Any], context: LambdaContext) -> str:
    """A failed create has no id yet and must give one; CloudFormation then deletes that, which changes nothing."""
    return str(event.get("PhysicalResourceId") or context.aws_request_id)


def _put_answer(event: dict[str, Any], answer: dict[str, str]) -> None:
    url = event["ResponseURL"]
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"ResponseURL is no web address: {url!r}")
    body = json.dumps({**answer, **{key: event[key] for key in ("StackId", "RequestId", "LogicalResourceId")}}).encode()
    # The URL is presigned for an empty content type.
    request = urllib.request.Request(url, data=body, method="PUT", headers={"Content-Type": ""})  # noqa: S310 - checked
    with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as response:  # noqa: S310 - checked above
        logger.info("answered", status=response.status, answer=answer["Status"])
