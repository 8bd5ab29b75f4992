"""The decision: what was observed of one model → one step, and what people are to be told. Pure, and total.

Nothing here depends on an event. Where the world has not changed, and no time has run out, the answer is the same, so
events may be doubled, lost and reordered, and the tick finds what no event told.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from retrain.causes import Cause, asked, found
from retrain.evidence import violation
from retrain.tells import Tell, blocked_by_budget, due_tells, lapsed_topics, standing_tells
from retrain.world import Attempt, Flight, Package, Request, Run, World

# The end of a run that began longer ago is history by the time this controller first looks.
_SETTLE_DAYS = 7


@dataclass(frozen=True)
class Nothing:
    """No evidence asks for anything."""

    reason: str


@dataclass(frozen=True)
class Wait:
    """Evidence or a run is there, and time alone moves it on."""

    reason: str


@dataclass(frozen=True)
class Hold:
    """Evidence is there, and a person has to do something first."""

    reason: str


@dataclass(frozen=True)
class Start:
    """Claim the flight and start the pipeline."""

    attempt: Attempt
    reason: str


@dataclass(frozen=True)
class Resume:
    """A claimed flight has no run: start it again, under the same client token."""

    attempt: Attempt
    reason: str


@dataclass(frozen=True)
class Land:
    """The flight's run has ended: the next one may start."""

    flight: Flight
    reason: str


@dataclass(frozen=True)
class Settle:
    """A run ended and nobody was told how."""

    run: Run
    reason: str


@dataclass(frozen=True)
class Refuse:
    """Turn a request down, and say why."""

    request: Request
    reason: str


Step = Nothing | Wait | Hold | Start | Resume | Land | Settle | Refuse


@dataclass(frozen=True)
class Plan:
    """One step, what to tell, and which topics no longer hold."""

    step: Step
    tells: tuple[Tell, ...] = ()
    lapsed: tuple[str, ...] = ()


def decide(world: World, now: datetime) -> Plan:
    """Return the one step to take now, and what to tell."""
    ended = next((run for run in world.runs if _unsettled(world, run, now)), None)
    if ended is not None:
        return Plan(Settle(ended, f"{ended.name} is {ended.status}"))
    if world.flying is not None:
        run = world.run_of(world.flying.attempt)
        if run is not None and not run.active:
            return Plan(Land(world.flying, f"{run.name} has ended"))
    step, hindrances = _step(world, now)
    holding = standing_tells(world, now) + hindrances
    return Plan(step, due_tells(world, now, holding), lapsed_topics(world, holding))


def _unsettled(world: World, run: Run, now: datetime) -> bool:
    recent = now - run.started_at < timedelta(days=_SETTLE_DAYS)
    own = world.flying is not None and run == world.run_of(world.flying.attempt)
    return not run.active and run.id not in world.settled and (recent or own)


def _step(world: World, now: datetime) -> tuple[Step, tuple[Tell, ...]]:
    active = next((run for run in world.runs if run.active), None)
    if active is not None:
        return Wait(f"{active.name} is {active.status}"), ()
    if world.flying is not None:
        attempt = world.flying.attempt
        return Resume(attempt, f"the {attempt.trigger} run was claimed and never seen: {attempt.evidence}"), ()
    request = asked(world)
    if request is not None:
        return _answer(world, request, now), ()
    cause = next((c for c in found(world, now) if not world.attempted(c.trigger, c.window)), None)
    if cause is None:
        return Nothing("no evidence that was not answered yet"), ()
    return _weigh(world, cause, now)


def _answer(world: World, request: Request, now: datetime) -> Step:
    """What people ask for skips the cooldown, which is there for noise; never the budget, which is there for money."""
    if budget_spent(world, now):
        return Refuse(request, blocked_by_budget(world, f"{request.trigger} asks: {request.reason}"))
    cause = Cause(
        request.trigger, request.window, request.reason, fresh=False, commit=request.commit, author=request.author
    )
    return Start(cause.attempt(now), request.reason)


def _weigh(world: World, cause: Cause, now: datetime) -> tuple[Step, tuple[Tell, ...]]:
    """Whether a cause that nobody asked for may start a run now."""
    broken = violation(world)
    if broken is not None:
        return Hold(f"data violate the schema, so nothing is retrained on them: {broken.evidence}"), ()
    if budget_spent(world, now):
        reason = blocked_by_budget(world, cause.evidence)
        return Hold(reason), (Tell("budget", "", reason),)
    proposed = _proposed(world, now)
    if proposed is not None:
        state = "waits for approval" if proposed.approval == "PendingManualApproval" else "is approved and not live yet"
        reason = f"version {proposed.version} {state}, so nothing newer is trained: {cause.evidence}"
        return Hold(reason), (Tell("awaiting", str(proposed.version), reason),)
    until = cooled_down_at(world)
    if until is not None and now < until:
        return Wait(f"the cooldown lasts until {until.isoformat(timespec='minutes')}: {cause.evidence}"), ()
    return Start(cause.attempt(now), cause.evidence), ()


def _proposed(world: World, now: datetime) -> Package | None:
    """The newest version above the live one that may still become live; after the cap it has gone stale."""
    fresh = timedelta(hours=world.policy.cooldown_cap_hours)
    newer = (
        package
        for package in world.packages
        if package.version > (world.version or 0)
        and package.approval in {"PendingManualApproval", "Approved"}
        and package.version not in world.barred
        and now - package.created_at < fresh
    )
    return max(newer, key=lambda package: package.version, default=None)


def budget_spent(world: World, now: datetime) -> bool:
    """Whether `budget_runs` were started in the last `budget_days`."""
    since = now - timedelta(days=world.policy.budget_days)
    return sum(attempt.at > since for attempt in world.attempts) >= world.policy.budget_runs


def cooled_down_at(world: World) -> datetime | None:
    """When the next start may be that nobody asked for; None while there was none.

    An attempt is without an accepted model when no version that was made since it began is approved and not barred.
    To the minute, as it is told: the controller's own tick at that minute must not miss it by the milliseconds by which
    the tick before was late.
    """
    last = max((attempt.at for attempt in world.attempts), default=None)
    if last is None:
        return None
    accepted = max(
        (p.created_at for p in world.packages if p.approval == "Approved" and p.version not in world.barred),
        default=None,
    )
    in_vain = sum(accepted is None or attempt.at > accepted for attempt in world.attempts)
    policy = world.policy
    began = last.replace(second=0, microsecond=0)
    return began + timedelta(hours=min(policy.cooldown_hours * 2**in_vain, policy.cooldown_cap_hours))
