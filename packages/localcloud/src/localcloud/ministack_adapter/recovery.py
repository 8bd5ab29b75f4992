"""Recovery of stacks that a killed gateway left in the middle of an operation.

A create is rolled back (`ROLLBACK_COMPLETE`, with its resources deleted). An update goes back to the previous template
(`UPDATE_ROLLBACK_COMPLETE`, or `UPDATE_ROLLBACK_FAILED` if something cannot be undone). A deletion continues.
"""

from __future__ import annotations

import logging
from typing import Any

from ministack.core import responses
from ministack.services.cloudformation import _change_sets, _stacks, stacks

from localcloud.ministack_adapter.snapshots import Snapshots
from localcloud.ministack_adapter.stack_operations import interrupted_operation

_log = logging.getLogger(__name__)
_REASON = "The local cloud was stopped during the operation"


async def recover(snapshots: Snapshots) -> None:
    """Finish every interrupted operation. HTTP must be served, because handlers call the gateway."""
    # Collect everything that was interrupted before the first wait: clients may start new operations from then on.
    interrupted = [
        (account, region, str(name), stack, str(stack["StackStatus"]))
        for (account, region, name), stack in _stacks.all_items()
        if stack["StackStatus"].endswith("_IN_PROGRESS") and stack["StackStatus"] != "REVIEW_IN_PROGRESS"
    ]
    for change_set in _change_sets.all_values():
        if change_set["ExecutionStatus"] == "EXECUTE_IN_PROGRESS":
            change_set["ExecutionStatus"] = "EXECUTE_FAILED"
    for account, region, name, stack, status in interrupted:
        _log.warning("stack %s was left in %s", name, status)
        with responses.request_scope(account, region):
            await _finish(name, stack, status)
        snapshots.mark("cloudformation")


async def _finish(name: str, stack: dict[str, Any], status: str) -> None:
    stack_id = stack["StackId"]
    if status == "DELETE_IN_PROGRESS":
        await stacks._delete_stack_async(name, stack_id)
        return
    trace = stack.get("_operation") or {}
    before = (trace.get("previous_stack") or {}).get("_resources", {})
    for logical_id, note in (stack.pop("_under_way", None) or {}).items():
        # The half-made or half-changed resource is undone too.
        known = stack.setdefault("_resources", {}).get(logical_id) or before.get(logical_id) or {}
        stack["_resources"][logical_id] = {**known, **note, "LogicalResourceId": logical_id}
    operation = interrupted_operation(stack)
    verb = "UPDATE" if operation["is_update"] else "CREATE"
    stacks._add_event(stack_id, name, name, "AWS::CloudFormation::Stack", f"{verb}_FAILED", _REASON, stack_id)
    await stacks._roll_back_operation(name, stack_id, stack, operation, _REASON)
    stack.pop("_operation", None)
