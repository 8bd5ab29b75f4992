"""What people are to be told, and when it would be told too often. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from retrain.evidence import finding, labels, moved, violation
from retrain.world import Told, World

# Publishing takes seconds; a claim that is older belongs to an invocation that died.
CLAIM_SECONDS = 16 * 60
# News of a topic that was told already, such as one more broken feature.
_NEWS_SECONDS = 3600
TOPICS = ("violation", "drift", "labels", "bias", "explainability", "budget", "awaiting", "stuck", "policy")


@dataclass(frozen=True)
class Tell:
    """One sentence to the people who answer for a model.

    Attributes:
        topic: one of `TOPICS`: what is told about.
        about: what of it; another one is news.
    """

    topic: str
    about: str
    sentence: str


def blocked_by_budget(world: World, evidence: str) -> str:
    """Say that the budget is spent and what to do."""
    policy = world.policy
    return (
        f"the budget of {policy.budget_runs} runs in {policy.budget_days} days is spent, so nothing is retrained; "
        f"raise it, or start the pipeline yourself: {evidence}"
    )


def standing_tells(world: World, now: datetime) -> tuple[Tell, ...]:
    """Return what holds now and people should know, whatever the step is."""
    return tuple(tell for tell in (_violation(world), *_drift(world), *_others(world), _stuck(world, now)) if tell)


def due_tells(world: World, now: datetime, holding: Sequence[Tell]) -> tuple[Tell, ...]:
    """Return those of `holding` that were not told, or so long ago that they are told again."""
    return tuple(tell for tell in holding if is_due(world, world.told.get(tell.topic), tell, now))


def is_due(world: World, told: Told | None, tell: Tell, now: datetime) -> bool:
    """Whether to tell: at first sight, as news, after it came back (once a cooldown), as a reminder (once a cap)."""
    if told is None:
        return True
    age = now - told.at
    if not told.sent:
        return age >= timedelta(seconds=CLAIM_SECONDS)
    if told.about != tell.about:
        return age >= timedelta(seconds=_NEWS_SECONDS)
    hours = world.policy.cooldown_hours if told.lapsed else world.policy.cooldown_cap_hours
    return age >= timedelta(hours=hours)


def lapsed_topics(world: World, holding: Sequence[Tell]) -> tuple[str, ...]:
    """Return the topics that were told and hold no longer."""
    held = {tell.topic for tell in holding}
    return tuple(
        topic for topic in TOPICS if topic in world.told and topic not in held and not world.told[topic].lapsed
    )


def _violation(world: World) -> Tell | None:
    broken = violation(world)
    if broken is None:
        return None
    features = moved(broken) or "the data set"
    sentence = (
        f"data violate the schema or types ({features}), and drift is not answered by a retraining while they do; "
        f"repair what sends them: {broken.evidence} {broken.report}"
    )
    return Tell("violation", ",".join(sorted(broken.features)), sentence.strip())


def _drift(world: World) -> tuple[Tell, ...]:
    drift = finding(world, "data_quality")
    if not drift.persists:
        if not drift.alarming:
            return ()
        wanted, of = world.policy.drifted, world.policy.of_last
        sentence = f"drift is seen and answered once {wanted} of {of} windows say so: {drift.sentence}"
        return (Tell("drift", "", _with_report(sentence, drift.drifted[0].report)),)
    have, want = labels(world), world.policy.min_labels
    if finding(world, "model_quality").persists or have >= want:
        return ()
    sentence = (
        f"drift persists and nothing is retrained, because the last windows have {have} labels of the {want} needed; "
        f"bring labels, or ask for a run: {drift.sentence}"
    )
    return (Tell("labels", "", _with_report(sentence, drift.drifted[0].report)),)


def _others(world: World) -> tuple[Tell, ...]:
    """Bias and attribution drift: more of the same data may not cure it, so a person judges."""
    findings = ((kind, finding(world, kind)) for kind in ("bias", "explainability"))
    return tuple(
        Tell(kind, "", _with_report(f"{kind} moved and a person has to judge it: {f.sentence}", f.drifted[0].report))
        for kind, f in findings
        if f.persists
    )


def _stuck(world: World, now: datetime) -> Tell | None:
    """A run that outlives the cap keeps every other one away."""
    cap = timedelta(hours=world.policy.cooldown_cap_hours)
    run = next((run for run in world.runs if run.active and now - run.started_at >= cap), None)
    if run is None:
        return None
    return Tell("stuck", run.id, f"the run {run.name} is {run.status} for too long and nothing else can run; stop it")


def _with_report(sentence: str, report: str) -> str:
    return f"{sentence} {report}" if report else sentence
