"""Update the monitoring stack to the live release: after the endpoint's release, and without its lease.

A monitor that fails never rolls a good model back. The stack is therefore updated only once the endpoint serves the
release. After a failure the monitors of the last release stay, and the heartbeat alarm notifies people.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from release.observe import observe_stack
from release.rollout import Rollout

if TYPE_CHECKING:
    from release.observation import ReleaseObservation, StackState
    from shared.clients import Clients
    from shared.environment import ReleaseEnvironment

# An immediate retry would fail again. After an hour a person may have repaired the cause.
_RETRY_AFTER = timedelta(hours=1)


def update_monitors(
    clients: Clients, environment: ReleaseEnvironment, model: str, observation: ReleaseObservation, now: datetime
) -> str:
    """Update the monitoring stack to the live release where it is behind.

    Returns:
        The release that the update was begun for, or "".

    Raises:
        ChangeSetRefused: CloudFormation refused the update. The monitors stay on the earlier release.
    """
    record = observation.record
    if record.version is None or observation.serves != record.release_id:
        return ""
    name = environment.monitoring_stack(model)
    stack = observe_stack(clients.cloudformation, name)
    if stack is None or not is_behind(stack, record.release_id, now):
        return ""
    rollout = Rollout(
        clients.cloudformation,
        stack_name=name,
        name=f"monitor-{record.release_id}-{int(now.timestamp())}",
        role_arn=environment.release_role_arn,
    )
    rollout.prepare(stack, record)
    rollout.execute()
    return record.release_id


def is_behind(stack: StackState, release_id: str, now: datetime) -> bool:
    """Return whether the stack has monitors of another release and may be updated now."""
    has_monitors = any(name.startswith("Release") for name in stack.parameters)
    if not has_monitors or stack.busy or not stack.ready or stack.release_id == release_id:
        return False
    failed = stack.status == "UPDATE_ROLLBACK_COMPLETE" and stack.updated_at
    return not failed or now - datetime.fromisoformat(stack.updated_at) >= _RETRY_AFTER
