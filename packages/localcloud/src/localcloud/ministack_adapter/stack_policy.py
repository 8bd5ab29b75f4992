"""Enforcement of stack policies, which ministack only stores.

Source: "Prevent updates to stack resources" (AWS CloudFormation User Guide). With a policy, what no statement allows is
denied. A policy given for one update applies to that update only. A rollback is never stopped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from ministack.services.cloudformation import _stacks, engine, provisioners

from localcloud.ministack_adapter.patching import wrap

_DENIED = "Action denied by stack policy"


def install() -> None:
    """Check the policy before each update of a resource."""
    wrap(provisioners, "_update_resource", _guarded)


def _guarded(original: Callable[..., Any]) -> Callable[..., Any]:
    def update(
        resource_type: str,
        physical_id: str,
        old: dict[str, Any],
        new: dict[str, Any],
        stack_name: str,
        logical_id: str | None = None,
        old_attributes: dict[str, Any] | None = None,
    ) -> Any:
        stack = _stacks.get(stack_name)
        if stack is not None and logical_id and old != new and "ROLLBACK" not in stack.get("StackStatus", ""):
            replaces = provisioners._replacing_change(resource_type, old, new)
            action = "Update:Replace" if replaces else "Update:Modify"
            reason = denial(policy_of(stack), action, logical_id, resource_type)
            if reason is not None:
                raise ValueError(reason)
        return original(resource_type, physical_id, old, new, stack_name, logical_id, old_attributes)

    return update


def policy_of(stack: Mapping[str, Any]) -> str:
    """Return the policy that applies to the stack's operation, or ""."""
    return str(stack.get("_policy_during_update") or stack.get("_stack_policy") or "")


def denied_removal(
    stack: Mapping[str, Any],
    template: Mapping[str, Any],
    param_values: Mapping[str, Any],
    previous: Mapping[str, Any] | None,
) -> tuple[str, Mapping[str, Any], str] | None:
    """Return the first resource that the update would delete against the policy: logical id, record, reason."""
    policy = policy_of(stack)
    if not policy:
        return None
    conditions = engine._evaluate_conditions(template, param_values)
    kept = {
        logical_id
        for logical_id, definition in template.get("Resources", {}).items()
        if conditions.get(definition.get("Condition"), True)
    }
    for logical_id, record in (previous or {}).get("_resources", {}).items():
        if logical_id in kept:
            continue
        reason = denial(policy, "Update:Delete", logical_id, record.get("ResourceType", ""))
        if reason is not None:
            return logical_id, record, reason
    return None


def denial(policy: str, action: str, logical_id: str, resource_type: str) -> str | None:
    """Return why the policy denies the action, in AWS's words, or None."""
    if not policy:
        return None
    resource = f"LogicalResourceId/{logical_id}"
    allowed = False
    for number, statement in enumerate(json.loads(policy).get("Statement", []), start=1):
        if not _applies_to(statement, action, resource, resource_type):
            continue
        if statement.get("Effect") == "Deny":
            return f"{_DENIED}: Statement [#{number}] does not allow [{action}] for resource [{resource}]"
        allowed = True
    return None if allowed else f"{_DENIED}: no statement allows [{action}] for resource [{resource}]"


def _applies_to(statement: Mapping[str, Any], action: str, resource: str, resource_type: str) -> bool:
    if not _matches(statement, "Action", action) or not _matches(statement, "Resource", resource):
        return False
    for operator, tests in (statement.get("Condition") or {}).items():
        wanted = _listed(tests.get("ResourceType", []))
        if operator == "StringEquals" and resource_type not in wanted:
            return False
        if operator == "StringLike" and not any(fnmatchcase(resource_type, pattern) for pattern in wanted):
            return False
    return True


def _matches(statement: Mapping[str, Any], element: str, value: str) -> bool:
    if element in statement:
        return any(fnmatchcase(value, pattern) for pattern in _listed(statement[element]))
    return not any(fnmatchcase(value, pattern) for pattern in _listed(statement.get(f"Not{element}", [])))


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
