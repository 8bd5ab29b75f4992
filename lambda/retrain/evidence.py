"""The evidence for a retraining: what the verdicts say together, and the causes that follow. Pure.

Only conclusive verdicts on the live release count. Too little data is neither OK nor drift, so it neither makes
evidence nor removes it. An attempt answers all windows that ended before it began, even if it fails: a fault that is
over by then must not start another run when the cooldown ends.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from retrain.observation import Attempt, RetrainObservation, RetrainRequest, RetrainTrigger
from shared.verdict import MonitorKind, Verdict, VerdictStatus

# An alarm is 2 of 3 windows. A schema violation blocks a retraining for as many windows.
ALARM_DRIFTED, ALARM_WINDOWS = 2, 3
_FEATURES_NAMED = 3
EVIDENCE_CHARACTERS = 256
# Trigger and evidence become metadata of a package, which take neither braces nor quotes.
_NOT_IN_METADATA = re.compile(r"[\s{}\"'`\\]+")
SHARED_CACHE = "shared"


@dataclass(frozen=True)
class Finding:
    """The last conclusive verdicts of one kind, newest first.

    Attributes:
        wanted: Drifted verdicts that make evidence.
    """

    verdicts: tuple[Verdict, ...]
    wanted: int

    @property
    def drifted(self) -> tuple[Verdict, ...]:
        """The verdicts that found drift."""
        return tuple(verdict for verdict in self.verdicts if verdict.status == VerdictStatus.DRIFT)

    @property
    def persists(self) -> bool:
        """True if there is enough drift for a retraining."""
        return len(self.drifted) >= self.wanted

    @property
    def alarming(self) -> bool:
        """True if there is enough drift for an alarm."""
        newest = self.verdicts[:ALARM_WINDOWS]
        return sum(verdict.status == VerdictStatus.DRIFT for verdict in newest) >= ALARM_DRIFTED

    @property
    def window(self) -> str:
        """The end of the newest window that drifted. A newer window is new evidence."""
        return max(verdict.window_end for verdict in self.drifted).isoformat()

    @property
    def sentence(self) -> str:
        """The finding in words, such as `4 of the last 6 windows drifted, last: …`."""
        newest = self.drifted[0]
        return f"{len(self.drifted)} of the last {len(self.verdicts)} windows drifted, last: {newest.evidence}"


@dataclass(frozen=True)
class Cause:
    """A cause for a retraining.

    Attributes:
        fresh: Whether the run must not take steps from the cache.
        window_days: The training window, None for the pipeline's own.
    """

    trigger: str
    window: str
    evidence: str
    fresh: bool
    window_days: int | None = None
    commit: str = ""
    author: str = ""

    def attempt(self, now: datetime) -> Attempt:
        """Return the attempt that answers this cause."""
        evidence = one_sentence(self.evidence)
        parameters = {
            "Trigger": str(self.trigger),
            "Evidence": evidence,
            # A scope of its own gives the steps other arguments than those of every other run.
            "CacheScope": f"{self.trigger}@{self.window}" if self.fresh else SHARED_CACHE,
        }
        if self.window_days is not None:
            parameters["WindowDays"] = str(self.window_days)
        if self.commit:
            parameters["CommitId"] = self.commit
        if self.author:
            parameters["Author"] = self.author
        return Attempt(self.trigger, self.window, evidence, now, tuple(sorted(parameters.items())))


def finding(observation: RetrainObservation, kind: str) -> Finding:
    """Return the last `of_last` conclusive verdicts of a kind that no attempt has answered."""
    answered = max((attempt.at for attempt in observation.state.attempts), default=None)
    newest = (v for v in _conclusive(observation, kind) if answered is None or v.window_end > answered)
    return Finding(tuple(islice(newest, observation.policy.of_last)), observation.policy.drifted)


def violation(observation: RetrainObservation) -> Verdict | None:
    """Return the newest schema or type violation among the last windows. No attempt repairs it.

    Until the live release has a verdict of its own, those on the release before it count: the data are the same.
    """
    found = _conclusive(observation, MonitorKind.DATA_QUALITY)
    newest = (found or _conclusive(observation, MonitorKind.DATA_QUALITY, any_release=True))[:ALARM_WINDOWS]
    return next((v for v in newest if v.status == VerdictStatus.VIOLATION and v.blocks), None)


def broken(observation: RetrainObservation) -> Verdict | None:
    """Return the newest verdict with the same broken features in two of the last windows; retraining goes on."""
    newest = _conclusive(observation, MonitorKind.DATA_QUALITY)[:ALARM_WINDOWS]
    counts = Counter(feature for verdict in newest for feature in {name for name, _ in verdict.broken})
    lasting = {feature for feature, count in counts.items() if count >= ALARM_DRIFTED}
    return next((v for v in newest if lasting & {name for name, _ in v.broken}), None)


def labels(observation: RetrainObservation) -> int:
    """Return the number of labelled rows in the last windows of the live release, conclusive or not."""
    live = observation.release_id
    quality = [v for v in observation.verdicts if v.kind == MonitorKind.MODEL_QUALITY and v.release_id == live]
    newest = sorted(quality, key=lambda verdict: verdict.window_end, reverse=True)[: observation.policy.of_last]
    return sum(verdict.labels for verdict in newest)


def feature_names(verdict: Verdict) -> str:
    """Return the features of a verdict for a sentence, the first few by name."""
    shown = ", ".join(verdict.features[:_FEATURES_NAMED])
    more = len(verdict.features) - _FEATURES_NAMED
    return f"{shown} and {more} more" if more > 0 else shown


def open_request(observation: RetrainObservation) -> RetrainRequest | None:
    """Return the request to answer next: people's in their order, then the newest code. Older code is obsolete."""
    requests = observation.state.requests
    waiting = [r for r in requests if not r.refused and not observation.attempted(r.trigger, r.window)]
    people = [r for r in waiting if r.trigger == RetrainTrigger.PERSON]
    if people:
        return min(people, key=lambda request: request.at)
    code = [r for r in requests if r.trigger == RetrainTrigger.CODE]
    newest = max(code, key=lambda request: request.at, default=None)
    return newest if newest in waiting else None


def automatic_causes(observation: RetrainObservation, now: datetime) -> Iterator[Cause]:
    """Return the causes without a request, the most important first."""
    yield from _verdict_causes(observation)
    yield from _new_data_causes(observation, now)
    yield from _schedule_causes(observation, now)


def one_sentence(text: str) -> str:
    """Return `text` as package metadata and pipeline parameters take it: one line, at most 256 characters."""
    line = _NOT_IN_METADATA.sub(" ", text).strip()
    return line if len(line) <= EVIDENCE_CHARACTERS else f"{line[: EVIDENCE_CHARACTERS - 1]}…"


def _conclusive(observation: RetrainObservation, kind: str, *, any_release: bool = False) -> list[Verdict]:
    """Return the conclusive verdicts of a kind, on the live release or on any, newest first."""
    live = observation.release_id
    verdicts = [
        v for v in observation.verdicts if v.kind == kind and v.conclusive and (any_release or v.release_id == live)
    ]
    return sorted(verdicts, key=lambda verdict: verdict.window_end, reverse=True)


def _verdict_causes(observation: RetrainObservation) -> Iterator[Cause]:
    drift, quality = finding(observation, MonitorKind.DATA_QUALITY), finding(observation, MonitorKind.MODEL_QUALITY)
    if drift.persists and quality.persists:
        evidence = f"quality fell and data drifted: {quality.sentence}; {drift.sentence}"
        yield Cause(RetrainTrigger.DRIFT, max(drift.window, quality.window), evidence, fresh=True)
    elif quality.persists:
        evidence = f"quality fell without drift: {quality.sentence}"
        days = observation.policy.recent_days
        yield Cause(RetrainTrigger.QUALITY, quality.window, evidence, fresh=True, window_days=days)
    elif drift.persists and labels(observation) >= observation.policy.min_labels:
        yield Cause(RetrainTrigger.DRIFT, drift.window, f"data drifted: {drift.sentence}", fresh=True)


def _new_data_causes(observation: RetrainObservation, now: datetime) -> Iterator[Cause]:
    data, policy = observation.new_data, observation.policy
    if data is None or policy.new_data_objects is None or data.objects < policy.new_data_objects:
        return
    quiet = now - data.last >= timedelta(minutes=policy.quiet_minutes)
    # A continuous stream of data is never quiet.
    overdue = now - data.first >= timedelta(hours=policy.cooldown_hours)
    if quiet or overdue:
        evidence = f"{data.objects} raw objects arrived since the last run, the last at {_minute(data.last)}"
        yield Cause(RetrainTrigger.NEW_DATA, data.last.isoformat(), evidence, fresh=False)


def _schedule_causes(observation: RetrainObservation, now: datetime) -> Iterator[Cause]:
    days = observation.policy.schedule_days
    if days is None:
        return
    last = observation.last_start()
    if last is None:
        yield Cause(RetrainTrigger.SCHEDULE, "first", "the schedule asks for a first run", fresh=False)
    elif now - last >= timedelta(days=days):
        evidence = f"the last run began at {_minute(last)}, and the schedule asks for one every {days} days"
        yield Cause(RetrainTrigger.SCHEDULE, last.isoformat(), evidence, fresh=False)


def _minute(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")
