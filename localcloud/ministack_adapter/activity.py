"""What goes on in ministack's services at this moment: functions, deliveries to them, stacks."""

from __future__ import annotations

import threading

from ministack.services import lambda_svc
from ministack.services.cloudformation import _stacks

from localcloud.ministack_adapter.schedules import waiting_messages

# Threads that look for work for ever; the others of these modules do one thing and end.
_LOOKING = ("_poll_loop", "_ticker_loop", "_scheduler_loop")
_WORKING = (
    "ministack.services.lambda_svc",
    "ministack.services.eventbridge",
    "ministack.services.sns",
    "ministack.services.s3",
    "ministack.services.cloudwatch",
    "localcloud.ministack_adapter.events",
)


def under_way() -> list[str]:
    """Say it in words; empty when everything has had its effects."""
    total, by_function = lambda_svc.executions_in_flight()
    found = [f"function {str(name).rpartition(':')[2]}" for name in by_function] if total else []
    found += [f"delivery ({name})" for name in _deliveries()]
    found += waiting_messages()
    found += [
        f"stack {name} ({stack['StackStatus']})"
        for (_, _, name), stack in list(_stacks.all_items())
        if stack["StackStatus"].endswith("_IN_PROGRESS") and stack["StackStatus"] != "REVIEW_IN_PROGRESS"
    ]
    return found


def _deliveries() -> list[str]:
    """Asynchronous invocations and event retries: each lives in a thread of its own until it is taken or given up."""
    names = []
    for thread in threading.enumerate():
        target = getattr(thread, "_target", None)
        module = getattr(target, "__module__", "")
        name = getattr(target, "__qualname__", "")
        if module in _WORKING and not name.endswith(_LOOKING):
            names.append(name.partition(".")[0])
    return names
