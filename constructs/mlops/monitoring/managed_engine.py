"""Monitors that SageMaker Model Monitor runs."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

import aws_cdk as cdk
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from configuration.images import monitor_image_uri
from configuration.instances import has_local_disk
from constructs.mlops.monitoring.builtin_engine import BuiltinEngine
from constructs.mlops.monitoring.engine import BUILTIN_ONLY, MonitoredEndpoint, MonitoringResources
from constructs.mlops.monitoring.jobs import MonitorJobs
from constructs.mlops.monitoring.monitors import Monitor, cron
from constructs.mlops.serving.release_record import ReleaseRecordParameters

_INPUT = "/opt/ml/processing/input/endpoint"
_OUTPUT = "/opt/ml/processing/output"
_MONITORING_TYPES = {"data_quality": "DataQuality", "model_quality": "ModelQuality", "bias": "ModelBias"}


class ManagedEngine(Construct):
    """Job definitions and schedules of Model Monitor, judged by the baselines of the deployed release.

    Kinds that Model Monitor does not run here go to the built-in engine.
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

    def add(self, monitor: Monitor) -> None:
        """Define a monitor's job definition and schedule."""
        if monitor.kind in BUILTIN_ONLY:
            self._builtin.add(monitor)
        else:
            ManagedMonitor(
                self,
                monitor.id,
                monitor=monitor,
                endpoint=self._endpoint,
                resources=self._resources,
                jobs=self._jobs,
                release=self._release,
            )

    @cached_property
    def _builtin(self) -> BuiltinEngine:
        return BuiltinEngine(self, "Builtin", endpoint=self._endpoint, resources=self._resources, jobs=self._jobs)

    @cached_property
    def _release(self) -> ReleaseRecordParameters:
        """The release whose baselines count; only managed monitors need it as a parameter of the stack."""
        release = ReleaseRecordParameters(self, "Release", record=self._endpoint.release_record)
        # The release controller reads this output to find the monitored release.
        output = cdk.CfnOutput(self, "ReleaseId", value=release.id, condition=release.exists)
        output.override_logical_id("ReleaseId")
        return release


class ManagedMonitor(Construct):
    """A job definition and its schedule.

    The definition has no physical name, because CloudFormation replaces it at each release. The schedule has one, and
    is updated in place to the new definition.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        monitor: Monitor,
        endpoint: MonitoredEndpoint,
        resources: MonitoringResources,
        jobs: MonitorJobs,
        release: ReleaseRecordParameters,
    ) -> None:
        super().__init__(scope, construct_id)
        self._monitor, self._endpoint, self._resources = monitor, endpoint, resources
        self._jobs, self._release = jobs, release
        self.definition = self._definition()
        self.definition.cfn_options.condition = release.exists
        # The release role may only use names that begin with the application's; CloudFormation derives them from this.
        self.definition.override_logical_id(f"{endpoint.app}{monitor.id}".lower())
        self.definition.node.add_dependency(jobs.role)
        self.schedule = sagemaker.CfnMonitoringSchedule(
            self,
            "Schedule",
            monitoring_schedule_name=endpoint.schedule_name(monitor),
            monitoring_schedule_config=sagemaker.CfnMonitoringSchedule.MonitoringScheduleConfigProperty(
                monitoring_job_definition_name=self.definition.get_att("JobDefinitionName").to_string(),
                monitoring_type=_MONITORING_TYPES[monitor.kind],
                schedule_config=sagemaker.CfnMonitoringSchedule.ScheduleConfigProperty(
                    schedule_expression=cron(endpoint.settings.schedule_hours)
                ),
            ),
        )
        self.schedule.cfn_options.condition = release.exists

    def _definition(self) -> cdk.CfnResource:
        match self._monitor.kind:
            case "data_quality":
                return self._data_quality()
            case "model_quality":
                return self._model_quality()
            case "bias":
                return self._bias()
        raise ValueError(f"Model Monitor runs data_quality, model_quality and bias, got {self._monitor.kind}")

    def _data_quality(self) -> cdk.CfnResource:
        return sagemaker.CfnDataQualityJobDefinition(
            self,
            "Definition",
            data_quality_app_specification={"imageUri": self._image_uri("model-monitor")},
            data_quality_job_input={"endpointInput": self._endpoint_input()},
            data_quality_job_output_config=self._outputs(),
            data_quality_baseline_config={
                "constraintsResource": self._baseline("constraints.json"),
                "statisticsResource": self._baseline("statistics.json"),
            },
            job_resources=self._cluster(),
            network_config=_ISOLATED,
            role_arn=self._jobs.role_arn,
            stopping_condition=self._stopping_condition(),
        )

    def _model_quality(self) -> cdk.CfnResource:
        return sagemaker.CfnModelQualityJobDefinition(
            self,
            "Definition",
            model_quality_app_specification={
                "imageUri": self._image_uri("model-monitor"),
                "problemType": self._monitor.environment["problem_type"],
            },
            model_quality_job_input={"endpointInput": self._endpoint_input(), "groundTruthS3Input": self._labels()},
            model_quality_job_output_config=self._outputs(),
            model_quality_baseline_config={"constraintsResource": self._baseline("constraints.json")},
            job_resources=self._cluster(),
            network_config=_ISOLATED,
            role_arn=self._jobs.role_arn,
            stopping_condition=self._stopping_condition(),
        )

    def _bias(self) -> cdk.CfnResource:
        return sagemaker.CfnModelBiasJobDefinition(
            self,
            "Definition",
            model_bias_app_specification={
                "imageUri": self._image_uri("clarify"),
                "configUri": self._jobs.analysis_uri(self._monitor),
            },
            model_bias_job_input={"endpointInput": self._endpoint_input(), "groundTruthS3Input": self._labels()},
            model_bias_job_output_config=self._outputs(),
            model_bias_baseline_config={"constraintsResource": self._baseline("analysis.json")},
            job_resources=self._cluster(),
            network_config=_ISOLATED,
            role_arn=self._jobs.role_arn,
            stopping_condition=self._stopping_condition(),
        )

    def _image_uri(self, image: Literal["model-monitor", "clarify"]) -> str:
        return monitor_image_uri(image, self._endpoint.region)

    def _endpoint_input(self) -> dict[str, object]:
        monitor = self._monitor
        found: dict[str, object] = {"endpointName": self._endpoint.name, "localPath": _INPUT}
        for name, property_name in (
            ("inference_attribute", "inferenceAttribute"),
            ("probability_attribute", "probabilityAttribute"),
        ):
            if name in monitor.environment:
                found[property_name] = monitor.environment[name]
        if "probability_threshold_attribute" in monitor.environment:
            found["probabilityThresholdAttribute"] = float(monitor.environment["probability_threshold_attribute"])
        if monitor.label_delay_hours is not None:
            window_hours = self._endpoint.settings.window_hours
            found["startTimeOffset"] = f"-PT{window_hours + monitor.label_delay_hours}H"
            found["endTimeOffset"] = f"-PT{monitor.label_delay_hours}H"
        return found

    def _labels(self) -> dict[str, object]:
        return {"s3Uri": self._resources.data.uri(f"{self._endpoint.model}/ground-truth")}

    def _baseline(self, file: str) -> dict[str, object]:
        folder = f"releases/{self._endpoint.model}/{self._release.id}/baselines/{self._monitor.slug}"
        return {"s3Uri": self._resources.artifacts.uri(f"{folder}/{file}")}

    def _outputs(self) -> dict[str, object]:
        folder = f"monitoring/{self._endpoint.model}/{self._release.id}/scheduled/{self._monitor.kind}"
        return {
            "kmsKeyId": self._resources.key.arn,
            "monitoringOutputs": [
                {
                    "s3Output": {
                        "localPath": _OUTPUT,
                        "s3UploadMode": "EndOfJob",
                        "s3Uri": self._resources.artifacts.uri(folder),
                    }
                }
            ],
        }

    def _cluster(self) -> dict[str, object]:
        settings = self._endpoint.settings
        cluster: dict[str, object] = {
            "instanceCount": 1,
            "instanceType": settings.instance_type,
            "volumeSizeInGb": settings.volume_gb,
        }
        if not has_local_disk(settings.instance_type):
            cluster["volumeKmsKeyId"] = self._resources.key.arn
        return {"clusterConfig": cluster}

    def _stopping_condition(self) -> dict[str, object]:
        return {"maxRuntimeInSeconds": self._endpoint.settings.max_runtime_minutes * 60}


# A job has one instance, so there is no traffic between containers to encrypt.
_ISOLATED: dict[str, object] = {"enableInterContainerTrafficEncryption": True, "enableNetworkIsolation": True}
