"""Bounded waits that say what they wait for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from evergreen.errors import FailedError

T = TypeVar("T")

_FIRST_LOOK, _LONGEST_LOOK, _SLOWER = 0.3, 5.0, 1.3
_QUIET_SECONDS, _HEARTBEAT_SECONDS, _LONGEST_SILENCE = 2.0, 10.0, 60.0


class StepError(FailedError):
    """A step did not end as it should. What was deployed is deleted."""


def elapsed(seconds: float) -> str:
    """Return a length of time for people, such as `45 s` or `12 min`."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


@dataclass(frozen=True)
class Waits:
    """Waiting and telling.

    Attributes:
        say: Prints a line.
        sleep: Sleeps, seconds.
        clock: Returns seconds that never go back.
    """

    say: Callable[[str], None]
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def until(
        self, what: str, look: Callable[[], T | None], *, minutes: float, detail: Callable[[], str] = lambda: ""
    ) -> T:
        """Look again and again until there is something, and return it.

        Args:
            what: What is waited for, for the progress line and the error.
            look: Returns what was found, None while there is nothing.
            minutes: How long to wait at most.
            detail: Returns what is known meanwhile.

        Raises:
            StepError: Nothing was found in time.
        """
        began = spoke = self.clock()
        pause, silence = _FIRST_LOOK, _QUIET_SECONDS
        while (found := look()) is None:
            waited = self.clock() - began
            if waited > minutes * 60:
                raise StepError(f"{what}: not within {minutes:.0f} minutes{_after(detail())}")
            if self.clock() - spoke > silence:
                spoke = self.clock()
                silence = min(max(2 * silence, _HEARTBEAT_SECONDS), _LONGEST_SILENCE)
                self.say(f"  {elapsed(waited):>6}  waiting for {what}, at most {minutes:.0f} min{_after(detail())}")
            self.sleep(pause)
            pause = min(_SLOWER * pause, _LONGEST_LOOK)
        return found


def _after(detail: str) -> str:
    return f": {detail}" if detail else ""
