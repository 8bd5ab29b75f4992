"""Due instants of rules, schedules and hidden queue messages on an accelerated clock.

ministack polls every ten seconds of real time. A clock that jumps must know the next instant.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from ministack.services import eventbridge, lambda_svc, scheduler, sqs

from localcloud.ministack_adapter.patching import wrap

_LOCK = threading.Lock()


def install() -> None:
    """Prevent ministack's polling and ours from firing the same thing twice."""
    wrap(eventbridge, "_tick_scheduled_rules", _one_at_a_time)
    wrap(scheduler, "_tick_schedules", _one_at_a_time)


class Schedules:
    """Rules with a schedule, and EventBridge Scheduler."""

    def next_due(self, now: float) -> float | None:
        """Return the next instant at which one of them fires."""
        return min(_due(now), default=None)

    def run_due(self) -> None:
        """Fire everything that is due, each once however often it was missed."""
        eventbridge._tick_scheduled_rules()
        scheduler._tick_schedules()


class HiddenMessages:
    """Messages that become visible again to a function: delayed ones, and those of a failed invocation."""

    def next_due(self, now: float) -> float | None:
        """Return the next instant at which a message becomes visible."""
        ahead = (
            float(message["visible_at"])
            for queue in _consumed_queues()
            for message in list(queue["messages"])
            if message["visible_at"] > now
        )
        return min(ahead, default=None)

    def run_due(self) -> None:
        """Do nothing: the poller sees a message as soon as it is visible."""


def waiting_messages() -> list[str]:
    """Return the queues that hold visible messages for a function."""
    now = time.time()
    return [
        f"messages in queue {str(queue['attributes'].get('QueueArn', '')).rpartition(':')[2]}"
        for queue in _consumed_queues()
        if any(message["visible_at"] <= now for message in list(queue["messages"]))
    ]


def _consumed_queues() -> Iterator[dict[str, Any]]:
    for _, _, mapping in lambda_svc._iter_all_esms():
        if mapping.get("Enabled", True) and ":sqs:" in str(mapping.get("EventSourceArn", "")):
            queue = sqs._queue_by_arn(mapping["EventSourceArn"])
            if queue is not None:
                yield queue


def _due(now: float) -> Iterator[float]:
    with _LOCK:
        for key, rule in list(eventbridge._rules._data.items()):
            if rule.get("State") == "ENABLED" and rule.get("ScheduleExpression"):
                anchor = float(rule.get("CreationTime", now))
                yield from _recurring(rule["ScheduleExpression"], eventbridge._rule_last_fired, key, anchor, now)
        for key, schedule in list(scheduler._schedules._data.items()):
            if schedule.get("State") == "ENABLED":
                yield from _scheduled(key, schedule, now)


def _scheduled(key: Any, schedule: dict[str, Any], now: float) -> Iterator[float]:
    start, end = (scheduler._to_epoch(schedule.get(name)) for name in ("StartDate", "EndDate"))
    expression = str(schedule.get("ScheduleExpression", ""))
    fired = scheduler._schedule_last_fired
    once = scheduler._at_time_epoch(expression)
    if once is not None:
        due = [] if key in fired else [once]
    else:
        due = list(_recurring(expression, fired, key, float(schedule.get("CreationDate", now)), now))
    for moment in due:
        later = moment if start is None else max(moment, start)
        if end is None or later <= end:
            yield later


def _recurring(expression: str, fired: dict[Any, float], key: Any, anchor: float, now: float) -> Iterator[float]:
    interval = eventbridge._parse_rate_seconds(expression)
    if interval is not None:
        yield fired.get(key, anchor) + interval
        return
    fields = eventbridge._parse_cron_fields(expression)
    if fields is not None:
        # ministack counts a cron expression from the first time it sees it, which is now.
        last = fired.setdefault(key, now)
        due = eventbridge._cron_next_fire(fields, datetime.fromtimestamp(last, UTC))
        if due is not None:
            yield due.timestamp()


def _one_at_a_time(original: Callable[[], None]) -> Callable[[], None]:
    def tick() -> None:
        with _LOCK:
            original()

    return tick
