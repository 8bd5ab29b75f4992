"""The release controller: observe, decide and take one step at a time, for every model of the stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from release import monitors
from release.decide import (
    Abandon,
    Cancel,
    CorrectRecord,
    Deploy,
    Redeploy,
    RefuseVersion,
    ReleaseStep,
    RollBack,
    Verify,
    decide,
)
from release.desired import desired_package
from release.execute import ReleaseExecutor
from release.four_eyes import current_approval
from release.observation import DescribedPackage, ReleaseObservation
from release.observe import observe
from release.rollout import ChangeSetRefused
from release.verified_copy import PackageRefused
from shared.canonical import sha256_of
from shared.clients import Clients
from shared.clock import utc_now
from shared.environment import ReleaseEnvironment
from shared.errors import Overtaken, failure_kind, failure_sentence
from shared.ledger import ReleaseDecision, ReleaseLedger
from shared.log import logger
from shared.notifications import NO_ACTION, Alert, AlertPublisher, Notification
from shared.reconcile import ModelReconciler, reconcile
from shared.release_record import NO_RELEASE, ReleaseRecord
from shared.steps import Hold, Nothing, Step, Wait
from shared.told import Notifier, ToldTopics

# Terminal steps: reconcile again immediately instead of waiting for the next tick.
TERMINAL = frozenset({Step.COMPLETE, Step.ABANDON, Step.CORRECT_RECORD, Step.ROLL_BACK, Step.REFUSE, Step.OVERTAKEN})
LOOKS = 6


def reconcile_releases(
    hint: Mapping[str, Any],
    clients: Clients,
    environment: ReleaseEnvironment,
    *,
    invocation: str,
    models: Sequence[str] | None = None,
    now: Callable[[], datetime] = utc_now,
) -> dict[str, str]:
    """Take each model of the stage one step further, and observe it again after a terminal step.

    Args:
        hint: The event.
        clients: AWS.
        environment: The function's environment.
        invocation: Names the invocation in leases and ledger rows. Lambda's retry has the same name.
        models: The models to look at; None for those of the stage that the event names.
        now: The clock.

    Returns:
        The steps taken, by model.

    Raises:
        ReconcileError: Some models failed. Every model had its turn.
    """
    logger.append_keys(stage=environment.stage)

    def reconciler(model: str) -> ReleaseReconciler:
        return ReleaseReconciler(clients, environment, model, invocation=invocation, now=now)

    wanted = environment.models(clients.ssm) if models is None else models
    steps = reconcile(wanted, hint, reconciler, looks=LOOKS)
    return {model: " → ".join(taken) for model, taken in steps.items()}


class ReleaseReconciler(ModelReconciler[ReleaseObservation, ReleaseStep, Step]):
    """Makes a stage serve the desired version of one model."""

    def __init__(
        self,
        clients: Clients,
        environment: ReleaseEnvironment,
        model: str,
        *,
        invocation: str,
        now: Callable[[], datetime],
    ) -> None:
        self._clients = clients
        self._environment = environment
        self._model = model
        self._invocation = invocation
        self._now = now
        stage = environment.stage
        self._ledger = ReleaseLedger(clients.dynamodb, environment.ledger_table, model=model, stage=stage)
        self._executor = ReleaseExecutor(clients, environment, self._ledger, model, owner=invocation, now=now)
        self._alerts = AlertPublisher(clients.sns, environment.alert_topic_arn, model=model, stage=stage)
        table = environment.ledger_table
        self._topics = ToldTopics(clients.dynamodb, table, model=model, stage=stage, prefix="told#")
        self._notifier = Notifier(self._topics, self._alerts, now)

    def observe(self) -> ReleaseObservation:
        """Read the observed state, and record the approvals in it before another edit hides them."""
        observation = observe(self._clients, self._environment, self._ledger, self._model, self._topics)
        self._executor.record_approvals(observation)
        return observation

    def decide(self, observation: ReleaseObservation) -> ReleaseStep:
        """Return the one step to take now."""
        return decide(observation, self._now())

    def act(self, observation: ReleaseObservation, decision: ReleaseStep) -> Step:
        """Take the step, and keep the monitors on the live release."""
        overdue = self._overdue(observation, decision)
        if isinstance(decision, Deploy | Redeploy):
            outcome = self._release(observation, decision)
        else:
            self._executor.execute(observation, decision, self._reporter(observation, decision))
            if isinstance(decision, Nothing | Wait | Verify):
                self._update_monitors(observation)
            outcome = decision.step
        self._resolve(observation, decision, overdue)
        return outcome

    def failed(self, error: Exception) -> Step:
        """Record a failure that no retry can mend, and report it once until a look succeeds."""
        sentence = failure_sentence(error)
        notification = Notification(
            _topic(Step.FAILED, failure_kind(error)),
            "",
            Alert(
                event=f"the release controller cannot continue, because {sentence}",
                response="What is live stays live, and Evergreen tries again at the next event or tick",
                action="Correct the cause. docs/operations/runbook.md says where to look",
            ),
        )
        if self._notifier.notify(self._topics.read(), notification):
            self._write(ReleaseDecision(Step.FAILED, sentence, desired="unknown", actual="unknown", approver=""))
        return Step.FAILED

    def _overdue(self, observation: ReleaseObservation, decision: ReleaseStep) -> tuple[Notification, ...]:
        """Time what is awaited, and report a wait that has lasted too long."""
        awaited = decision.awaited if isinstance(decision, Wait) else ""
        known = observation.awaited or ("", self._now())
        if awaited != known[0]:
            self._ledger.write_waiting(awaited, self._now())
            return ()
        if not awaited or not isinstance(decision, Wait) or self._now() - known[1] < decision.limit:
            return ()
        hours = decision.limit.total_seconds() / 3600
        notification = Notification(
            _topic(Step.OVERDUE, awaited),
            "",
            Alert(
                event=f"{decision.reason}, for more than {hours:g} hours",
                response="Evergreen releases nothing and rolls nothing back until this ends",
                action=f"Find out what keeps {awaited}",
            ),
        )
        if self._notifier.notify(observation.told, notification):
            reason = f"{decision.reason}, for more than {hours:g} hours"
            self._write(ReleaseDecision(Step.OVERDUE, reason, "unknown", observation.serves or "unknown", ""))
        return (notification,)

    def _resolve(
        self, observation: ReleaseObservation, decision: ReleaseStep, holding: tuple[Notification, ...]
    ) -> None:
        """Record which topics no longer hold. While a stack or an endpoint moves, only failures are resolved."""
        if observation.unreadable:
            rows = _unreadable_rows(observation.unreadable)
            self._notifier.notify(observation.told, rows)
            holding = (*holding, rows)
        known = standing_notification(decision)
        holding = (*holding, known) if known else holding
        settled = not observation.busy and observation.lease is None
        topics = [
            topic
            for topic in observation.told
            if topic.startswith(f"{Step.FAILED}#") or (settled and not topic.startswith(f"{Step.CHANGE_SET_REFUSED}#"))
        ]
        if decision.step in {Step.COMPLETE, Step.NOTHING}:
            topics = list(observation.told)
        self._notifier.resolve(observation.told, topics, holding)

    def overtaken(self, error: Overtaken) -> Step:  # noqa: ARG002 - the loop logs it
        """Return the outcome that leads to another look."""
        return Step.OVERTAKEN

    def is_terminal(self, outcome: Step) -> bool:
        """Return whether to observe again at once."""
        return outcome in TERMINAL

    def _update_monitors(self, observation: ReleaseObservation) -> None:
        """Move the monitors to the live release. A failure there never touches the endpoint, and is reported once."""
        now, live = self._now(), observation.serves
        failure = monitors.update_monitors(
            self._clients, self._environment, self._ledger, self._model, observation, now
        )
        if failure is None:
            return
        if failure.is_news(self._ledger.monitor_failure()):
            step = monitors.step_of(failure)
            self._alerts.publish(step, monitors.alert_of(failure, live, self._environment.stage))
            decision = ReleaseDecision(step=step, reason=failure.reason, desired=live, actual=live, approver="")
            self._ledger.write_decision(decision, now=now, request_id=self._invocation)
            logger.warning(failure.reason, step=step)
        self._ledger.write_monitor_failure(failure)

    def _release(self, observation: ReleaseObservation, step: Deploy | Redeploy) -> Step:
        """Deploy, and report the deployment once it has begun; or refuse the version."""
        try:
            self._executor.execute(observation, step, self._reporter(observation, step))
        except PackageRefused as refusal:
            if not isinstance(step, Deploy):
                raise
            refuse = RefuseVersion(step.version, str(refusal))
            # The failed copy gave the lease back.
            observed = replace(observation, lease=None)
            self._executor.execute(observed, refuse, self._reporter(observed, refuse))
            return refuse.step
        except ChangeSetRefused as refusal:
            alert = Alert(
                event=f"{step.release_id} could not be released, because {refusal}",
                response="Evergreen restored the old release record and retries at the next tick",
                action="Correct the cause, or reject the version",
            )
            topic = _topic(Step.CHANGE_SET_REFUSED, f"{step.release_id} {refusal}")
            self._report(observation, Step.CHANGE_SET_REFUSED, str(refusal), Notification(topic, "", alert))
            return Step.CHANGE_SET_REFUSED
        self._report(observation, step.step, step.reason, None)
        return step.step

    def _reporter(self, observation: ReleaseObservation, step: ReleaseStep) -> Callable[[], None]:
        return partial(self._report, observation, step.step, step.reason, standing_notification(step) or alert_of(step))

    def _report(
        self, observation: ReleaseObservation, step: Step, reason: str, message: Alert | Notification | None
    ) -> None:
        """Record a decision once, in the ledger, in the log and, where a person must know, as an alert.

        A decision that equals the last one is neither recorded nor sent again. A condition that lasts is sent once
        until it is resolved, whatever was decided in between. The alert goes first: a crash in between repeats it and
        never loses it.
        """
        package = desired_package(observation)
        decision = ReleaseDecision(
            step=step,
            reason=reason,
            desired=(package.release_id or f"v{package.version}") if package else "none",
            actual=observation.serves or ("unknown" if observation.endpoint else "none"),
            approver=_approver(observation, package) if package else "",
        )
        if isinstance(message, Notification):
            self._notifier.notify(observation.told, message)
        if self._ledger.last_decision() == decision:
            logger.debug("no change", step=step, reason=reason)
            return
        if isinstance(message, Alert):
            self._alerts.publish(step, message)
        self._write(decision)

    def _write(self, decision: ReleaseDecision) -> None:
        """Write a decision, once while it stays the same."""
        if self._ledger.last_decision() == decision:
            return
        # Two decisions of one look may be of the same moment.
        request_id = f"{self._invocation}-{decision.step}" if decision.step == Step.OVERDUE else self._invocation
        self._ledger.write_decision(decision, now=self._now(), request_id=request_id)
        logger.info(
            decision.reason,
            step=decision.step,
            desired=decision.desired,
            actual=decision.actual,
            approver=decision.approver,
        )


def _approver(observation: ReleaseObservation, package: DescribedPackage) -> str:
    version = package.version
    recorded, quarantine = observation.approvals.get(version), observation.quarantine.get(version)
    return current_approval(package, recorded, quarantine).approver


def _topic(step: Step, detail: str) -> str:
    """Return a topic. Each cause has its own, so that another cause is told at once."""
    return f"{step}#{sha256_of(detail.encode())[:16]}"


def _unreadable_rows(rows: tuple[str, ...]) -> Notification:
    alert = Alert(
        event=f"the ledger has rows that cannot be read: {'; '.join(rows)}",
        response="Evergreen ignores them; a quarantine whose time cannot be read never ends",
        action="Find out who wrote them, and correct or delete them",
    )
    return Notification(_topic(Step.FAILED, " ".join(rows)), "", alert)


def standing_notification(step: ReleaseStep) -> Notification | None:
    """Return the notification of a step that repeats itself until somebody acts; None for any other."""
    alert = alert_of(step)
    match step:
        case Hold(cause, _):
            topic = _topic(Step.HOLD, cause)
        case Cancel(lease, _):
            topic = _topic(Step.CANCEL, f"{lease.release_id} {lease.acquired_at}")
        case _:
            return None
    return Notification(topic, "", alert) if alert else None


def alert_of(step: ReleaseStep) -> Alert | None:
    """Return the alert of a step, or None where no person has to know."""
    match step:
        case RefuseVersion(version, reason):
            return Alert(
                event=f"version {version} was approved and is refused, because {reason}",
                response=f"Evergreen quarantined version {version} and deployed nothing",
                action="Correct the cause and approve the version again, or register a new one",
            )
        case RollBack(lease, restore, reason):
            return Alert(
                event=f"{lease.release_id} was rolled back, because {reason}",
                response=f"Evergreen quarantined it; {_stays_live(restore)}",
                action="Find the cause. Then approve this version again, or approve another one",
            )
        case Abandon(_, restore, reason):
            return Alert(
                event=reason,
                response=f"Evergreen restored the release record to {restore.release_id}",
                action=f"{NO_ACTION}; Evergreen retries automatically",
            )
        case Cancel(_, reason):
            return Alert(
                event=reason,
                response="Evergreen cancels the release and goes back to the earlier one",
                action=f"{NO_ACTION}. The version stays quarantined until it is approved again",
            )
        case CorrectRecord(release, reason):
            return Alert(
                event=reason,
                response=f"Evergreen wrote the record of {release.release_id} again",
                action="Find out who changed the release record, and take the permission away",
            )
        case Hold(cause, action):
            return Alert(
                event=cause,
                response="Evergreen releases nothing until this is resolved",
                action=action[:1].upper() + action[1:] or NO_ACTION,
            )
        case _:
            return None


def _stays_live(restored: ReleaseRecord | None) -> str:
    if restored is None:
        return "what is live stays live"
    return "nothing is live" if restored == NO_RELEASE else f"{restored.release_id} stays live"
