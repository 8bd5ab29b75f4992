"""How a stage watches a model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3_assets as s3_assets
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from configuration import Application, Model, Monitoring, Stage
from configuration.images import monitor_image_uri
from constructs.mlops.foundation.permissions import Permissions
from constructs.mlops.monitoring.monitor_jobs import AnalyzerCode, TextFile, explanation_job
from constructs.mlops.monitoring.monitors import Monitor, monitors_of
from constructs.mlops.monitoring.scheduled_monitors import (
    BuiltinMonitor,
    ManagedMonitor,
    MonitorAlarms,
    captured_dimensions,
    drift_alarm,
)
from constructs.mlops.serving.release import Release
from constructs.mlops.training.job_roles import ContainerPermissions
from stacks.platform import Platform

_HOUR = 3600
# Clarify's attribution monitor wants a network, a shadow endpoint and the name of a model that a template does not
# know; ours takes SHAP out of the model itself, isolated (docs/adr/0013).
_BUILTIN_ONLY = {"explainability"}


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
        platform: Platform,
        env: cdk.Environment,
    ) -> None:
        super().__init__(
            scope, construct_id, stack_name=construct_id, env=env, description=f"Watches {model.name} in {stage.name}"
        )
        self._platform, self._model, self._monitoring, self._stage = platform, model, monitoring, stage
        app = application.name
        self._endpoint = f"{app}-{model.name}-{stage.name}"
        self._image = model.framework.image_uri(stage.region)
        monitors = list(monitors_of(model, monitoring))
        managed = stage.model_monitor == "available"
        builtin = [monitor for monitor in monitors if not managed or monitor.kind in _BUILTIN_ONLY]
        record = f"/{app}/{model.name}/{stage.name}/release"
        reports = platform.artifacts.s3_url_for_object(f"monitoring/{model.name}/")
        code = AnalyzerCode(self, "Code").asset if any(m.kind in _BUILTIN_ONLY for m in monitors) else None
        starter = self._starter() if builtin else None
        analyses = {
            one.kind: TextFile(self, f"{one.id}Analysis", text=one.analysis_json).asset
            for one in monitors
            if one.analysis is not None and (managed or one.kind in _BUILTIN_ONLY)
        }
        role = self._role([*analyses.values(), *([code] if code else [])])
        release = Release(self, "Release", record=record) if len(builtin) < len(monitors) else None
        if release:
            # By it the release controller sees whose monitors these are.
            cdk.CfnOutput(self, "ReleaseId", value=release.id, condition=release.exists)
        for monitor in monitors:
            name = f"{self._endpoint}-{monitor.slug}"
            common: dict[str, Any] = {
                "monitor": monitor,
                "model": model.name,
                "endpoint_name": self._endpoint,
                "schedule_name": name,
                "monitoring": monitoring,
                "key": platform.key,
            }
            if release and monitor not in builtin:
                ManagedMonitor(
                    self,
                    monitor.id,
                    app=app,
                    image_uri=monitor_image_uri("clarify" if monitor.analysis else "model-monitor", stage.region),
                    release=release,
                    analysis=analyses.get(monitor.kind),
                    role=role,
                    data=platform.data,
                    artifacts=platform.artifacts,
                    **common,
                )
            elif starter:
                BuiltinMonitor(
                    self,
                    monitor.id,
                    job=self._job(monitor, name, role, code, analyses)
                    if code and monitor.kind in _BUILTIN_ONLY
                    else None,
                    function=platform.monitor,
                    role=starter,
                    **common,
                )
            MonitorAlarms(
                self,
                f"{monitor.id}Alarms",
                monitor=monitor,
                endpoint_name=self._endpoint,
                schedule_name=name,
                reports=reports,
                alerts=platform.alerts,
            )
        # Captured data is judged by the slots of the schedule, and the scheduled run on a slot has the last word.
        ssm.CfnParameter(
            self,
            "Policy",
            name=f"/{app}/{model.name}/{stage.name}/monitoring",
            type="String",
            value=json.dumps({"captured_window_seconds": monitoring.schedule_hours * _HOUR}),
            description=f"How {model.name} is monitored: what the platform's functions must know",
        )
        drift_alarm(
            self,
            "CapturedDrift",
            name=f"{self._endpoint}-captured-drift",
            monitor=Monitor("data_quality", "aws/sagemaker/Endpoints/data-metrics", "data_drift"),
            dimensions=captured_dimensions(self._endpoint),
            period=monitoring.schedule_hours * _HOUR,
            reports=reports,
            alerts=platform.alerts,
        )

    def _starter(self) -> iam.Role:
        """The role by which the schedules call the platform's function."""
        permissions = Permissions()
        permissions.allow(["lambda:InvokeFunction"], on=[self._platform.monitor.function_arn])
        permissions.allow(["kms:Decrypt"], on=[self._platform.key.key_arn])
        return permissions.role(
            self, "Starter", service="scheduler.amazonaws.com", description=f"Starts monitors of {self._model.name}"
        )

    def _role(self, assets: list[s3_assets.Asset]) -> iam.Role:
        """The role of the jobs: captured data, labels, releases and code to read, findings to write."""
        name, own = self._model.name, "This model's own objects; their keys hold hours and releases."
        platform = self._platform
        permissions = ContainerPermissions(self, image_uri=self._image, log_groups=["ProcessingJobs"], key=platform.key)
        permissions.allow_reading(platform.data, f"{name}/capture/", f"{name}/ground-truth/", because=own)
        permissions.allow_reading(platform.artifacts, f"releases/{name}/", f"monitoring/{name}/", because=own)
        permissions.allow_writing(platform.artifacts, f"monitoring/{name}/", because=own)
        if self._stage.model_monitor == "available":
            region = self._stage.region
            permissions.allow_pulling(*(monitor_image_uri(image, region) for image in ("model-monitor", "clarify")))
            # The managed engine keeps what it merged beside the labels.
            permissions.allow_writing(platform.data, f"{name}/ground-truth/merged/", because=own)
        permissions.allow_reading_assets(assets)
        return permissions.attach(self, "JobRole", description=f"Judges what {name} answers, without a network")

    def _job(
        self,
        monitor: Monitor,
        name: str,
        role: iam.Role,
        code: s3_assets.Asset,
        analyses: Mapping[str, s3_assets.Asset],
    ) -> dict[str, object]:
        return explanation_job(
            monitor=monitor,
            model=self._model.name,
            endpoint_name=self._endpoint,
            schedule_name=name,
            monitoring=self._monitoring,
            image_uri=self._image,
            role=role,
            code=code,
            analysis=analyses[monitor.kind],
            artifacts=self._platform.artifacts,
            key=self._platform.key,
        )
