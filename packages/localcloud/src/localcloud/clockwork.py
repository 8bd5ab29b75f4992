"""What moves the accelerated clock: from one due event to the next, never past anything that is under way.

The clock only goes on when it is told to (`localcloud clock advance`), so whoever replays a history decides
what happens at which instant. On the way everything that falls due is done in order; what falls due while something
else was under way, or within one resolution, is done once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from localcloud.virtual_time import VirtualTime

_LOOK_SECONDS, _LONGEST_LOOK_SECONDS = 0.005, 0.05  # each look costs what is under way some of the processor
_QUIET_LOOKS = 2  # an effect may be on its way between two threads at one look; not at two
_SHORTEST_STEP = 1.0


class Source(Protocol):
    """Something that happens at instants: schedules, alarms, monitoring."""

    def next_due(self, now: float) -> float | None:
        """The next instant (epoch seconds) at which something is due; at most `now` where it is overdue."""

    def run_due(self) -> None:
        """Do what is due by now, each thing once."""


class StillBusyError(Exception):
    """What is under way did not end in the time given; the text names it."""


@dataclass(frozen=True)
class Advance:
    """How far the clock came.

    Attributes:
        steps: jumps made.
        held_by: approvals that somebody has to decide before the clock goes on; empty when the target was reached.
    """

    now: float
    steps: int
    held_by: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        return {"now": iso(self.now), "steps": self.steps, "held_by": list(self.held_by)}


class Clockwork:
    """Moves the clock, one caller at a time.

    Args:
        under_way: names what the clock must wait for: jobs, deployments, stacks, functions.
        approvals: names what waits for a person.
        flush: brings to light what is collected and not yet written (captured data), and lets queued events through.
        watched: whether something goes on that must be seen at each of its instants, whatever the resolution.
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
        """End an advance that is under way, at its next look."""
        self._closed.set()

    def status(self) -> dict[str, Any]:
        """What the clock says and what it waits for."""
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
        """Go to `target` (epoch seconds) and return when everything that was due on the way has had its effects.

        Args:
            resolution: seconds; what falls due within one of them is done together, at its end.
            patience: real seconds that any one thing may be under way.
            over_approvals: do not stop where an approval is open.

        Raises:
            StillBusyError: something did not end; the clock stands where it was.
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
        quiet, pause = 0, _LOOK_SECONDS
        while quiet < _QUIET_LOOKS:
            self._flush()
            busy = self._under_way()
            quiet = 0 if busy else quiet + 1
            pause = min(pause * 1.1, _LONGEST_LOOK_SECONDS) if busy else _LOOK_SECONDS
            if busy and (self._closed.is_set() or time.monotonic() > deadline):
                raise StillBusyError(f"still under way after {patience:.0f} s: {', '.join(busy)}")
            time.sleep(pause)
        if self._closed.is_set():
            raise StillBusyError("the local cloud is being stopped")


def iso(moment: float) -> str:
    """`2013-03-01T00:00:00Z`."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
