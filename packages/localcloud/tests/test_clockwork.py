"""The order of due events on an accelerated clock, with a fake clock and fake sources."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from localcloud.clock_cli import duration
from localcloud.clockwork import Clockwork, StillBusyError
from localcloud.virtual_time import VirtualTime, WrongClockError, choose

START = 1362096000.0


class Every:
    """A source that is due every `period` seconds."""

    def __init__(self, clock: VirtualTime, period: float) -> None:
        self.clock, self.period, self.last, self.ran = clock, period, START, [0.0]
        self.ran.clear()

    def next_due(self, _now: float) -> float:
        return self.last + self.period

    def run_due(self) -> None:
        if self.clock.now() >= self.next_due(0):
            self.last = self.clock.now()
            self.ran.append(math.floor(self.last - START))


@pytest.fixture
def clock(tmp_path: Path) -> VirtualTime:
    choose(tmp_path, "accelerated", None)
    return VirtualTime(tmp_path)


def work(
    clock: VirtualTime, *sources: Every, busy: list[list[str]] | None = None, held: list[str] | None = None
) -> Clockwork:
    waiting = busy or []
    return Clockwork(
        clock,
        sources,
        under_way=lambda: waiting.pop(0) if waiting else [],
        approvals=lambda: held or [],
        flush=lambda: None,
    )


def test_everything_due_on_the_way_happens_at_its_instant(clock: VirtualTime) -> None:
    hourly, daily = Every(clock, 3600), Every(clock, 10000)
    done = work(clock, hourly, daily).advance(START + 11000)
    assert hourly.ran == [3600, 7200, 10800]
    assert daily.ran == [10000]
    assert START + 11000 <= done.now < START + 11002


def test_what_falls_due_within_one_resolution_happens_once(clock: VirtualTime) -> None:
    often = Every(clock, 60)
    done = work(clock, often).advance(START + 86400, resolution=21600)
    assert len(often.ran) == done.steps == 4


def test_what_is_watched_is_seen_at_each_of_its_instants_whatever_the_resolution(clock: VirtualTime) -> None:
    often = Every(clock, 60)
    watching = Clockwork(
        clock, [often], under_way=list, approvals=list, flush=lambda: None, watched=lambda: len(often.ran) < 3
    )
    watching.advance(START + 86400, resolution=21600)
    assert often.ran[:3] == [60, 120, 180]
    assert len(often.ran) == 7


def test_the_clock_stands_still_while_something_is_under_way(clock: VirtualTime) -> None:
    hourly = Every(clock, 3600)
    with pytest.raises(StillBusyError, match="training job a"):
        work(clock, hourly, busy=[["training job a"]] * 10000).advance(START + 7200, patience=0.05)
    assert hourly.ran == []
    assert clock.now() < START + 5


def test_the_clock_stands_still_while_an_approval_is_open(clock: VirtualTime) -> None:
    held = ["approval of models version 3"]
    clockwork = work(clock, Every(clock, 3600), held=held)
    assert clockwork.advance(START + 7200).held_by == tuple(held)
    assert clock.now() < START + 5
    held.clear()
    assert clockwork.advance(START + 7200).held_by == ()
    assert clock.now() >= START + 7200


def test_the_clock_never_goes_back(clock: VirtualTime) -> None:
    clock.jump_to(START + 100)
    clock.jump_to(START + 50)
    assert clock.now() >= START + 100


def test_a_state_folder_keeps_the_clock_that_it_began_with(tmp_path: Path) -> None:
    assert choose(tmp_path, "accelerated", None)
    assert choose(tmp_path, None, None)
    with pytest.raises(WrongClockError, match="already has an accelerated clock"):
        choose(tmp_path, "real", None)
    old = tmp_path / "old"
    old.mkdir()
    (old / "localcloud.db").touch()
    with pytest.raises(WrongClockError, match="a cloud on the real clock"):
        choose(old, "accelerated", None)


def test_durations_are_read_whole_or_not_at_all() -> None:
    assert duration("1d12h") == 129600
    with pytest.raises(Exception, match="a duration is like"):
        duration("12")
