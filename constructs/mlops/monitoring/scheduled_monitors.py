"""A model's monitors on a stage's engine: schedules, job definitions, and the alarms that do not know the engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_s3_assets as s3_assets
from aws_cdk import aws_sagemaker as sagemaker
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_sns as sns
from constructs import Construct

from configuration import Monitoring
from configuration.instances import has_local_disk
from constructs.mlops.monitoring.monitors import Monitor, cron
from constructs.mlops.serving.release import Release

_INPUT = "/opt/ml/processing/input/endpoint"
_OUTPUT = "/opt/ml/processing/output"
_HOUR = 3600
_DRIFTED, _OF = 2, 3
_LONGEST_ALARM = 7 * 24 * _HOUR  # CloudWatch looks no further back, so a weekly run is judged by itself


class ManagedMonitor(Construct):
    """A kind of monitor on SageMaker Model Monitor: job definition and schedule, of the deployed release's baseline.

    The definition has no physical name, since CloudFormation replaces it at each release; the schedule has one, and is
    updated to the new definition in place.

    Args:
        schedule_name: Also names the metrics' dimension.
        analysis: The analysis configuration's file, for the kinds of Clarify.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        app: str,
        monitor: Monitor,
        model: str,
        endpoint_name: str,
        schedule_name: str,
        monitoring: Monitoring,
        image_uri: str,
        release: Release,
        analysis: s3_assets.Asset | None,
        role: iam.IRole,
        data: s3.IBucket,
        artifacts: s3.IBucket,
        key: kms.IKey,
    ) -> None:
        super().__init__(scope, construct_id)
        baselines = f"releases/{model}/{release.id}/baselines/{monitor.slug}"
        resources: dict[str, object] = {
            "instanceCount": 1,
            "instanceType": monitoring.instance_type,
            "volumeSizeInGb": monitoring.volume_gb,
        }
        if not has_local_disk(monitoring.instance_type):
            resources["volumeKmsKeyId"] = key.key_arn
        common: dict[str, Any] = {
            "job_resources": {"clusterConfig": resources},
            # Model Monitor's containers work without a network; traffic between two of them there is none.
            "network_config": {"enableNetworkIsolation": True},
            "role_arn": role.role_arn,
            "stopping_condition": {"maxRuntimeInSeconds": monitoring.max_runtime_minutes * 60},
        }
        outputs: dict[str, Any] = {
            "kmsKeyId": key.key_arn,
            "monitoringOutputs": [
                {
                    "s3Output": {
                        "localPath": _OUTPUT,
                        "s3UploadMode": "EndOfJob",
                        "s3Uri": artifacts.s3_url_for_object(
                            f"monitoring/{model}/{release.id}/scheduled/{monitor.kind}"
                        ),
                    }
                }
            ],
        }
        endpoint = _endpoint_input(monitor, endpoint_name, monitoring)
        labels = {"s3Uri": data.s3_url_for_object(f"{model}/ground-truth")}

        def baseline(name: str) -> dict[str, Any]:
            return {"s3Uri": artifacts.s3_url_for_object(f"{baselines}/{name}")}

        self.definition: cdk.CfnResource
        match monitor.kind:
            case "data_quality":
                self.definition = sagemaker.CfnDataQualityJobDefinition(
                    self,
                    "Definition",
                    data_quality_app_specification={"imageUri": image_uri},
                    data_quality_job_input={"endpointInput": endpoint},
                    data_quality_job_output_config=outputs,
                    data_quality_baseline_config={
                        "constraintsResource": baseline("constraints.json"),
                        "statisticsResource": baseline("statistics.json"),
                    },
                    **common,
                )
            case "model_quality":
                self.definition = sagemaker.CfnModelQualityJobDefinition(
                    self,
                    "Definition",
                    model_quality_app_specification={
                        "imageUri": image_uri,
                        "problemType": monitor.environment["problem_type"],
                    },
                    model_quality_job_input={"endpointInput": endpoint, "groundTruthS3Input": labels},
                    model_quality_job_output_config=outputs,
                    model_quality_baseline_config={"constraintsResource": baseline("constraints.json")},
                    **common,
                )
            case "bias":
                if analysis is None:
                    raise ValueError("a bias monitor needs its analysis configuration")
                self.definition = sagemaker.CfnModelBiasJobDefinition(
                    self,
                    "Definition",
                    model_bias_app_specification={"imageUri": image_uri, "configUri": analysis.s3_object_url},
                    model_bias_job_input={"endpointInput": endpoint, "groundTruthS3Input": labels},
                    model_bias_job_output_config=outputs,
                    model_bias_baseline_config={"constraintsResource": baseline("analysis.json")},
                    **common,
                )
            case _:
                raise ValueError(f"Model Monitor runs data quality, model quality and bias here, got {monitor.kind}")
        self.definition.cfn_options.condition = release.exists
        # The names that CloudFormation makes of it begin with the application's, as the release role wants it.
        self.definition.override_logical_id(f"{app}{monitor.id}".lower())
        self.definition.node.add_dependency(role)
        self.schedule = sagemaker.CfnMonitoringSchedule(
            self,
            "Schedule",
            monitoring_schedule_name=schedule_name,
            monitoring_schedule_config=sagemaker.CfnMonitoringSchedule.MonitoringScheduleConfigProperty(
                monitoring_job_definition_name=self.definition.get_att("JobDefinitionName").to_string(),
                monitoring_type=_TYPES[monitor.kind],
                schedule_config=sagemaker.CfnMonitoringSchedule.ScheduleConfigProperty(
                    schedule_expression=cron(monitoring.schedule_hours)
                ),
            ),
        )
        self.schedule.cfn_options.condition = release.exists


_TYPES = {"data_quality": "DataQuality", "model_quality": "ModelQuality", "bias": "ModelBias"}


def _endpoint_input(monitor: Monitor, endpoint_name: str, monitoring: Monitoring) -> dict[str, Any]:
    found: dict[str, Any] = {"endpointName": endpoint_name, "localPath": _INPUT}
    names = {
        "inference_attribute": "inferenceAttribute",
        "probability_attribute": "probabilityAttribute",
        "probability_threshold_attribute": "probabilityThresholdAttribute",
    }
    for name, property_name in names.items():
        if name in monitor.environment:
            value = monitor.environment[name]
            found[property_name] = float(value) if name == "probability_threshold_attribute" else value
    if monitor.label_delay_hours is not None:
        found["startTimeOffset"] = f"-PT{monitoring.window_hours + monitor.label_delay_hours}H"
        found["endTimeOffset"] = f"-PT{monitor.label_delay_hours}H"
    return found


class BuiltinMonitor(Construct):
    """A kind of monitor on our analyzer: the same schedule, which starts the platform's function.

    The function reads the release record at each run, so a release changes nothing here.

    Args:
        job: A `CreateProcessingJob` request for the kind that needs the model, else None.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        monitor: Monitor,
        model: str,
        endpoint_name: str,
        schedule_name: str,
        monitoring: Monitoring,
        job: Mapping[str, object] | None,
        function: lambda_.IFunction,
        role: iam.IRole,
        key: kms.IKey,
    ) -> None:
        super().__init__(scope, construct_id)
        said: dict[str, object] = {
            "model": model,
            "kind": monitor.kind,
            "schedule": schedule_name,
            "endpoint": endpoint_name,
            "schedule_hours": monitor.schedule_hours,
            "window_hours": monitoring.window_hours,
            "label_delay_hours": monitor.label_delay_hours or 0,
            "environment": {"monitor_mode": monitoring.mode, **monitor.environment},
        }
        if monitor.analysis is not None:
            said["analysis"] = monitor.analysis
        if job is not None:
            said["job"] = job
        self.schedule = scheduler.CfnSchedule(
            self,
            "Schedule",
            description=f"{monitor.kind} of {model}, by the built-in analyzer",
            schedule_expression=cron(monitor.schedule_hours),
            flexible_time_window=scheduler.CfnSchedule.FlexibleTimeWindowProperty(mode="OFF"),
            kms_key_arn=key.key_arn,
            target=scheduler.CfnSchedule.TargetProperty(
                arn=function.function_arn,
                role_arn=role.role_arn,
                input=cdk.Stack.of(self).to_json_string({"monitor": said}),
                retry_policy=scheduler.CfnSchedule.RetryPolicyProperty(
                    # A window is found by the time; what is tried later would judge the next one.
                    maximum_event_age_in_seconds=min(monitor.schedule_hours * _HOUR, 86_400) // 2,
                    maximum_retry_attempts=20,
                ),
            ),
        )
        self.schedule.node.add_dependency(role)


class MonitorAlarms(Construct):
    """Drift in two of the last three runs, and runs that did not come."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        monitor: Monitor,
        endpoint_name: str,
        schedule_name: str,
        reports: str,
        alerts: sns.ITopic,
    ) -> None:
        super().__init__(scope, construct_id)
        dimensions = [_dimension("Endpoint", endpoint_name), _dimension("MonitoringSchedule", schedule_name)]
        period = monitor.schedule_hours * _HOUR
        self.drift = drift_alarm(
            self,
            "Drift",
            name=f"{schedule_name}-drift",
            monitor=monitor,
            dimensions=dimensions,
            period=period,
            reports=reports,
            alerts=alerts,
        )
        runs = _metric("runs", monitor.namespace, "runs", dimensions, "SampleCount", period)
        requests = _metric(
            "requests",
            "AWS/SageMaker",
            "Invocations",
            [_dimension("EndpointName", endpoint_name), _dimension("VariantName", "AllTraffic")],
            "Sum",
            period,
        )
        self.heartbeat = cloudwatch.CfnAlarm(
            self,
            "Heartbeat",
            alarm_name=f"{schedule_name}-heartbeat",
            alarm_description=f"There were requests, and {monitor.kind} was not judged: look at the monitor's last run",
            metrics=[
                runs,
                requests,
                cloudwatch.CfnAlarm.MetricDataQueryProperty(
                    id="alive",
                    # Without requests there is nothing to judge, so before the first release this is silent.
                    expression="IF(FILL(requests, 0) > 0, FILL(runs, 0), 1)",
                    label="Runs, where there were requests",
                    return_data=True,
                ),
            ],
            comparison_operator="LessThanThreshold",
            threshold=1,
            # The run that judges a period comes after its end.
            evaluation_periods=min(2, _LONGEST_ALARM // period),
            datapoints_to_alarm=min(2, _LONGEST_ALARM // period),
            treat_missing_data="ignore",
            alarm_actions=[alerts.topic_arn],
        )


def drift_alarm(
    scope: Construct,
    construct_id: str,
    *,
    name: str,
    monitor: Monitor,
    dimensions: list[cloudwatch.CfnAlarm.DimensionProperty],
    period: int,
    reports: str,
    alerts: sns.ITopic,
) -> cloudwatch.CfnAlarm:
    """An alarm on two of three windows that drifted; a window without a verdict is no evidence either way."""
    return cloudwatch.CfnAlarm(
        scope,
        construct_id,
        alarm_name=name,
        alarm_description=f"{monitor.kind} drifted in {_DRIFTED} of {_OF} windows; reports: {reports}",
        namespace=monitor.namespace,
        metric_name=monitor.metric,
        dimensions=dimensions,
        statistic="Maximum",
        period=period,
        evaluation_periods=min(_OF, _LONGEST_ALARM // period),
        datapoints_to_alarm=min(_DRIFTED, _LONGEST_ALARM // period),
        threshold=0,
        comparison_operator="GreaterThanThreshold",
        treat_missing_data="ignore",
        alarm_actions=[alerts.topic_arn],
    )


def _dimension(name: str, value: str) -> cloudwatch.CfnAlarm.DimensionProperty:
    return cloudwatch.CfnAlarm.DimensionProperty(name=name, value=value)


def captured_dimensions(endpoint_name: str) -> list[cloudwatch.CfnAlarm.DimensionProperty]:
    """Of the metrics on captured data as it lands."""
    return [_dimension("Endpoint", endpoint_name)]


def _metric(
    metric_id: str,
    namespace: str,
    name: str,
    dimensions: list[cloudwatch.CfnAlarm.DimensionProperty],
    statistic: str,
    period: int,
) -> cloudwatch.CfnAlarm.MetricDataQueryProperty:
    return cloudwatch.CfnAlarm.MetricDataQueryProperty(
        id=metric_id,
        metric_stat=cloudwatch.CfnAlarm.MetricStatProperty(
            metric=cloudwatch.CfnAlarm.MetricProperty(namespace=namespace, metric_name=name, dimensions=dimensions),
            stat=statistic,
            period=period,
        ),
        return_data=False,
    )
