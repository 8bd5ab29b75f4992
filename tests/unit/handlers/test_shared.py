"""The definitions that all controllers share: audit values, reconcile loop, error codes, alerts, notifications."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from archive.decide import ActionKind
from retrain.notifications import Topic
from retrain.observation import RetrainTrigger
from shared.errors import (
    Overtaken,
    is_failed_condition,
    is_missing,
    is_missing_object,
    is_transient,
    object_exists,
)
from shared.ledger import LeaseLost, LeasePurpose
from shared.notifications import Alert, Notification, NotificationState, Reminders, is_due, resolved_topics
from shared.reconcile import ModelReconciler, ReconcileError, reconcile
from shared.steps import Step
from shared.verdict import MonitorKind, VerdictStatus
from shared.verification import VerificationStatus

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("enum", "values"),
    [
        (
            Step,
            "Nothing Wait Hold Refuse Overtaken Failed Overdue Deploy Redeploy Complete Adopt Cancel CorrectRecord "
            "Abandon RollBack Verify ChangeSetRefused MonitorsFailed MonitorsRefused Start Resume ReportRun CloseRun",
        ),
        (ActionKind, "Archive DeleteConfig DeleteModel"),
        (VerificationStatus, "asked passed failed"),
        (MonitorKind, "data_quality model_quality bias explainability"),
        (VerdictStatus, "OK Drift Violation InsufficientData LowPower"),
        (LeasePurpose, "prepare release rollback"),
        (RetrainTrigger, "drift quality new-data schedule code person"),
        (
            Topic,
            "violation drift labels bias explainability budget awaiting stuck policy rows monitors "
            + "start run request failed",
        ),
    ],
)
def test_values_in_ledger_alerts_and_logs_are_stable(enum: type[StrEnum], values: str) -> None:
    """Rows of 400 days, the runbook's headings and people's queries carry these values: add, never rename."""
    assert " ".join(enum) == values


def client_error(code: str, message: str = "") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "call")


class Scripted(ModelReconciler[int, int, str]):
    """Plays a model's outcomes; an exception is raised while acting."""

    def __init__(self, outcomes: list[str | Exception]) -> None:
        self._outcomes = outcomes
        self._looks = 0

    def observe(self) -> int:
        self._looks += 1
        return self._looks

    def decide(self, observation: int) -> int:
        return observation - 1

    def act(self, observation: int, decision: int) -> str:
        outcome = self._outcomes[decision]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def overtaken(self, error: Overtaken) -> str:
        return f"overtaken: {error}"

    def is_terminal(self, outcome: str) -> bool:
        return outcome.endswith("again") or outcome.startswith("overtaken")


def scripts(**models: list[str | Exception]) -> Callable[[str], Scripted]:
    return lambda model: Scripted(models[model])


@pytest.mark.parametrize(
    ("hint", "looked_at"),
    [
        ({"detail": {"group": "evergreen-bus"}}, ["bus"]),
        ({"detail": {"stacks": ["evergreen-serving-cars-prod", "evergreen-serving-ads-prod"]}}, ["ads", "cars"]),
        ({"source": "evergreen.tick"}, ["ads", "bus", "cars", "tick"]),
        ({"detail": {"group": "another"}}, ["ads", "bus", "cars", "tick"]),
        ({}, ["ads", "bus", "cars", "tick"]),
    ],
)
def test_an_event_looks_at_the_models_that_it_names_and_a_tick_at_all(
    hint: dict[str, Any], looked_at: list[str]
) -> None:
    done: list[str | Exception] = ["done"]
    outcomes = reconcile(["tick", "cars", "ads", "bus"], hint, scripts(ads=done, bus=done, cars=done, tick=done))
    assert list(outcomes) == looked_at


def test_a_failure_that_no_retry_can_mend_is_reported_and_a_throttle_is_raised() -> None:
    class Reporting(Scripted):
        def failed(self, error: Exception) -> str:
            return f"reported: {error}"

    def play(model: str) -> Scripted:
        return Reporting([ValueError("no record") if model == "a" else client_error("ThrottlingException", "slow")])

    with pytest.raises(ReconcileError, match=r"^b: .*slow$"):
        reconcile(["a", "b"], {}, play)
    assert reconcile(["a"], {}, play) == {"a": ["reported: no record"]}


UNAVAILABLE: Any = {"Error": {"Code": "X"}, "ResponseMetadata": {"HTTPStatusCode": 503}}


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (client_error("ThrottlingException"), True),
        (client_error("ProvisionedThroughputExceededException"), True),
        (ClientError(UNAVAILABLE, "call"), True),
        (EndpointConnectionError(endpoint_url="https://x"), True),
        (ReadTimeoutError(endpoint_url="https://x"), True),
        (client_error("AccessDenied"), False),
        (client_error("ResourceLimitExceeded"), False),
        (KeyError("at"), False),
        (ValueError("no"), False),
    ],
)
def test_only_what_a_retry_can_mend_is_transient(error: Exception, transient: bool) -> None:
    assert is_transient(error) is transient


def test_a_model_is_observed_again_after_a_terminal_step_and_not_without_end() -> None:
    play = scripts(m=["again", "again", "done", "never"])
    assert reconcile(["m"], {}, play, looks=5) == {"m": ["again", "again", "done"]}
    assert reconcile(["m"], {}, play, looks=2) == {"m": ["again", "again"]}
    assert reconcile(["m"], {}, play) == {"m": ["again"]}


def test_an_overtaken_look_is_no_failure_and_its_reconciler_says_what_follows() -> None:
    play = scripts(m=[LeaseLost("the lease was taken"), "done"])
    assert reconcile(["m"], {}, play, looks=2) == {"m": ["overtaken: the lease was taken", "done"]}


def test_a_failure_of_one_model_is_raised_after_every_model_had_its_turn() -> None:
    seen: list[str] = []

    def play(model: str) -> Scripted:
        seen.append(model)
        return Scripted([ValueError("no record")] if model in {"a", "c"} else ["done"])

    with pytest.raises(ReconcileError, match=r"^a: no record; c: no record$"):
        reconcile(["a", "b", "c"], {}, play)
    assert seen == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("error", "missing"),
    [
        (client_error("ValidationError", "Stack with id x does not exist"), True),
        (client_error("ValidationException", 'Could not find endpoint "x"'), True),
        (client_error("ResourceNotFound"), True),
        (client_error("ResourceNotFoundException"), True),
        (client_error("ParameterNotFound"), True),
        (client_error("ValidationError", "Template format error"), False),
        (client_error("AccessDenied", "the role does not exist"), False),
        (client_error("NoSuchKey"), False),
    ],
)
def test_a_missing_resource_is_known_by_code_or_sentence(error: ClientError, missing: bool) -> None:
    assert is_missing(error) is missing


def test_conditional_writes_and_missing_objects_are_known_by_their_codes() -> None:
    assert is_missing_object(client_error("NoSuchKey"))
    assert not is_missing_object(client_error("AccessDenied"))
    assert object_exists(client_error("PreconditionFailed"))
    assert is_failed_condition(client_error("ConditionalCheckFailedException"))


def test_an_alert_says_what_happened_what_evergreen_did_and_what_to_do() -> None:
    alert = Alert(event="v2 failed", response="v1 stays live", action="Find the cause.")
    assert alert.text == "v2 failed. v1 stays live. Find the cause."
    assert Alert("a run was started").text == "a run was started. No action needed."


@pytest.mark.parametrize(
    ("state", "hours", "due"),
    [
        (None, 0, True),
        (NotificationState("fare", NOW, sent=False), 0.2, False),
        (NotificationState("fare", NOW, sent=False), 0.3, True),
        (NotificationState("tip", NOW), 0.9, False),
        (NotificationState("tip", NOW), 1, True),
        (NotificationState("fare", NOW), 47, False),
        (NotificationState("fare", NOW), 48, True),
        (NotificationState("fare", NOW, resolved=True), 23, False),
        (NotificationState("fare", NOW, resolved=True), 24, True),
    ],
)
def test_a_topic_is_sent_once_then_as_news_when_it_recurs_or_as_a_reminder(
    state: NotificationState | None, hours: float, due: bool
) -> None:
    reminders = Reminders(recurring=timedelta(hours=24), continuing=timedelta(hours=48))
    notification = Notification("violation", "fare", Alert("data violate the schema"))
    assert is_due(state, notification, reminders, NOW + timedelta(hours=hours)) is due


def test_only_sent_topics_that_no_longer_hold_are_resolved() -> None:
    states = {"drift": NotificationState("", NOW), "budget": NotificationState("", NOW, resolved=True)}
    holding = [Notification("policy", "", Alert("it is not valid"))]
    assert resolved_topics(states, ["drift", "budget", "policy", "stuck"], holding) == ("drift",)
