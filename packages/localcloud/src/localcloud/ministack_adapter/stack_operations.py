"""CloudFormation's operations: events on the bus, service roles, and a trace for recovery.

Source: "CloudFormation events detail reference" (Amazon EventBridge).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from xml.sax.saxutils import escape

from ministack.services.cloudformation import _stacks, changesets, handlers, helpers, stacks

from localcloud.ministack_adapter import stack_policy
from localcloud.ministack_adapter.events import Bus
from localcloud.ministack_adapter.patching import wrap
from localcloud.ministack_adapter.snapshots import Snapshots

_STACK_ID = re.compile("<StackId>([^<]+)</StackId>")
Params = Mapping[str, Any]
Handler = Callable[[Params], Any]


def install(bus: Bus, snapshots: Snapshots) -> None:
    """Emit stack events, trace operations, and keep and report the service role of each stack."""
    wrap(stacks, "_add_event", _with_stack_events(bus, snapshots))
    wrap(stacks, "_deploy_stack_async", _traced)
    actions = handlers._ACTION_HANDLERS
    for name, make in {
        "CreateStack": _role_after,
        "UpdateStack": _role_before,
        "DeleteStack": _role_before,
        "CreateChangeSet": _role_on_change_set,
        "ExecuteChangeSet": _role_of_change_set,
        "DescribeStacks": _role_described,
    }.items():
        actions[name] = make(actions[name])


def _with_stack_events(bus: Bus, snapshots: Snapshots) -> Callable[[Callable[..., None]], Callable[..., None]]:
    def make(original: Callable[..., None]) -> Callable[..., None]:
        def add(
            stack_id: str,
            stack_name: str,
            logical_id: str,
            resource_type: str,
            status: str,
            reason: str = "",
            physical_id: str = "",
            detailed_status: str = "",
        ) -> None:
            original(stack_id, stack_name, logical_id, resource_type, status, reason, physical_id, detailed_status)
            snapshots.mark("cloudformation")
            detail: dict[str, Any] = {
                "stack-id": stack_id,
                "status-details": {"status": status, "status-reason": reason},
                "client-request-token": stacks.CLIENT_REQUEST_TOKEN.get(),
            }
            if resource_type == "AWS::CloudFormation::Stack" and logical_id == stack_name:
                if detailed_status:
                    detail["status-details"]["detailed-status"] = detailed_status
                bus.emit("aws.cloudformation", "CloudFormation Stack Status Change", [stack_id], detail)
                return
            detail |= {
                "logical-resource-id": logical_id,
                "physical-resource-id": physical_id,
                "resource-type": resource_type,
            }
            bus.emit("aws.cloudformation", "CloudFormation Resource Status Change", [stack_id], detail)

        return add

    return make


def _traced(original: Callable[..., Any]) -> Callable[..., Any]:
    """Trace a running operation on the stack's record for its rollback; refuse removals that the policy denies."""

    async def deploy(
        stack_name: str,
        stack_id: str,
        template: dict[str, Any],
        param_values: dict[str, Any],
        disable_rollback: bool,
        tags: list[dict[str, Any]],
        is_update: bool = False,
        previous_stack: dict[str, Any] | None = None,
        retain_except_on_create: bool = False,
        imports: dict[str, Any] | None = None,
    ) -> None:
        stack = _stacks[stack_name]
        stack["_operation"] = {
            "is_update": bool(is_update),
            "previous_stack": previous_stack,
            "template": template,
            "param_values": param_values,
            "retain_except_on_create": bool(retain_except_on_create),
            "stack_tags": list(stack.get("Tags") or []),
            "previous_tags": list((previous_stack or {}).get("Tags") or []),
        }
        try:
            denied = stack_policy.denied_removal(stack, template, param_values, previous_stack) if is_update else None
            if denied is not None:
                logical_id, record, reason = denied
                stacks._add_event(
                    stack_id,
                    stack_name,
                    logical_id,
                    record.get("ResourceType", ""),
                    "UPDATE_FAILED",
                    reason,
                    record.get("PhysicalResourceId", ""),
                )
                await stacks._roll_back_operation(stack_name, stack_id, stack, interrupted_operation(stack), reason)
                return
            await original(
                stack_name,
                stack_id,
                template,
                param_values,
                disable_rollback,
                tags,
                is_update,
                previous_stack,
                retain_except_on_create,
                imports,
            )
        finally:
            stack.pop("_operation", None)
            stack.pop("_policy_during_update", None)

    return deploy


def interrupted_operation(stack: dict[str, Any]) -> dict[str, Any]:
    """Return what ministack's rollback needs to undo the operation traced on the stack's record."""
    trace = stack.get("_operation") or {
        "is_update": False,
        "template": stack.get("_template") or {},
        "param_values": stack.get("_resolved_params") or {},
    }
    before = (trace.get("previous_stack") or {}).get("_resources", {})
    resources = stack.setdefault("_resources", {})
    touched = [logical_id for logical_id, record in resources.items() if record != before.get(logical_id)]
    operation: dict[str, Any] = stacks._failed_operation(
        trace["is_update"],
        trace.get("previous_stack"),
        touched,
        None,
        None,
        [],
        False,
        trace["template"],
        trace["param_values"],
        trace.get("retain_except_on_create", False),
        trace.get("stack_tags", []),
        trace.get("previous_tags", []),
    )
    return operation


def _role(params: Params) -> str:
    return str(helpers._p(params, "RoleARN"))


def _role_after(original: Handler) -> Handler:
    def run(params: Params) -> Any:
        reply = original(params)
        stack = _stacks.get(helpers._p(params, "StackName"))
        if stack is not None and _role(params) and reply[0] == 200:
            stack["_role_arn"] = _role(params)
        return reply

    return run


def _role_before(original: Handler) -> Handler:
    """Use the role that an update or a deletion names, or the stack's last one."""

    def run(params: Params) -> Any:
        stack = handlers._resolve_stack(helpers._p(params, "StackName"))
        if stack is not None:
            if _role(params):
                stack["_role_arn"] = _role(params)
            override = helpers._p(params, "StackPolicyDuringUpdateBody")
            if override:
                stack["_policy_during_update"] = override
        return original(params)

    return run


def _role_on_change_set(original: Handler) -> Handler:
    def run(params: Params) -> Any:
        reply = original(params)
        if reply[0] == 200:
            stack = handlers._resolve_stack(helpers._p(params, "StackName")) or {}
            _, change_set = changesets._find_change_set(helpers._p(params, "ChangeSetName"), stack.get("StackName", ""))
            if change_set is not None:
                change_set["_role_arn"] = _role(params) or stack.get("_role_arn")
        return reply

    return run


def _role_of_change_set(original: Handler) -> Handler:
    def run(params: Params) -> Any:
        stack = handlers._resolve_stack(helpers._p(params, "StackName")) or {}
        name = stack.get("StackName", helpers._p(params, "StackName"))
        _, change_set = changesets._find_change_set(helpers._p(params, "ChangeSetName"), name)
        if change_set is not None and change_set.get("_role_arn"):
            held = _stacks.get(change_set["StackName"])
            if held is not None:
                held["_role_arn"] = change_set["_role_arn"]
        return original(params)

    return run


def _role_described(original: Handler) -> Handler:
    """Report the role that is associated with each stack."""

    def run(params: Params) -> Any:
        status, headers, body = original(params)

        def with_role(member: re.Match[str]) -> str:
            held = handlers._resolve_stack(member[1]) or {}
            role = held.get("_role_arn")
            return f"{member[0]}<RoleARN>{escape(role)}</RoleARN>" if role else member[0]

        text = body.decode() if isinstance(body, bytes) else body
        return status, headers, _STACK_ID.sub(with_role, text).encode()

    return run
