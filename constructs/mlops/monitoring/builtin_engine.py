"""Monitors that the stage's own analyzer function runs."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_scheduler as scheduler
from constructs import Construct

from constructs.mlops.foundation.permissions import Permissions
from constructs.mlops.monitoring.engine import BUILTIN_ONLY, MonitoredEndpoint, MonitoringResources
from constructs.mlops.monitoring.jobs import MonitorJobs
from constructs.mlops.monitoring.monitors import Monitor, cron

_HOUR_SECONDS = 3600
_DAY_SECONDS = 24 * _HOUR_SECONDS


class BuiltinEngine(Construct):
    """Schedules that invoke the stage's monitor function, one for each monitor.

    The function reads the release record at each run, so a release changes nothing here.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        endpoint: MonitoredEndpoint,
        resources: MonitoringResources,
        jobs: MonitorJobs,
    ) -> None:
        super().__init__(scope, construct_id)
        self._endpoint, self._resources, self._jobs = endpoint, resources, jobs
        permissions = Permissions()
        resources.function.grant_invoke(permissions)
        resources.key.grant_decrypt(permissions)
        self.role = permissions.role(
            self, "Role", service="scheduler.amazonaws.com", description=f"Starts monitors of {endpoint.model}"
        )

    def add(self, monitor: Monitor) -> None:
        """Define a monitor's schedule."""
        schedule = scheduler.CfnSchedule(
            self,
            monitor.id,
            description=f"{monitor.kind} of {self._endpoint.model}, by the built-in analyzer",
            schedule_expression=cron(monitor.schedule_hours),
            flexible_time_window=scheduler.CfnSchedule.FlexibleTimeWindowProperty(mode="OFF"),
            kms_key_arn=self._resources.key.arn,
            target=scheduler.CfnSchedule.TargetProperty(
                arn=self._resources.function.arn,
                role_arn=self.role.role_arn,
                input=cdk.Stack.of(self).to_json_string({"monitor": self._message(monitor)}),
                retry_policy=scheduler.CfnSchedule.RetryPolicyProperty(
                    # The function derives the window from the time, so a later retry would judge the next window.
                    maximum_event_age_in_seconds=min(monitor.schedule_hours * _HOUR_SECONDS, _DAY_SECONDS) // 2,
                    maximum_retry_attempts=20,
                ),
            ),
        )
        schedule.node.add_dependency(self.role)

    def _message(self, monitor: Monitor) -> dict[str, object]:
        """Return what the function must know of a monitor (docs/reference/contracts.md, "Scheduled monitors")."""
        endpoint = self._endpoint
        message: dict[str, object] = {
            "model": endpoint.model,
            "kind": monitor.kind,
            "schedule": endpoint.schedule_name(monitor),
            "endpoint": endpoint.name,
            "schedule_hours": monitor.schedule_hours,
            "window_hours": endpoint.settings.window_hours,
            "label_delay_hours": monitor.label_delay_hours or 0,
            "environment": {"monitor_mode": endpoint.settings.mode, **monitor.environment},
        }
        if monitor.analysis is not None:
            message["analysis"] = monitor.analysis
        if monitor.kind in BUILTIN_ONLY:
            message["job"] = self._jobs.request(monitor)
        return message
