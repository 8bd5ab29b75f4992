"""The retrain decision, state by state."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import botocore.session
import pytest

from retrain.decide import (
    CloseRun,
    RefuseRequest,
    ReportRun,
    Resume,
    RetrainStep,
    Start,
    decide,
    next_automatic_start,
)
from retrain.observation import (
    Attempt,
    InFlightRun,
    PackageSummary,
    PipelineRun,
    RetrainObservation,
    RetrainRequest,
    RetrainState,
)
from retrain.policy import RetrainPolicy, parse_retrain_policy
from shared.errors import PolicyError
from shared.notifications import NotificationState
from shared.steps import Hold, Nothing, Wait
from shared.verdict import Verdict

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
POLICY = RetrainPolicy("prod", recent_days=30)
CALM = RetrainObservation("churn", POLICY, release_id="v1-00000001", version=1)


def with_state(observation: RetrainObservation, **state: Any) -> RetrainObservation:
    return replace(observation, state=replace(observation.state, **state))


def verdicts(kind: str, statuses: str, *, release: str = "v1-00000001", labels: int = 0) -> tuple[Verdict, ...]:
    """One verdict an hour, oldest first: Drift, OK, Violation, InsufficientData by their first letter."""
    names = {"D": "Drift", "O": "OK", "V": "Violation", "I": "InsufficientData", "L": "LowPower"}
    ends = [NOW - timedelta(hours=hour) for hour in reversed(range(len(statuses)))]
    return tuple(
        Verdict(kind, names[one], end - timedelta(hours=1), end, release, "it moved", ("fare",), labels=labels)
        for one, end in zip(statuses, ends, strict=True)
    )


def with_verdicts(data: str = "", quality: str = "", *, labels: int = 0) -> RetrainObservation:
    return replace(CALM, verdicts=verdicts("data_quality", data) + verdicts("model_quality", quality, labels=labels))


def attempt(days: float, trigger: str = "drift") -> Attempt:
    return Attempt(trigger, f"{days} days ago", "it drifted", NOW - timedelta(days=days), (("Trigger", trigger),))


def run(of: Attempt, status: str) -> PipelineRun:
    name = of.display_name("churn")
    return PipelineRun(f"arn:aws:sagemaker:us-east-1:1:pipeline/p/execution/{name}", name, status, of.at)


DRIFTING = with_verdicts("ODODOD", "OOOOOO", labels=100)


@pytest.mark.parametrize(
    ("data", "quality", "labels", "expected", "topics"),
    [
        ("DDD", "DDD", 0, "drift", set()),
        ("OOO", "DDD", 0, "quality", set()),
        ("DDD", "OOO", 100, "drift", set()),
        ("DDD", "III", 100, "drift", set()),
        ("DDD", "OOO", 10, None, {"labels"}),
        ("OODD", "OOO", 100, None, {"drift"}),
        ("DIDIDLL", "", 0, None, {"labels"}),
        ("DDDOOOO", "", 0, None, set()),
        ("DDD", "DDDOOO", 0, "drift", set()),
        ("V", "DDD", 0, None, {"violation"}),
        ("DDDDDV", "DDD", 100, None, {"violation"}),
        ("VVV", "", 0, None, {"violation"}),
        ("III", "LLL", 0, None, set()),
    ],
)
def test_verdicts_lead_to_what_the_contract_says(
    data: str, quality: str, labels: int, expected: str | None, topics: set[str]
) -> None:
    plan = decide(with_verdicts(data, quality, labels=labels), NOW)
    started = plan.step.attempt.trigger if isinstance(plan.step, Start) else None
    assert started == expected, plan
    assert {one.topic for one in plan.notifications} == topics


def test_broken_values_of_a_feature_alert_and_neither_retrain_nor_block() -> None:
    soft = tuple(
        replace(one, blocks=False, broken=(("fare", "range_check"),)) if one.status == "Violation" else one
        for one in verdicts("data_quality", "DDDVV")
    )
    quality = verdicts("model_quality", "OOOOO", labels=100)
    plan = decide(replace(CALM, verdicts=soft + quality), NOW)
    assert isinstance(plan.step, Start)
    (alert,) = [one for one in plan.notifications if one.topic == "violation"]
    assert "fare" in alert.alert.event
    alone = decide(replace(CALM, verdicts=soft[-2:]), NOW)
    assert isinstance(alone.step, Nothing)
    once = decide(replace(CALM, verdicts=soft[-1:]), NOW)
    assert not once.notifications


def test_verdicts_on_another_release_do_not_count() -> None:
    assert isinstance(decide(replace(DRIFTING, release_id="v2-00000002", version=2), NOW).step, Nothing)


def test_concept_drift_retrains_on_recent_labels_and_drift_on_nothing_cached() -> None:
    quality = decide(with_verdicts("OOO", "DDD"), NOW).step
    drift = decide(DRIFTING, NOW).step
    assert isinstance(quality, Start) and isinstance(drift, Start)
    assert dict(quality.attempt.parameters)["WindowDays"] == "30"
    assert dict(drift.attempt.parameters)["CacheScope"] == f"drift@{drift.attempt.window}"
    by_schedule = decide(replace(CALM, policy=replace(POLICY, schedule_days=7)), NOW).step
    assert isinstance(by_schedule, Start) and dict(by_schedule.attempt.parameters)["CacheScope"] == "shared"


def test_every_trigger_and_every_hindrance_together_never_start_a_second_run_nor_break_the_budget() -> None:
    statuses = botocore.session.get_session().get_service_model("sagemaker").shape_for("PipelineExecutionStatus")
    old = attempt(2)
    requests = [(), (RetrainRequest("person", "i", "wanted", NOW),), (RetrainRequest("code", "c" * 64, "new", NOW),)]
    flights = [None, InFlightRun(old, finished=True), InFlightRun(old, finished=False)]
    runs = [(), *((run(old, status),) for status in [*statuses.metadata["enum"], "CompletedWithFailures", "New"])]
    seen: set[type[RetrainStep]] = set()
    for requested, flight, running, spent, reported, version in product(
        requests, flights, runs, (False, True), (False, True), (None, "PendingManualApproval", "Approved")
    ):
        packages = (PackageSummary(2, version, NOW - timedelta(days=1)),) if version else ()
        observation = replace(
            DRIFTING,
            policy=replace(POLICY, budget_runs=1 if spent else 4),
            state=RetrainState(
                requests=requested,
                in_flight=flight,
                attempts=(old,),
                reported_runs=frozenset(one.id for one in running) if reported else frozenset(),
            ),
            runs=running,
            packages=packages,
            verdicts=verdicts("data_quality", "DDDDDD") + verdicts("model_quality", "DDDDDD"),
        )
        step = decide(observation, NOW).step
        seen.add(type(step))
        if isinstance(step, Start):
            assert not spent and not any(one.active for one in running) and (flight is None or flight.finished)
            assert requested or not packages
    assert seen >= {Start, Wait, Hold, RefuseRequest, Resume, CloseRun, ReportRun}


@pytest.mark.parametrize(("fruitless", "days"), [(1, 2), (2, 4), (3, 8), (4, 14), (9, 14)])
def test_the_cooldown_doubles_with_each_fruitless_attempt_up_to_the_cap(fruitless: int, days: int) -> None:
    attempts = tuple(attempt(n) for n in range(fruitless))
    assert next_automatic_start(with_state(CALM, attempts=attempts)) == NOW + timedelta(days=days)
    accepted = PackageSummary(2, "Approved", NOW + timedelta(hours=1))
    assert next_automatic_start(replace(with_state(CALM, attempts=attempts), packages=(accepted,))) == NOW + timedelta(
        days=1
    )
    rejected = replace(accepted, approval="Rejected")
    assert next_automatic_start(replace(with_state(CALM, attempts=attempts), packages=(rejected,))) == NOW + timedelta(
        days=days
    )


def test_a_tick_that_comes_some_seconds_earlier_in_its_minute_than_the_last_is_not_told_to_wait() -> None:
    late = replace(attempt(1), at=attempt(1).at.replace(second=40, microsecond=118_000))
    assert next_automatic_start(with_state(CALM, attempts=(late,))) == next_automatic_start(
        with_state(CALM, attempts=(attempt(1),))
    )


def test_a_version_that_was_rolled_back_is_no_proposal_and_no_accepted_model() -> None:
    bad = PackageSummary(2, "Approved", NOW - timedelta(hours=1))
    assert isinstance(decide(replace(DRIFTING, packages=(bad,)), NOW).step, Hold)
    quarantined = replace(DRIFTING, packages=(bad,), quarantined=frozenset({2}))
    assert isinstance(decide(quarantined, NOW).step, Start)
    assert next_automatic_start(with_state(quarantined, attempts=(attempt(1),))) == NOW + timedelta(days=1)


def test_an_attempt_answers_the_windows_before_it_and_only_those() -> None:
    later = with_state(DRIFTING, attempts=(attempt(0),))
    assert isinstance(decide(later, NOW + timedelta(days=9)).step, Nothing)
    assert isinstance(decide(with_state(DRIFTING, attempts=(attempt(3),)), NOW).step, Start)


def test_people_skip_the_cooldown_and_are_notified_when_the_budget_is_spent() -> None:
    asked = with_state(CALM, requests=(RetrainRequest("person", "i", "wanted", NOW),), attempts=(attempt(0.1),))
    assert isinstance(decide(asked, NOW).step, Start)
    refused = decide(replace(asked, policy=replace(POLICY, budget_runs=1)), NOW).step
    assert isinstance(refused, RefuseRequest)
    assert "budget of 1 runs in 30 days is spent" in refused.reason


def test_only_the_newest_code_is_trained() -> None:
    requests = tuple(
        RetrainRequest("code", c * 64, "pushed", NOW - timedelta(hours=h)) for c, h in (("a", 2), ("b", 1))
    )
    step = decide(with_state(CALM, requests=requests), NOW).step
    assert isinstance(step, Start) and step.attempt.window.startswith("b")
    trained = Attempt("code", requests[1].window, "pushed", NOW)
    assert isinstance(decide(with_state(CALM, requests=requests, attempts=(trained,)), NOW).step, Nothing)


def test_a_spent_budget_is_notified_once_until_it_is_resolved_or_the_cap_is_over() -> None:
    observation = replace(DRIFTING, policy=replace(POLICY, budget_runs=0))
    (notification,) = decide(observation, NOW).notifications
    assert notification.topic == "budget"

    def again(hours: float, *, resolved: bool = False, sent: bool = True) -> bool:
        states = {"budget": NotificationState("", NOW - timedelta(hours=hours), sent, resolved)}
        return bool(decide(with_state(observation, notifications=states), NOW).notifications)

    assert not again(335) and again(336)
    assert not again(23, resolved=True) and again(24, resolved=True)
    assert not again(0.1, sent=False) and again(0.3, sent=False)
    calm = with_state(CALM, notifications={"budget": NotificationState("", NOW)})
    assert decide(calm, NOW).resolved == ("budget",)


def test_a_run_that_never_ends_is_notified() -> None:
    stuck = replace(CALM, runs=(run(attempt(15), "Executing"),))
    assert [one.topic for one in decide(stuck, NOW).notifications] == ["stuck"]


def test_a_policy_names_all_its_mistakes_in_one_line() -> None:
    assert parse_retrain_policy('{"stage": "prod", "schedule_days": null, "drifted": 6}') == RetrainPolicy(
        "prod", drifted=6
    )
    for text, parts in (
        ("{", ["not JSON"]),
        ("[1]", ["JSON object, got [1]"]),
        ('{"budget_runs": true, "pace": 1}', ["pace is not known", "stage is missing", "got True"]),
        ('{"stage": "prod", "drifted": 7, "cooldown_cap_hours": 1}', ["got 7 of 6", "got 1 under 24"]),
        ('{"stage": "", "cooldown_hours": null}', ["stage must be", "got None"]),
    ):
        with pytest.raises(PolicyError) as refused:
            parse_retrain_policy(text)
        assert all(part in str(refused.value) for part in parts) and "\n" not in str(refused.value)
