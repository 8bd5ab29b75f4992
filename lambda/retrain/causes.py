"""Why a model might be trained now: what people asked for, and what is found. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from retrain.evidence import finding, labels
from retrain.world import Attempt, Request, World

EVIDENCE_CHARACTERS = 256
# The trigger and its evidence end in a package's metadata, which take neither braces nor quotes.
_NOT_IN_METADATA = re.compile(r"[\s{}\"'`\\]+")
# A run for one cause alone: its steps' arguments differ from those of every other run.
SHARED_CACHE = "shared"


@dataclass(frozen=True)
class Cause:
    """Why to train.

    Attributes:
        fresh: whether steps must not be taken from the cache.
        window_days: the training window, None for the pipeline's own.
    """

    trigger: str
    window: str
    evidence: str
    fresh: bool
    window_days: int | None = None
    commit: str = ""
    author: str = ""

    def attempt(self, now: datetime) -> Attempt:
        """Return the start of a run for this cause."""
        evidence = one_sentence(self.evidence)
        parameters = {
            "Trigger": self.trigger,
            "Evidence": evidence,
            "CacheScope": f"{self.trigger}@{self.window}" if self.fresh else SHARED_CACHE,
        }
        if self.window_days is not None:
            parameters["WindowDays"] = str(self.window_days)
        if self.commit:
            parameters["CommitId"] = self.commit
        if self.author:
            parameters["Author"] = self.author
        return Attempt(self.trigger, self.window, evidence, now, tuple(sorted(parameters.items())))


def one_sentence(text: str) -> str:
    """Return `text` as a package's metadata and a pipeline's parameter take it: one line, 256 characters."""
    line = _NOT_IN_METADATA.sub(" ", text).strip()
    return line if len(line) <= EVIDENCE_CHARACTERS else f"{line[: EVIDENCE_CHARACTERS - 1]}…"


def asked(world: World) -> Request | None:
    """Return the request to answer next: people in their order, then the newest code; older code is of no interest."""
    waiting = [r for r in world.requests if not r.refused and not world.attempted(r.trigger, r.window)]
    people = min((r for r in waiting if r.trigger == "person"), key=lambda request: request.at, default=None)
    newest = max((r for r in world.requests if r.trigger == "code"), key=lambda request: request.at, default=None)
    return people or (newest if newest in waiting else None)


def found(world: World, now: datetime) -> Iterator[Cause]:
    """Return the causes that nobody had to ask for, the most telling first."""
    yield from _from_verdicts(world)
    yield from _from_arrivals(world, now)
    yield from _from_schedule(world, now)


def _from_verdicts(world: World) -> Iterator[Cause]:
    drift, quality = finding(world, "data_quality"), finding(world, "model_quality")
    if drift.persists and quality.persists:
        evidence = f"quality fell and data drifted: {quality.sentence}; {drift.sentence}"
        yield Cause("drift", max(drift.window, quality.window), evidence, fresh=True)
    elif quality.persists:
        evidence = f"quality fell without drift: {quality.sentence}"
        yield Cause("quality", quality.window, evidence, fresh=True, window_days=world.policy.recent_days)
    elif drift.persists and labels(world) >= world.policy.min_labels:
        yield Cause("drift", drift.window, f"data drifted: {drift.sentence}", fresh=True)


def _from_arrivals(world: World, now: datetime) -> Iterator[Cause]:
    arrivals, policy = world.arrivals, world.policy
    if arrivals is None or policy.new_data_objects is None or arrivals.objects < policy.new_data_objects:
        return
    quiet = now - arrivals.last >= timedelta(minutes=policy.quiet_minutes)
    # Data that never stop landing are never quiet.
    overdue = now - arrivals.first >= timedelta(hours=policy.cooldown_hours)
    if quiet or overdue:
        evidence = f"{arrivals.objects} raw objects landed since the last run, the last at {_minute(arrivals.last)}"
        yield Cause("new-data", arrivals.last.isoformat(), evidence, fresh=False)


def _from_schedule(world: World, now: datetime) -> Iterator[Cause]:
    days = world.policy.schedule_days
    if days is None:
        return
    last = last_start(world)
    if last is None:
        yield Cause("schedule", "first", "the schedule asks for a first run", fresh=False)
    elif now - last >= timedelta(days=days):
        evidence = f"the last run began at {_minute(last)}, and the schedule asks for one every {days} days"
        yield Cause("schedule", last.isoformat(), evidence, fresh=False)


def last_start(world: World) -> datetime | None:
    """Return when the last run began, whoever started it."""
    return max([run.started_at for run in world.runs] + [attempt.at for attempt in world.attempts], default=None)


def _minute(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")
