"""Makes a model's release record, once: the custom resource `Custom::ReleaseRecord` (property `Name`).

The record is state that the release controller keeps, not infrastructure: it is made where there is none, and never
overwritten or deleted by a deployment. An `AWS::SSM::Parameter` would write `none` again over a live endpoint as soon
as one of its tags changes.
"""

from __future__ import annotations

import json
import urllib.request
from functools import cache
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger

from release.clients import Clients
from shared.record import NO_RELEASE

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext
    from mypy_boto3_ssm import SSMClient

logger = Logger()

_ANSWER_SECONDS = 30


@cache
def _clients() -> Clients:
    return Clients()


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Do what CloudFormation asks, and answer it whatever happens: without an answer it waits for an hour."""
    try:
        physical_id = provide(_clients().ssm, event)
        answer = {"Status": "SUCCESS", "PhysicalResourceId": physical_id}
    except Exception as error:
        logger.exception("the release record could not be made")
        answer = {"Status": "FAILED", "Reason": str(error), "PhysicalResourceId": _known_id(event, context)}
    _put_answer(event, answer)


def provide(ssm: SSMClient, event: dict[str, Any]) -> str:
    """Make the record where a create or an update names one that is not there yet; keep it on delete.

    Returns:
        The physical id, the record's name. A new name is a replacement; the delete of the old one that follows keeps
        that record too.

    Raises:
        ValueError: the property `Name` is missing or is no absolute parameter name.
    """
    if event["RequestType"] == "Delete":
        return str(event["PhysicalResourceId"])
    name = event["ResourceProperties"].get("Name")
    if not isinstance(name, str) or not name.startswith("/"):
        raise ValueError(f"Custom::ReleaseRecord wants Name, an absolute parameter name, got {name!r}")
    try:
        ssm.put_parameter(Name=name, Value=NO_RELEASE.format(), Type="String", Overwrite=False)
    except ssm.exceptions.ParameterAlreadyExists:
        logger.info("the release record is there already and stays", record=name)
    return name


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
