"""What goes on in ministack's services at this moment: functions, deliveries to them, stacks."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextvars import Context
from typing import Any

from ministack.services import lambda_svc
from ministack.services.cloudformation import _stacks

from localcloud.ministack_adapter.schedules import waiting_messages

# Threads that look for work, or serve, for ever; the others of these modules do one thing and end.
_FOR_EVER = ("_loop", "_serve")
_WORKING = (
    "ministack.services.lambda_svc",
    "ministack.services.eventbridge",
    "ministack.services.sns",
    "ministack.services.s3",
    "ministack.services.cloudwatch",
    "localcloud.ministack_adapter.events",
)


def under_way(resting: frozenset[str] = frozenset()) -> list[str]:
    """Say it in words; empty when everything has had its effects.

    Args:
        resting: physical ids of resources whose change waits for nothing but time, and so does their stack.
    """
    total, by_function = lambda_svc.executions_in_flight()
    found = [f"function {str(name).rpartition(':')[2]}" for name in by_function] if total else []
    found += [f"delivery ({name})" for name in _deliveries()]
    found += waiting_messages()
    found += [
        f"stack {name} ({stack['StackStatus']})"
        for (_, _, name), stack in list(_stacks.all_items())
        if stack["StackStatus"].endswith("_IN_PROGRESS")
        and stack["StackStatus"] != "REVIEW_IN_PROGRESS"
        and not _rests(stack, resting)
    ]
    return found


def _rests(stack: Mapping[str, Any], resting: frozenset[str]) -> bool:
    """Whether all that the stack's operation does at this moment is to wait for one of these."""
    changing = [note["PhysicalResourceId"] for note in (stack.get("_under_way") or {}).values()]
    return bool(changing) and resting.issuperset(changing)


def _deliveries() -> list[str]:
    """Asynchronous invocations and event retries: each lives in a thread of its own until it is taken or given up."""
    names = []
    for thread in threading.enumerate():
        work = getattr(thread, "_target", None)
        if isinstance(getattr(work, "__self__", None), Context):  # started with a copy of the request's context
            work = next(iter(getattr(thread, "_args", ())), None)
        name = str(getattr(work, "__qualname__", ""))
        if getattr(work, "__module__", "") in _WORKING and not name.endswith(_FOR_EVER):
            names.append(name.partition(".<locals>")[0])
    return names
