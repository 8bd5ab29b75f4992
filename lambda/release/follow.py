"""The monitoring stack follows what is live: a release of its own kind, after the endpoint's and without its lease.

A monitor that fails never rolls a good model back. So it is moved only once the endpoint serves the release, what fails
leaves the monitors of the last release, and the heartbeat alarm tells people.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from release.observe import observe_stack
from release.rollout import Rollout

if TYPE_CHECKING:
    from release.world import Stack, World
    from shared.clients import Clients
    from shared.environment import Environment

# CloudFormation would say the same again; somebody may have repaired the cause meanwhile.
_RETRY_AFTER = timedelta(hours=1)


def follow(clients: Clients, environment: Environment, model: str, world: World, now: datetime) -> str:
    """Move the monitoring stack to the live release where it is behind.

    Returns:
        The release it was moved to, or "".

    Raises:
        ChangeSetRefused: CloudFormation would not; its monitors stay on the earlier release.
    """
    record = world.record
    if record.version is None or world.serves != record.release_id:
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


def is_behind(stack: Stack, release_id: str, now: datetime) -> bool:
    """Whether the stack has monitors of a release, of another one, and may be moved now."""
    follows = any(name.startswith("Release") for name in stack.parameters)
    if not follows or stack.busy or not stack.ready or stack.release_id == release_id:
        return False
    failed = stack.status == "UPDATE_ROLLBACK_COMPLETE" and stack.updated_at
    return not failed or now - datetime.fromisoformat(stack.updated_at) >= _RETRY_AFTER
