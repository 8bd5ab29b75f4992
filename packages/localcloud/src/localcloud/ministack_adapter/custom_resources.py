"""Custom resources: the CDK's own ones without their functions, and those that never answer.

Source: AWS CloudFormation User Guide, "Custom resource request types": a function that fails is tried twice more, and
without an answer the resource fails after its timeout, by default an hour.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from ministack.services import lambda_svc
from ministack.services.cloudformation import _stacks, custom_resource, stacks

from localcloud.cdk_helpers import HELPERS, HelperError, Request
from localcloud.cloud import RoleError
from localcloud.ministack_adapter.patching import wrap

_log = logging.getLogger(__name__)
_NO_ANSWER = "CloudFormation did not receive a response from your custom resource."
ClientFor = Callable[[str, str], Any]


def install(client_for: ClientFor) -> None:
    """Run the CDK's helpers here, and say when a function ends without an answer.

    Args:
        client_for: (service, role ARN) → a client with that role's rights, as Lambda assumes it.
    """
    wrap(custom_resource, "invoke_custom_resource", lambda theirs: _invoking(theirs, client_for))
    wrap(lambda_svc, "_execute_function_with_config_scope", _watching)


def stop() -> None:
    """End the waits for answers, so that the process can end."""
    for token in list(custom_resource._pending):
        reason = "The local cloud was stopped while the custom resource had not answered."
        custom_resource.deliver_response(token, {"Status": "FAILED", "Reason": reason})


def _invoking(theirs: Callable[..., Any], client_for: ClientFor) -> Callable[..., Any]:
    def invoke(
        request_type: str,
        logical_id: str,
        props: Mapping[str, Any],
        stack_name: str,
        stack_id: str,
        resource_type: str,
        physical_id: str | None = None,
        old_props: Mapping[str, Any] | None = None,
    ) -> tuple[str, dict[str, Any]]:
        helper = HELPERS.get(resource_type)
        _, config, _ = lambda_svc._get_func_record_for_ref(props.get("ServiceToken", ""))
        if helper is None or not config:
            answer: tuple[str, dict[str, Any]] = theirs(
                request_type, logical_id, props, stack_name, stack_id, resource_type, physical_id, old_props
            )
            return answer
        role = str(config["Role"])
        plain = custom_resource._normalise_resource_properties
        request = Request(
            request_type,
            plain(dict(props)),
            plain(dict(old_props or {})),
            physical_id or "",
            lambda service: client_for(service, role),
        )
        try:
            done = helper(request)
        except (ClientError, BotoCoreError, HelperError, RoleError) as error:
            raise RuntimeError(f"{resource_type}: {error}") from error
        return done.physical_id, done.data

    return invoke


def _watching(original: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Fail a custom resource at once whose function has failed, and say it where the function has only ended."""

    def execute(func: Mapping[str, Any], event: Any) -> dict[str, Any]:
        result = original(func, event)
        url = str(event.get("ResponseURL", "")) if isinstance(event, dict) else ""
        token = url.rpartition("/cfn-response/")[2]
        entry = custom_resource._pending.get(token) if token else None
        if entry is None or entry["event"].is_set():
            return result
        name = (func.get("config") or {}).get("FunctionName", "")
        if result.get("error"):
            reason = f"{_NO_ANSWER} Its function {name} failed: {_error_of(result)}. (AWS says so after an hour.)"
            custom_resource.deliver_response(token, {"Status": "FAILED", "Reason": reason})
            return result
        waiting = f"Its function {name} has ended without an answer; CloudFormation waits for one."
        _log.warning("custom resource %s of %s: %s", event["LogicalResourceId"], event["StackId"], waiting)
        _say(event, waiting)
        return result

    return execute


def _error_of(result: Mapping[str, Any]) -> str:
    body = result.get("body")
    if isinstance(body, Mapping):
        return str(body.get("errorMessage") or body)
    return str(body or result.get("log") or "unknown error")[:500]


def _say(event: Mapping[str, Any], text: str) -> None:
    """Add an event to the stack, which the CDK's CLI shows while it waits."""
    status = {"Create": "CREATE_IN_PROGRESS", "Update": "UPDATE_IN_PROGRESS", "Delete": "DELETE_IN_PROGRESS"}
    name = next((key for key, stack in _stacks.items() if stack.get("StackId") == event["StackId"]), "")
    stacks._add_event(
        event["StackId"],
        name,
        event["LogicalResourceId"],
        event["ResourceType"],
        status[event["RequestType"]],
        text,
        event.get("PhysicalResourceId", ""),
    )
