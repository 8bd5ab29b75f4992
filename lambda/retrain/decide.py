"""The retrain decision: from the observed state of one model to one step and its notifications. Pure and total.

The decision depends on no event. While the observed state is the same and no time limit has passed, it repeats itself.
So events may be duplicated, lost and reordered, and a tick finds what no event reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

from retrain.evidence import Cause, automatic_causes, open_request, violation
from retrain.notifications import (
    STANDING_TOPICS,
    Topic,
    awaiting,
    budget_spent,
    policy_not_valid,
    reminders,
    standing_notifications,
)
from retrain.observation import (
    Attempt,
    InFlightRun,
    PackageSummary,
    PipelineRun,
    RetrainObservation,
    RetrainRequest,
)
from shared.notifications import Notification, is_due, resolved_topics
from shared.steps import Hold, Nothing, Step, Wait

# A run that began earlier than this is not reported when the controller first observes it.
_REPORT_DAYS = 7


@dataclass(frozen=True)
class Start:
    """Record the attempt and start the pipeline."""

    step: ClassVar[Step] = Step.START
    attempt: Attempt
    reason: str


@dataclass(frozen=True)
class Resume:
    """Start the pipeline again under the same client token: the recorded attempt has no run."""

    step: ClassVar[Step] = Step.RESUME
    attempt: Attempt
    reason: str


@dataclass(frozen=True)
class ReportRun:
    """Report how a run ended."""

    step: ClassVar[Step] = Step.REPORT_RUN
    run: PipelineRun
    reason: str


@dataclass(frozen=True)
class CloseRun:
    """Record that the in-flight run has ended, so that another one may start."""

    step: ClassVar[Step] = Step.CLOSE_RUN
    in_flight: InFlightRun
    reason: str


@dataclass(frozen=True)
class RefuseRequest:
    """Refuse a request, with the reason."""

    step: ClassVar[Step] = Step.REFUSE
    request: RetrainRequest
    reason: str


RetrainStep = Nothing | Wait | Hold | Start | Resume | CloseRun | ReportRun | RefuseRequest


@dataclass(frozen=True)
class RetrainDecision:
    """One step, the notifications to send before it, and the topics that no longer hold."""

    step: RetrainStep
    notifications: tuple[Notification, ...] = ()
    resolved: tuple[str, ...] = ()


def decide(observation: RetrainObservation, now: datetime) -> RetrainDecision:
    """Return the one step to take now, and its notifications."""
    if observation.inactive:
        return RetrainDecision(Nothing(observation.inactive))
    if observation.policy_problem:
        problem = policy_not_valid(observation.policy_problem)
        return RetrainDecision(Hold(observation.policy_problem), _due(observation, (problem,), now))
    ended = next((run for run in observation.runs if _is_unreported(observation, run, now)), None)
    if ended is not None:
        return RetrainDecision(ReportRun(ended, f"{ended.name} is {ended.status}"))
    if observation.unfinished is not None:
        run = observation.run_of(observation.unfinished.attempt)
        if run is not None and not run.active:
            return RetrainDecision(CloseRun(observation.unfinished, f"{run.name} has ended"))
    step, obstacles = _next_step(observation, now)
    holding = standing_notifications(observation, now) + obstacles
    told = observation.state.notifications
    # A look that comes so far has not failed.
    topics = [*STANDING_TOPICS, *(topic for topic in told if topic.startswith(f"{Topic.FAILED}#"))]
    resolved = resolved_topics(told, topics, holding)
    return RetrainDecision(step, _due(observation, holding, now), resolved)


def _due(
    observation: RetrainObservation, notifications: tuple[Notification, ...], now: datetime
) -> tuple[Notification, ...]:
    states, limits = observation.state.notifications, reminders(observation.policy)
    return tuple(one for one in notifications if is_due(states.get(one.topic), one, limits, now))


def _is_unreported(observation: RetrainObservation, run: PipelineRun, now: datetime) -> bool:
    recent = now - run.started_at < timedelta(days=_REPORT_DAYS)
    in_flight = observation.unfinished
    own = in_flight is not None and run == observation.run_of(in_flight.attempt)
    return not run.active and run.id not in observation.state.reported_runs and (recent or own)


def _next_step(observation: RetrainObservation, now: datetime) -> tuple[RetrainStep, tuple[Notification, ...]]:
    active = next((run for run in observation.runs if run.active), None)
    if active is not None:
        return Wait(f"{active.name} is {active.status}"), ()
    if observation.unfinished is not None:
        attempt = observation.unfinished.attempt
        return Resume(attempt, f"the {attempt.trigger} run was recorded and never started: {attempt.evidence}"), ()
    request = open_request(observation)
    if request is not None:
        return _answer(observation, request, now), ()
    causes = automatic_causes(observation, now)
    cause = next((c for c in causes if not observation.attempted(c.trigger, c.window)), None)
    if cause is None:
        return Nothing("there is no unanswered evidence"), ()
    return _weigh(observation, cause, now)


def _answer(observation: RetrainObservation, request: RetrainRequest, now: datetime) -> RetrainStep:
    """Answer a request. It skips the cooldown, which protects from noise, but not the budget, which limits cost."""
    if is_budget_spent(observation, now):
        return RefuseRequest(request, _budget_reason(observation, f"{request.trigger} asks: {request.reason}"))
    cause = Cause(
        request.trigger, request.window, request.reason, fresh=False, commit=request.commit, author=request.author
    )
    return Start(cause.attempt(now), request.reason)


def _weigh(
    observation: RetrainObservation, cause: Cause, now: datetime
) -> tuple[RetrainStep, tuple[Notification, ...]]:
    """Return whether an automatic cause may start a run now."""
    broken = violation(observation)
    if broken is not None:
        return Hold(f"data violate the schema, so nothing is retrained on them: {broken.evidence}"), ()
    if is_budget_spent(observation, now):
        reason = _budget_reason(observation, cause.evidence)
        return Hold(reason), (budget_spent(reason),)
    proposed = _proposed(observation, now)
    if proposed is not None:
        state = "waits for approval" if proposed.approval == "PendingManualApproval" else "is approved and not live yet"
        reason = f"version {proposed.version} {state}, so nothing newer is trained: {cause.evidence}"
        return Hold(reason), (awaiting(proposed, reason),)
    until = next_automatic_start(observation)
    if until is not None and now < until:
        return Wait(f"the cooldown lasts until {until.isoformat(timespec='minutes')}: {cause.evidence}"), ()
    return Start(cause.attempt(now), cause.evidence), ()


def _proposed(observation: RetrainObservation, now: datetime) -> PackageSummary | None:
    """Return the newest version above the live one that may still become live. After the cap it is obsolete."""
    fresh = timedelta(hours=observation.policy.cooldown_cap_hours)
    newer = (
        package
        for package in observation.packages
        if package.version > (observation.version or 0)
        and package.approval in {"PendingManualApproval", "Approved"}
        and package.version not in observation.quarantined
        and now - package.created_at < fresh
    )
    return max(newer, key=lambda package: package.version, default=None)


def is_budget_spent(observation: RetrainObservation, now: datetime) -> bool:
    """Return whether `budget_runs` were started in the last `budget_days`."""
    since = now - timedelta(days=observation.policy.budget_days)
    return sum(attempt.at > since for attempt in observation.state.attempts) >= observation.policy.budget_runs


def _budget_reason(observation: RetrainObservation, evidence: str) -> str:
    policy = observation.policy
    return (
        f"the budget of {policy.budget_runs} runs in {policy.budget_days} days is spent, "
        f"so nothing is retrained: {evidence}"
    )


def next_automatic_start(observation: RetrainObservation) -> datetime | None:
    """Return when the cooldown ends; None before the first attempt.

    The cooldown doubles for each fruitless attempt: no version that was created after the attempt is approved and out
    of quarantine. It ends on a whole minute, as people read it. Otherwise the controller's own tick in that minute
    could miss it by the milliseconds by which the earlier tick was late.
    """
    attempts, policy = observation.state.attempts, observation.policy
    last = max((attempt.at for attempt in attempts), default=None)
    if last is None:
        return None
    accepted = max(
        (
            package.created_at
            for package in observation.packages
            if package.approval == "Approved" and package.version not in observation.quarantined
        ),
        default=None,
    )
    fruitless = sum(accepted is None or attempt.at > accepted for attempt in attempts)
    began = last.replace(second=0, microsecond=0)
    return began + timedelta(hours=min(policy.cooldown_hours * 2**fruitless, policy.cooldown_cap_hours))
