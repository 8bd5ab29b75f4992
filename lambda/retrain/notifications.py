"""The retrain controller's notifications. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from retrain.evidence import broken, feature_names, finding, labels, violation
from retrain.observation import Attempt, PackageSummary, PipelineRun, RetrainObservation, RetrainRequest
from retrain.policy import RetrainPolicy
from shared.canonical import sha256_of
from shared.notifications import Alert, Notification, Reminders
from shared.verdict import MonitorKind


class Topic(StrEnum):
    """The topics. Their values are alert subjects, headings of the runbook, and keys in the ledger."""

    VIOLATION = "violation"
    DRIFT = "drift"
    LABELS = "labels"
    BIAS = "bias"
    EXPLAINABILITY = "explainability"
    BUDGET = "budget"
    AWAITING = "awaiting"
    STUCK = "stuck"
    POLICY = "policy"
    ROWS = "rows"
    MONITORS = "monitors"
    # Each of these has an id of its own behind a `#`, and is sent once.
    START = "start"
    RUN = "run"
    REQUEST = "request"
    FAILED = "failed"


# They hold until something changes, and are then resolved.
STANDING_TOPICS = (
    Topic.VIOLATION,
    Topic.DRIFT,
    Topic.LABELS,
    Topic.BIAS,
    Topic.EXPLAINABILITY,
    Topic.BUDGET,
    Topic.AWAITING,
    Topic.STUCK,
    Topic.POLICY,
    Topic.ROWS,
    Topic.MONITORS,
)
# Runs take hours. A run that hangs keeps every other one from starting.
_LONGEST_RUN = timedelta(hours=24)
# After a release the monitors judge the next window by its baseline.
_MONITORS_FOLLOW = timedelta(days=1)


def reminders(policy: RetrainPolicy) -> Reminders:
    """Return when a topic is sent again: after a cooldown when it recurs, after the cap while it continues."""
    return Reminders(
        recurring=timedelta(hours=policy.cooldown_hours), continuing=timedelta(hours=policy.cooldown_cap_hours)
    )


def standing_notifications(observation: RetrainObservation, now: datetime) -> tuple[Notification, ...]:
    """Return the notifications that the observed state requires, independent of the step."""
    found = (
        _violation(observation),
        _drift(observation),
        *_judgements(observation),
        _stuck(observation, now),
        _rows(observation),
        _monitors(observation),
    )
    return tuple(notification for notification in found if notification is not None)


def policy_not_valid(problem: str) -> Notification:
    """Return the notification of a policy that is not valid."""
    alert = Alert(
        event=problem,
        response="Evergreen retrains nothing until the policy is valid",
        action="Correct it in model.yaml, and deploy",
    )
    return Notification(Topic.POLICY, problem, alert)


def budget_spent(reason: str) -> Notification:
    """Return the notification of evidence that the spent budget leaves unanswered."""
    alert = Alert(event=reason, action="Wait, raise the budget, or start the pipeline yourself")
    return Notification(Topic.BUDGET, "", alert)


def awaiting(version: PackageSummary, reason: str) -> Notification:
    """Return the notification of evidence that waits for a version to become live."""
    pending = version.approval == "PendingManualApproval"
    action = "Approve or reject the version" if pending else "Read the release controller's last decision"
    return Notification(Topic.AWAITING, str(version.version), Alert(event=reason, action=action))


def run_started(attempt: Attempt, model: str, reason: str) -> Notification:
    """Return the notification of a run that was started."""
    return Notification(f"{Topic.START}#{attempt.token(model)}", "", Alert(event=reason))


def run_not_started(attempt: Attempt, model: str, reason: str) -> Notification:
    """Return the notification of a run that SageMaker refused to start."""
    alert = Alert(
        event=reason,
        response=f"Evergreen does not try again on the same evidence: {attempt.evidence}",
        action="Repair the pipeline",
    )
    return Notification(f"{Topic.START}#{attempt.token(model)}", "", alert)


def run_ended(run: PipelineRun, alert: Alert) -> Notification:
    """Return the notification of a run that has ended."""
    return Notification(f"{Topic.RUN}#{run.id}", "", alert)


def request_refused(request: RetrainRequest, reason: str) -> Notification:
    """Return the notification of a request that is refused."""
    alert = Alert(
        event=f"a request is refused: {reason}", action="Wait, raise the budget, or start the pipeline yourself"
    )
    return Notification(f"{Topic.REQUEST}#{request.window}", "", alert)


def _violation(observation: RetrainObservation) -> Notification | None:
    schema = violation(observation)
    found = schema or broken(observation)
    if found is None:
        return None
    features = feature_names(found) or "the data set"
    what = "data violate the schema or types" if schema else "the values of features are broken"
    alert = Alert(
        event=_with_report(f"{what} ({features}): {found.evidence}", found.report),
        response="Evergreen does not retrain for drift while they do"
        if schema
        else "Evergreen does not count them as drift",
        action="Repair the source of the data",
    )
    return Notification(Topic.VIOLATION, ",".join(sorted(found.features)), alert)


def _drift(observation: RetrainObservation) -> Notification | None:
    drift, policy = finding(observation, MonitorKind.DATA_QUALITY), observation.policy
    if not drift.persists:
        if not drift.alarming:
            return None
        alert = Alert(
            event=_with_report(f"drift was found: {drift.sentence}", drift.drifted[0].report),
            response=f"Evergreen retrains once {policy.drifted} of {policy.of_last} windows drifted",
        )
        return Notification(Topic.DRIFT, "", alert)
    have, want = labels(observation), policy.min_labels
    if finding(observation, MonitorKind.MODEL_QUALITY).persists or have >= want:
        return None
    alert = Alert(
        event=_with_report(f"drift persists: {drift.sentence}", drift.drifted[0].report),
        response=f"Evergreen retrains nothing, because the last windows have {have} labels of the {want} needed",
        action="Provide labels, or request a run",
    )
    return Notification(Topic.LABELS, "", alert)


def _judgements(observation: RetrainObservation) -> tuple[Notification, ...]:
    """Return drift of bias and attributions. More of the same data may not cure it, so a person has to judge."""
    findings = ((topic, finding(observation, topic)) for topic in (Topic.BIAS, Topic.EXPLAINABILITY))
    return tuple(
        Notification(
            topic,
            "",
            Alert(
                event=_with_report(f"{topic} drifted: {found.sentence}", found.drifted[0].report),
                response="Evergreen does not retrain for this",
                action="Read the report. Then keep the version, reject it, or request a run",
            ),
        )
        for topic, found in findings
        if found.persists
    )


def _stuck(observation: RetrainObservation, now: datetime) -> Notification | None:
    """Return a run that does not end. No other run can start beside it."""
    hours = _LONGEST_RUN.total_seconds() / 3600
    run = next((run for run in observation.runs if run.active and now - run.started_at >= _LONGEST_RUN), None)
    if run is None:
        return None
    alert = Alert(
        event=f"the run {run.name} is {run.status} for more than {hours:g} hours",
        response="Evergreen starts no other run meanwhile",
        action="Stop the run",
    )
    return Notification(Topic.STUCK, run.id, alert)


def _rows(observation: RetrainObservation) -> Notification | None:
    """Return the rows of the ledger that cannot be read."""
    rows = observation.state.unreadable + observation.unreadable
    if not rows:
        return None
    alert = Alert(
        event=f"the ledger has rows that cannot be read: {'; '.join(rows)}",
        response="Evergreen decides without them",
        action="Find out who wrote them, and correct or delete them",
    )
    return Notification(Topic.ROWS, ",".join(sorted(rows)), alert)


def _monitors(observation: RetrainObservation) -> Notification | None:
    """Return verdicts on another release than the live one, for windows that began long after it went live."""
    since = observation.released_at
    if since is None or observation.version is None:
        return None
    late = [verdict for verdict in observation.verdicts if verdict.window_start >= since + _MONITORS_FOLLOW]
    newest = max(late, key=lambda verdict: verdict.window_end, default=None)
    if newest is None or any(verdict.release_id == observation.release_id for verdict in late):
        return None
    alert = Alert(
        event=f"the monitors judge {newest.release_id}, and {observation.release_id} is live",
        response="Evergreen does not retrain for these verdicts",
        action="Deploy the monitoring stack again, or correct why it cannot be updated",
    )
    return Notification(Topic.MONITORS, newest.release_id, alert)


def look_failed(kind: str, sentence: str) -> Notification:
    """Return the notification of a failure that no retry can mend."""
    alert = Alert(
        event=f"the retrain controller cannot continue, because {sentence}",
        response="Evergreen retrains nothing of this model, and tries again at the next event or tick",
        action="Correct the cause. docs/operations/runbook.md says where to look",
    )
    return Notification(f"{Topic.FAILED}#{sha256_of(kind.encode())[:16]}", "", alert)


def _with_report(event: str, report: str) -> str:
    return f"{event} (report: {report})" if report else event
