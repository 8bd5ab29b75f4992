"""Whether anything of a model in a stage still moves."""

from __future__ import annotations

from collections.abc import Iterator

from botocore.exceptions import ClientError

from evergreen.delivery.accounts import Platform

_MOVING_ENDPOINT = {"Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"}


def unsettled(platform: Platform, model: str) -> Iterator[str]:
    """What of the model moves: its serving and monitoring stacks and its endpoint, each in some words."""
    app, stage = platform.application.name, platform.stage.name
    for kind in ("serving", "monitoring"):
        name = f"{app}-{kind}-{model}-{stage}"
        status = _stack_status(platform, name)
        # A change set that was never executed waits for nobody.
        if status.endswith("_IN_PROGRESS") and status != "REVIEW_IN_PROGRESS":
            yield f"stack {name} is {status}"
    endpoint = f"{app}-{model}-{stage}"
    status = _endpoint_status(platform, endpoint)
    if status in _MOVING_ENDPOINT:
        yield f"endpoint {endpoint} is {status}"


def _stack_status(platform: Platform, name: str) -> str:
    try:
        (stack,) = platform.session.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        return _nothing(error, "does not exist")
    return stack["StackStatus"]


def _endpoint_status(platform: Platform, name: str) -> str:
    try:
        return platform.session.client("sagemaker").describe_endpoint(EndpointName=name)["EndpointStatus"]
    except ClientError as error:
        return _nothing(error, "could not find")


def _nothing(error: ClientError, words: str) -> str:
    """ "" where AWS says that there is no such thing.

    Raises:
        ClientError: Where it says something else.
    """
    if words in error.response["Error"].get("Message", "").lower():
        return ""
    raise error
