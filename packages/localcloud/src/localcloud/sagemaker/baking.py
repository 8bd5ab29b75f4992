"""Baking periods of deployments, measured on the cloud's clock; rollback alarms end them early.

With the real clock a period takes its full length. With the accelerated clock a deployment that only bakes does not
hold the clock: the end of each period is a due event, and the alarms are checked before and after every jump.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from localcloud.sagemaker.context import Context

_CHECK_SECONDS = 1.0


class WaitInterrupted(Exception):
    """The local cloud is stopping, so a wait ended early."""


@dataclass
class _Wait:
    until: float
    alarms: Sequence[str]
    alarming: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)


class BakingPeriods:
    """The baking periods in progress; a source of due events for the clock (`localcloud.clockwork.Source`)."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._open: dict[str, _Wait] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def wait_until(self, arn: str, until: float, alarms: Sequence[str]) -> list[str]:
        """Wait until the clock reaches `until` or one of the alarms is in ALARM.

        Args:
            arn: of the endpoint.
            until: epoch seconds.
            alarms: alarm names.

        Returns:
            The names of the alarms that are in ALARM.

        Raises:
            WaitInterrupted: the local cloud is stopping.
        """
        wait = _Wait(until, alarms)
        with self._lock:
            self._open[arn] = wait
        try:
            while not self._evaluate(wait):
                wait.over.wait(_CHECK_SECONDS)
            if self._closed.is_set():  # `close` ended the wait before the baking period was over
                raise WaitInterrupted
            return wait.alarming
        finally:
            with self._lock:
                del self._open[arn]

    def waiting(self) -> frozenset[str]:
        """Return the ARNs of the endpoints whose deployment waits only for time to pass."""
        now = self._context.now()
        return frozenset(arn for arn, wait in self._all() if now < wait.until and not wait.over.is_set())

    def check_alarms(self) -> bool:
        """Check the alarms of every wait now; return whether a wait ended."""
        ended = [self._evaluate(wait) for _, wait in self._all()]
        return any(ended)

    def next_due(self, _now: float) -> float | None:
        """Return when the next wait ends (epoch seconds), or None."""
        return min((wait.until for _, wait in self._all()), default=None)

    def run_due(self) -> None:
        """End the waits that have expired or have an alarm in ALARM."""
        self.check_alarms()

    def close(self) -> None:
        """Interrupt all waits."""
        self._closed.set()
        for _, wait in self._all():
            wait.over.set()

    def alarming(self, names: Sequence[str]) -> list[str]:
        """Return the sorted names of those alarms that are in ALARM."""
        if not names:
            return []
        alarms = self._context.cloud.client("cloudwatch").describe_alarms(
            AlarmNames=list(names), AlarmTypes=["MetricAlarm", "CompositeAlarm"]
        )
        found = [*alarms.get("MetricAlarms", ()), *alarms.get("CompositeAlarms", ())]
        return sorted(alarm["AlarmName"] for alarm in found if alarm["StateValue"] == "ALARM")

    def _all(self) -> list[tuple[str, _Wait]]:
        with self._lock:
            return list(self._open.items())

    def _evaluate(self, wait: _Wait) -> bool:
        """Return whether the wait is over; alarms are checked before the time, so that a late alarm still counts."""
        if self._closed.is_set():
            wait.over.set()
        with wait.lock:  # the clock's thread calls this too, and must not overwrite an alarm that was found
            if not wait.over.is_set():
                wait.alarming = self.alarming(wait.alarms)
                if wait.alarming or self._context.now() >= wait.until:
                    wait.over.set()
        return wait.over.is_set()
