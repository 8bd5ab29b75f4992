"""The monitoring of a model in a stage."""

from __future__ import annotations

import json

import aws_cdk as cdk
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from configuration import Application, Model, Monitoring, Stage
from constructs.mlops.monitoring.alarms import CapturedDriftAlarm, MonitorAlarms
from constructs.mlops.monitoring.builtin_engine import BuiltinEngine
from constructs.mlops.monitoring.engine import MonitoredEndpoint, MonitoringEngine, MonitoringResources
from constructs.mlops.monitoring.jobs import MonitorJobs
from constructs.mlops.monitoring.managed_engine import ManagedEngine
from constructs.mlops.monitoring.monitors import monitors_of
from stacks.platform import PlatformStack

_HOUR_SECONDS = 3600


class MonitoringStack(cdk.Stack):
    """A model's scheduled monitors on the stage's engine, and the alarms on them and on captured data."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        application: Application,
        stage: Stage,
        model: Model,
        monitoring: Monitoring,
        platform: PlatformStack,
        env: cdk.Environment,
    ) -> None:
        super().__init__(
            scope, construct_id, stack_name=construct_id, env=env, description=f"Monitors {model.name} in {stage.name}"
        )
        managed = stage.model_monitor == "available"
        monitors = list(monitors_of(model, monitoring))
        endpoint = MonitoredEndpoint(
            app=application.name,
            model=model.name,
            name=f"{application.name}-{model.name}-{stage.name}",
            region=stage.region,
            image_uri=model.framework.image_uri(stage.region),
            release_record=f"/{application.name}/{model.name}/{stage.name}/release",
            settings=monitoring,
        )
        resources = MonitoringResources(
            data=platform.data, artifacts=platform.artifacts, key=platform.key, function=platform.monitor
        )
        jobs = MonitorJobs(self, "Jobs", endpoint=endpoint, resources=resources, monitors=monitors, managed=managed)
        engine: MonitoringEngine = (
            ManagedEngine(self, "Managed", endpoint=endpoint, resources=resources, jobs=jobs)
            if managed
            else BuiltinEngine(self, "Builtin", endpoint=endpoint, resources=resources, jobs=jobs)
        )
        for monitor in monitors:
            engine.add(monitor)
            MonitorAlarms(
                self,
                f"{monitor.id}Alarms",
                monitor=monitor,
                endpoint=endpoint,
                artifacts=platform.artifacts,
                alerts=platform.alerts,
            )
        CapturedDriftAlarm(self, "Captured", endpoint=endpoint, artifacts=platform.artifacts, alerts=platform.alerts)
        # Captured data is judged in the windows of the schedule, whose own runs then have the final verdict.
        ssm.CfnParameter(
            self,
            "Settings",
            name=f"/{application.name}/{model.name}/{stage.name}/monitoring",
            type="String",
            value=json.dumps({"captured_window_seconds": monitoring.schedule_hours * _HOUR_SECONDS}),
            description=f"How {model.name} is monitored; the monitor functions read it",
        )
