"""What the verdicts say together. Pure.

Only verdicts on the release that is live count, and only conclusive ones: too little data is neither OK nor drift, so
it neither makes evidence nor takes it away. An attempt answers all windows that ended before it began, whatever became
of it: a fault that is over by then must not start another run when the cooldown ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from retrain.world import World
from shared.verdict import Verdict

# An alarm is 2 of 3 windows; broken data block a retraining as long.
ALARM_DRIFTED, ALARM_WINDOWS = 2, 3
_FEATURES_TOLD = 3


@dataclass(frozen=True)
class Finding:
    """The last conclusive verdicts of one kind, newest first."""

    verdicts: tuple[Verdict, ...]
    wanted: int

    @property
    def drifted(self) -> tuple[Verdict, ...]:
        return tuple(verdict for verdict in self.verdicts if verdict.status == "Drift")

    @property
    def persists(self) -> bool:
        return len(self.drifted) >= self.wanted

    @property
    def alarming(self) -> bool:
        newest = self.verdicts[:ALARM_WINDOWS]
        return sum(verdict.status == "Drift" for verdict in newest) >= ALARM_DRIFTED

    @property
    def window(self) -> str:
        """The end of the newest window that drifted: newer evidence is other evidence."""
        return max(verdict.window_end for verdict in self.drifted).isoformat()

    @property
    def sentence(self) -> str:
        """`4 of the last 6 windows drifted, last: …`"""
        newest = self.drifted[0]
        return f"{len(self.drifted)} of the last {len(self.verdicts)} windows drifted, last: {newest.evidence}"


def finding(world: World, kind: str) -> Finding:
    """Return the last `of_last` conclusive verdicts of a kind that no attempt has answered."""
    answered = max((attempt.at for attempt in world.attempts), default=None)
    newest = (v for v in _conclusive(world, kind) if answered is None or v.window_end > answered)
    return Finding(tuple(islice(newest, world.policy.of_last)), world.policy.drifted)


def violation(world: World) -> Verdict | None:
    """Return the newest schema or type violation, while one is among the last windows: no attempt repairs it."""
    newest = _conclusive(world, "data_quality")[:ALARM_WINDOWS]
    return next((verdict for verdict in newest if verdict.status == "Violation"), None)


def _conclusive(world: World, kind: str) -> list[Verdict]:
    """The conclusive verdicts of a kind on the live release, newest first."""
    verdicts = [v for v in world.verdicts if v.kind == kind and v.release_id == world.release_id and v.conclusive]
    return sorted(verdicts, key=lambda verdict: verdict.window_end, reverse=True)


def labels(world: World) -> int:
    """Return how many labelled rows the last windows of the live release have, conclusive or not."""
    quality = [v for v in world.verdicts if v.kind == "model_quality" and v.release_id == world.release_id]
    newest = sorted(quality, key=lambda verdict: verdict.window_end, reverse=True)[: world.policy.of_last]
    return sum(verdict.labels for verdict in newest)


def moved(verdict: Verdict) -> str:
    """Return the features of a verdict for a sentence, the first few by name."""
    shown = ", ".join(verdict.features[:_FEATURES_TOLD])
    more = len(verdict.features) - _FEATURES_TOLD
    return f"{shown} and {more} more" if more > 0 else shown
