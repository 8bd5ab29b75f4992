"""Advancing the accelerated clock from one due event to the next, never past anything in progress.

The clock moves only when it is asked to (`localcloud clock advance`), so the caller decides what happens at which
instant. Everything that falls due on the way is done in order. What falls due while something else is in progress, or
within one resolution, is done once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from localcloud.virtual_time import VirtualTime

_CHECK_SECONDS, _LONGEST_CHECK_SECONDS = 0.005, 0.05  # each check takes processor time from the work
_IDLE_CHECKS = 2  # one check may miss an effect that passes from one thread to another
_SHORTEST_STEP = 1.0


class Source(Protocol):
    """A source of due events: schedules, alarms, monitoring."""

    def next_due(self, now: float) -> float | None:
        """Return the next instant (epoch seconds) at which something is due, at most `now` where it is overdue."""

    def run_due(self) -> None:
        """Do everything that is due by now, each thing once."""


class StillBusyError(Exception):
    """Something in progress did not end in the time given; the text names it."""


@dataclass(frozen=True)
class Advance:
    """The result of an advance.

    Attributes:
        now: The clock afterwards, in epoch seconds.
        steps: The number of jumps.
        held_by: Approvals that a person must decide before the clock continues; empty if the target was reached.
    """

    now: float
    steps: int
    held_by: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """Return the result as a JSON object."""
        return {"now": iso(self.now), "steps": self.steps, "held_by": list(self.held_by)}


class Clockwork:
    """Moves the clock, for one caller at a time.

    Args:
        under_way: Names what the clock must wait for: jobs, deployments, stacks, functions.
        approvals: Names what waits for a person.
        flush: Writes what was collected (captured data) and lets queued events through.
        watched: Tells whether each of the coming instants matters, whatever the resolution.
    """

    def __init__(
        self,
        clock: VirtualTime,
        sources: Sequence[Source],
        *,
        under_way: Callable[[], list[str]],
        approvals: Callable[[], list[str]],
        flush: Callable[[], None],
        watched: Callable[[], bool] = lambda: False,
    ) -> None:
        self._clock, self._sources = clock, sources
        self._under_way, self._approvals, self._flush = under_way, approvals, flush
        self._watched = watched
        self._moving = threading.Lock()
        self._closed = threading.Event()

    def close(self) -> None:
        """End a running advance at its next check."""
        self._closed.set()

    def status(self) -> dict[str, Any]:
        """Return the clock's time, the next due instant and what the clock waits for."""
        now = self._clock.now()
        due = self._next_due(now)
        return {
            "mode": "accelerated",
            "start": iso(self._clock.start),
            "now": iso(now),
            "next_due": None if due is None else iso(due),
            "under_way": self._under_way(),
            "approvals": self._approvals(),
        }

    def advance(
        self,
        target: float,
        *,
        resolution: float = _SHORTEST_STEP,
        patience: float = 3600,
        over_approvals: bool = False,
    ) -> Advance:
        """Advance to `target` and return once everything that was due on the way has had its effects.

        Args:
            target: Epoch seconds.
            resolution: Seconds; what falls due within one resolution is done together, at its end.
            patience: Real seconds that any one thing may be in progress.
            over_approvals: Do not stop at an open approval.

        Raises:
            StillBusyError: Something did not end; the clock stands where it was.
        """
        with self._moving:
            steps = 0
            self._settle(patience)
            while True:
                held = () if over_approvals else tuple(self._approvals())
                now = self._clock.now()
                if held and now < target:
                    return Advance(now, steps, held)
                due = self._next_due(now)
                if now >= target and (due is None or due > now):
                    return Advance(now, steps, ())
                step = _SHORTEST_STEP if self._watched() else max(resolution, _SHORTEST_STEP)
                moment = target if due is None else min(max(due, now + step), target)
                self._clock.jump_to(moment)
                steps += 1
                for source in self._sources:
                    source.run_due()
                self._settle(patience)
                if moment >= target:
                    return Advance(self._clock.now(), steps, ())

    def _next_due(self, now: float) -> float | None:
        return min((due for source in self._sources if (due := source.next_due(now)) is not None), default=None)

    def _settle(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        quiet, pause = 0, _CHECK_SECONDS
        while quiet < _IDLE_CHECKS:
            self._flush()
            busy = self._under_way()
            quiet = 0 if busy else quiet + 1
            pause = min(pause * 1.1, _LONGEST_CHECK_SECONDS) if busy else _CHECK_SECONDS
            if busy and (self._closed.is_set() or time.monotonic() > deadline):
                raise StillBusyError(f"still under way after {patience:.0f} s: {', '.join(busy)}")
            time.sleep(pause)
        if self._closed.is_set():
            raise StillBusyError("the local cloud is being stopped")


def iso(moment: float) -> str:
    """Return epoch seconds as `2013-03-01T00:00:00Z`."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
