"""The handler of scheduled monitors: schedules of the built-in engine, and completed jobs of either engine."""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from monitor.environment import ScheduleEnvironment
from monitor.finished_run import record_job
from monitor.scheduled_run import run_due

if TYPE_CHECKING:
    from shared.clients import Clients


@cache
def _environment() -> ScheduleEnvironment:
    return ScheduleEnvironment.read()


@cache
def _clients() -> "Clients":
    from shared.clients import Clients

    return Clients()


def handler(event: Mapping[str, Any], _context: object) -> dict[str, str]:
    """Run the monitor of a schedule's `{"monitor": {…}}`, or record what a completed processing job found."""
    if "monitor" in event:
        return run_due(event["monitor"], _environment(), _clients())
    return record_job(event["detail"], _environment(), _clients())
