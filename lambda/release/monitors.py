"""Update the monitoring stack to the live release: after the endpoint's release, and without its lease.

A monitor that fails never rolls a good model back. The stack is therefore updated only once the endpoint serves the
release. After a failure the monitors of the last release stay, people are notified once, and captured data are judged
all the same. An account that AWS does not offer Model Monitor refuses every attempt: only a deployment ends that.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from release.observe import observe_stack
from release.rollout import ChangeSetRefused, Rollout
from shared.ledger import MonitorFailure
from shared.notifications import Alert
from shared.steps import Step

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient

    from release.observation import ReleaseObservation, StackState
    from shared.clients import Clients
    from shared.environment import ReleaseEnvironment
    from shared.ledger import ReleaseLedger

# An immediate retry would fail again. After an hour a person may have repaired the cause.
_RETRY_AFTER = timedelta(hours=1)
_ROLLED_BACK = "UPDATE_ROLLBACK_COMPLETE"
# AWS does not publish what a service answers that is closed to an account. These are the words of services it closed.
_CLOSED = re.compile(
    r"(new|existing) customers|no longer (available|open|offered)|not (available|offered|open) (to|for|in) (this|your)"
    r"|OptInRequired|SubscriptionRequired|OperationNotAllowed",
    re.IGNORECASE,
)
# CloudFormation's wrapping of a handler's message: ids differ from one attempt to the next.
_IDS = re.compile(r"\s*\((Service|Request ID|RequestToken|SDK Attempt)[^()]*\)|Resource handler returned message: ")


def update_monitors(
    clients: Clients,
    environment: ReleaseEnvironment,
    ledger: ReleaseLedger,
    model: str,
    observation: ReleaseObservation,
    now: datetime,
) -> MonitorFailure | None:
    """Update the monitoring stack to the live release where it is behind.

    Returns:
        A failure that the ledger does not have yet: of this update, or of an earlier one that ended meanwhile.
    """
    record, name = observation.record, environment.monitoring_stack(model)
    if record.version is None or observation.serves != record.release_id:
        return None
    stack = observe_stack(clients.cloudformation, name)
    if stack is None or stack.busy:
        return None
    known = ledger.monitor_failure()
    if not _has_monitors(stack) or stack.release_id == record.release_id:
        if known:
            ledger.clear_monitor_failure()
        return None
    if stack.status == _ROLLED_BACK and (known is None or known.stack_updated_at != stack.updated_at):
        return _failure(_failed_resource(clients.cloudformation, name), stack, now)
    if not is_behind(stack, record.release_id, now, known):
        return None
    rollout = Rollout(
        clients.cloudformation,
        stack_name=name,
        name=f"monitor-{record.release_id}-{int(now.timestamp())}",
        role_arn=environment.release_role_arn,
    )
    try:
        rollout.prepare(stack, record)
        rollout.execute()
    except ChangeSetRefused as refusal:
        return _failure(str(refusal), stack, now)
    return None


def is_behind(stack: StackState, release_id: str, now: datetime, failure: MonitorFailure | None = None) -> bool:
    """Return whether the stack has monitors of another release and may be updated now.

    Args:
        stack: The monitoring stack.
        release_id: The live release.
        now: The time.
        failure: The failure of the last update, if it failed.
    """
    if not _has_monitors(stack) or stack.busy or not stack.ready or stack.release_id == release_id:
        return False
    if failure is not None and failure.stack_updated_at == stack.updated_at:
        return not failure.closed and now - failure.at >= _RETRY_AFTER
    failed = stack.status == _ROLLED_BACK and stack.updated_at
    return not failed or now - datetime.fromisoformat(stack.updated_at) >= _RETRY_AFTER


def step_of(failure: MonitorFailure) -> Step:
    """Return the step that decision rows and alerts name."""
    return Step.MONITORS_REFUSED if failure.closed else Step.MONITORS_FAILED


def alert_of(failure: MonitorFailure, release_id: str, stage: str) -> Alert:
    """Return the alert about monitors that could not be updated to a release."""
    if failure.closed:
        return Alert(
            event=f"AWS refuses Model Monitor to this account: {failure.reason}",
            response=f"{release_id} stays live, its captured data are judged, and Evergreen tries no more",
            action=_change(stage).capitalize(),
        )
    return Alert(
        event=f"the monitors could not be updated to {release_id}, because {failure.reason}",
        response=f"{release_id} stays live, its captured data are judged, and Evergreen retries every hour",
        action=f"Correct the cause; where AWS does not offer Model Monitor to this account, {_change(stage)}",
    )


def _change(stage: str) -> str:
    return f"set model_monitor: closed for the stage {stage} in evergreen.yaml, and deploy"


def _has_monitors(stack: StackState) -> bool:
    """Return whether the stack has managed monitors: those of the built-in engine read the release themselves."""
    return any(name.startswith("Release") for name in stack.parameters)


def _failure(reason: str, stack: StackState, now: datetime) -> MonitorFailure:
    text = _IDS.sub("", reason).replace('"', "").strip()
    return MonitorFailure(text, bool(_CLOSED.search(reason)), now, stack.updated_at)


def _failed_resource(cloudformation: CloudFormationClient, stack_name: str) -> str:
    """Return why the stack's last update failed: the reason of the first resource that did."""
    reason = "CloudFormation gives no reason"
    # Newest first.
    for page in cloudformation.get_paginator("describe_stack_events").paginate(StackName=stack_name):
        for event in page["StackEvents"]:
            status, given = event.get("ResourceStatus", ""), event.get("ResourceStatusReason", "")
            if event.get("ResourceType") == "AWS::CloudFormation::Stack" and status == "UPDATE_IN_PROGRESS":
                return reason
            if status.endswith("_FAILED") and "cancelled" not in given:
                reason = given or reason
    return reason
