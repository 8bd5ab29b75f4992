"""The retrain decision, state by state."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import botocore.session
import pytest

from retrain.decide import Hold, Land, Nothing, Refuse, Resume, Settle, Start, Step, Wait, cooled_down_at, decide
from retrain.policy import Policy, PolicyError, parse_policy
from retrain.world import Attempt, Flight, Package, Request, Run, Told, World
from shared.verdict import Verdict

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
POLICY = Policy("prod", recent_days=30)
CALM = World("churn", POLICY, "v1-00000001", 1)


def verdicts(kind: str, statuses: str, *, release: str = "v1-00000001", labels: int = 0) -> tuple[Verdict, ...]:
    """One verdict an hour, oldest first: Drift, OK, Violation, InsufficientData by their first letter."""
    names = {"D": "Drift", "O": "OK", "V": "Violation", "I": "InsufficientData", "L": "LowPower"}
    ends = [NOW - timedelta(hours=hour) for hour in reversed(range(len(statuses)))]
    return tuple(
        Verdict(kind, names[one], end - timedelta(hours=1), end, release, "it moved", ("fare",), labels=labels)
        for one, end in zip(statuses, ends, strict=True)
    )


def with_verdicts(data: str = "", quality: str = "", *, labels: int = 0) -> World:
    return replace(CALM, verdicts=verdicts("data_quality", data) + verdicts("model_quality", quality, labels=labels))


def attempt(days: float, trigger: str = "drift") -> Attempt:
    return Attempt(trigger, f"{days} days ago", "it drifted", NOW - timedelta(days=days), (("Trigger", trigger),))


def run(of: Attempt, status: str) -> Run:
    name = of.display_name("churn")
    return Run(f"arn:aws:sagemaker:us-east-1:1:pipeline/p/execution/{name}", name, status, of.at)


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
    assert {tell.topic for tell in plan.tells} == topics


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
    requests = [(), (Request("person", "i", "wanted", NOW),), (Request("code", "c" * 64, "new", NOW),)]
    flights = [None, Flight(old, landed=True), Flight(old, landed=False)]
    runs = [(), *((run(old, status),) for status in [*statuses.metadata["enum"], "CompletedWithFailures", "New"])]
    seen: set[type[Step]] = set()
    for requested, flight, running, spent, settled, version in product(
        requests, flights, runs, (False, True), (False, True), (None, "PendingManualApproval", "Approved")
    ):
        packages = (Package(2, version, NOW - timedelta(days=1)),) if version else ()
        world = replace(
            DRIFTING,
            policy=replace(POLICY, budget_runs=1 if spent else 4),
            requests=requested,
            flight=flight,
            attempts=(old,),
            runs=running,
            settled=frozenset(one.id for one in running) if settled else frozenset(),
            packages=packages,
            verdicts=verdicts("data_quality", "DDDDDD") + verdicts("model_quality", "DDDDDD"),
        )
        step = decide(world, NOW).step
        seen.add(type(step))
        if isinstance(step, Start):
            assert not spent and not any(one.active for one in running) and (flight is None or flight.landed)
            assert requested or not packages
    assert seen >= {Start, Wait, Hold, Refuse, Resume, Land, Settle}


@pytest.mark.parametrize(("in_vain", "days"), [(1, 2), (2, 4), (3, 8), (4, 14), (9, 14)])
def test_the_cooldown_doubles_with_each_attempt_in_vain_up_to_the_cap(in_vain: int, days: int) -> None:
    attempts = tuple(attempt(n) for n in range(in_vain))
    assert cooled_down_at(replace(CALM, attempts=attempts)) == NOW + timedelta(days=days)
    accepted = Package(2, "Approved", NOW + timedelta(hours=1))
    assert cooled_down_at(replace(CALM, attempts=attempts, packages=(accepted,))) == NOW + timedelta(days=1)
    rejected = replace(accepted, approval="Rejected")
    assert cooled_down_at(replace(CALM, attempts=attempts, packages=(rejected,))) == NOW + timedelta(days=days)


def test_a_tick_that_comes_some_seconds_earlier_in_its_minute_than_the_last_is_not_told_to_wait() -> None:
    late = replace(attempt(1), at=attempt(1).at.replace(second=40, microsecond=118_000))
    assert cooled_down_at(replace(CALM, attempts=(late,))) == cooled_down_at(replace(CALM, attempts=(attempt(1),)))


def test_a_version_that_was_rolled_back_is_no_proposal_and_no_accepted_model() -> None:
    bad = Package(2, "Approved", NOW - timedelta(hours=1))
    assert isinstance(decide(replace(DRIFTING, packages=(bad,)), NOW).step, Hold)
    barred = replace(DRIFTING, packages=(bad,), barred=frozenset({2}))
    assert isinstance(decide(barred, NOW).step, Start)
    assert cooled_down_at(replace(barred, attempts=(attempt(1),))) == NOW + timedelta(days=1)


def test_an_attempt_answers_the_windows_before_it_and_only_those() -> None:
    later = replace(DRIFTING, attempts=(attempt(0),))
    assert isinstance(decide(later, NOW + timedelta(days=9)).step, Nothing)
    assert isinstance(decide(replace(DRIFTING, attempts=(attempt(3),)), NOW).step, Start)


def test_people_skip_the_cooldown_and_are_told_when_the_budget_is_spent() -> None:
    asked = replace(CALM, requests=(Request("person", "i", "wanted", NOW),), attempts=(attempt(0.1),))
    assert isinstance(decide(asked, NOW).step, Start)
    refused = decide(replace(asked, policy=replace(POLICY, budget_runs=1)), NOW).step
    assert isinstance(refused, Refuse)
    assert "budget of 1 runs in 30 days is spent" in refused.reason


def test_only_the_newest_code_is_trained() -> None:
    requests = tuple(Request("code", c * 64, "pushed", NOW - timedelta(hours=h)) for c, h in (("a", 2), ("b", 1)))
    step = decide(replace(CALM, requests=requests), NOW).step
    assert isinstance(step, Start) and step.attempt.window.startswith("b")
    trained = Attempt("code", requests[1].window, "pushed", NOW)
    assert isinstance(decide(replace(CALM, requests=requests, attempts=(trained,)), NOW).step, Nothing)


def test_a_spent_budget_is_told_once_until_it_lapses_or_the_cap_is_over() -> None:
    world = replace(DRIFTING, policy=replace(POLICY, budget_runs=0))
    (tell,) = decide(world, NOW).tells
    assert tell.topic == "budget"

    def again(hours: float, *, lapsed: bool = False, sent: bool = True) -> bool:
        told = {"budget": Told("", NOW - timedelta(hours=hours), sent, lapsed)}
        return bool(decide(replace(world, told=told), NOW).tells)

    assert not again(335) and again(336)
    assert not again(23, lapsed=True) and again(24, lapsed=True)
    assert not again(0.1, sent=False) and again(0.3, sent=False)
    calm = replace(CALM, told={"budget": Told("", NOW)})
    assert decide(calm, NOW).lapsed == ("budget",)


def test_a_run_that_never_ends_is_told() -> None:
    stuck = replace(CALM, runs=(run(attempt(15), "Executing"),))
    assert [tell.topic for tell in decide(stuck, NOW).tells] == ["stuck"]


def test_a_policy_names_all_its_mistakes_in_one_line() -> None:
    assert parse_policy('{"stage": "prod", "schedule_days": null, "drifted": 6}') == Policy("prod", drifted=6)
    for text, parts in (
        ("{", ["not JSON"]),
        ("[1]", ["JSON object, got [1]"]),
        ('{"budget_runs": true, "pace": 1}', ["pace is not known", "stage is missing", "got True"]),
        ('{"stage": "prod", "drifted": 7, "cooldown_cap_hours": 1}', ["got 7 of 6", "got 1 under 24"]),
        ('{"stage": "", "cooldown_hours": null}', ["stage must be", "got None"]),
    ):
        with pytest.raises(PolicyError) as refused:
            parse_policy(text)
        assert all(part in str(refused.value) for part in parts) and "\n" not in str(refused.value)
