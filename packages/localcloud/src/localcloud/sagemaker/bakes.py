"""Waits of deployments on the cloud's clock, which the rollback alarms end early.

On the real clock a wait takes as long as it says. On an accelerated clock a deployment that only waits is nothing
that the clock must wait for: the end of each wait is a due event, as the end of an alarm's period is, and the alarms
are asked before every jump and after it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from localcloud.sagemaker.context import Context

_LOOK_SECONDS = 1.0


class Interrupted(Exception):
    """The local cloud is being stopped in the middle of a wait."""


@dataclass
class _Bake:
    until: float
    alarms: Sequence[str]
    firing: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    judging: threading.Lock = field(default_factory=threading.Lock)


class Bakes:
    """The waits that are under way; a source of due events for the clock (`localcloud.clockwork.Source`)."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._open: dict[str, _Bake] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def hold(self, arn: str, until: float, alarms: Sequence[str]) -> list[str]:
        """Wait until the clock says `until` (epoch seconds), or one of the alarms is in ALARM; return those that are.

        Raises:
            Interrupted: the local cloud is being stopped.
        """
        bake = _Bake(until, alarms)
        with self._lock:
            self._open[arn] = bake
        try:
            while not self._judge(bake):
                bake.over.wait(_LOOK_SECONDS)
            if self._closed.is_set():  # which ends every wait, but no bake
                raise Interrupted
            return bake.firing
        finally:
            with self._lock:
                del self._open[arn]

    def resting(self) -> frozenset[str]:
        """ARNs of the endpoints whose deployment waits for nothing but time."""
        now = self._context.now()
        return frozenset(arn for arn, bake in self._all() if now < bake.until and not bake.over.is_set())

    def look(self) -> bool:
        """Ask the alarms of every wait now; return whether one of the waits ended."""
        ended = [self._judge(bake) for _, bake in self._all()]
        return any(ended)

    def next_due(self, _now: float) -> float | None:
        """The next end of a wait."""
        return min((bake.until for _, bake in self._all()), default=None)

    def run_due(self) -> None:
        """End the waits whose time has come, or whose alarms say so."""
        self.look()

    def close(self) -> None:
        """Interrupt all waits."""
        self._closed.set()
        for _, bake in self._all():
            bake.over.set()

    def firing(self, names: Sequence[str]) -> list[str]:
        """Those of the alarms that are in ALARM, by name."""
        if not names:
            return []
        alarms = self._context.cloud.client("cloudwatch").describe_alarms(
            AlarmNames=list(names), AlarmTypes=["MetricAlarm", "CompositeAlarm"]
        )
        found = [*alarms.get("MetricAlarms", ()), *alarms.get("CompositeAlarms", ())]
        return sorted(alarm["AlarmName"] for alarm in found if alarm["StateValue"] == "ALARM")

    def _all(self) -> list[tuple[str, _Bake]]:
        with self._lock:
            return list(self._open.items())

    def _judge(self, bake: _Bake) -> bool:
        """Whether the wait is over. The alarms come first: what fires at the last instant still counts."""
        if self._closed.is_set():
            bake.over.set()
        with bake.judging:  # the clock's thread looks as well, and an alarm that was seen must not be unseen
            if not bake.over.is_set():
                bake.firing = self.firing(bake.alarms)
                if bake.firing or self._context.now() >= bake.until:
                    bake.over.set()
        return bake.over.is_set()
