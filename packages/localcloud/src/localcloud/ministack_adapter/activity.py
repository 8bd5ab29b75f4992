"""Work in progress in ministack's services: functions, deliveries to them, stacks."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextvars import Context
from typing import Any

from ministack.services import lambda_svc
from ministack.services.cloudformation import _stacks

from localcloud.ministack_adapter.schedules import waiting_messages

# Threads that poll or serve for ever; the other threads of these modules do one thing and end.
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
    """Return a description of each piece of work; empty when everything has had its effects.

    Args:
        resting: Physical ids of resources whose change only waits for time to pass, as does their stack.
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
    """Tell whether the stack's operation only waits for these resources."""
    changing = [note["PhysicalResourceId"] for note in (stack.get("_under_way") or {}).values()]
    return bool(changing) and resting.issuperset(changing)


def _deliveries() -> list[str]:
    """Return asynchronous invocations and event retries; each has a thread of its own until it ends."""
    names = []
    for thread in threading.enumerate():
        work = getattr(thread, "_target", None)
        if isinstance(getattr(work, "__self__", None), Context):  # started with a copy of the request's context
            work = next(iter(getattr(thread, "_args", ())), None)
        name = str(getattr(work, "__qualname__", ""))
        if getattr(work, "__module__", "") in _WORKING and not name.endswith(_FOR_EVER):
            names.append(name.partition(".<locals>")[0])
    return names
