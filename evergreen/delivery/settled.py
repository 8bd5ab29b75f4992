"""Check that no release and no deployment of a model is under way in a stage."""

from __future__ import annotations

from collections.abc import Iterator

from evergreen.deployed import Platform, is_moving

_MOVING_ENDPOINT = {"Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"}


def unsettled(platform: Platform, model: str) -> Iterator[str]:
    """Yield a phrase for each stack and endpoint of the model that is changing."""
    names = platform.names(model)
    for stack in (names.serving_stack, names.monitoring_stack):
        status = platform.stack_status(stack)
        if is_moving(status):
            yield f"stack {stack} is {status}"
    status = platform.endpoint_status(names.endpoint)
    if status in _MOVING_ENDPOINT:
        yield f"endpoint {names.endpoint} is {status}"
