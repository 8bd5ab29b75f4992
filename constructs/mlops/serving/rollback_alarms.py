"""The alarms that roll a deployment back."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from configuration import Alarms
from constructs.mlops.foundation.alerts import AlertTopic
from constructs.mlops.serving.release_record import ReleaseRecordParameters

_MICROSECONDS = 1000


class RollbackAlarms(Construct):
    """Alarms on errors and latency of the new fleet only.

    Each alarm has three dimensions: endpoint, variant and configuration. With fewer it would also measure the old
    fleet, and a failing old fleet would abort its own repair. Alarm names contain the release id, because an updated
    alarm keeps its state, and one left in ALARM would abort the next deployment. Missing data is no failure: a canary
    without traffic continues.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        endpoint_name: str,
        variant: str,
        configuration_name: str,
        release: ReleaseRecordParameters,
        thresholds: Alarms,
        alerts: AlertTopic,
    ) -> None:
        super().__init__(scope, construct_id)
        dimensions = [
            cloudwatch.CfnAlarm.DimensionProperty(name=name, value=value)
            for name, value in (
                ("EndpointName", endpoint_name),
                ("VariantName", variant),
                ("EndpointConfigName", configuration_name),
            )
        ]
        errors = cloudwatch.CfnAlarm(
            self,
            "Errors",
            alarm_name=f"{endpoint_name}-{release.id}-5xx",
            alarm_description=f"More than {thresholds.error_percent:g} % of requests to the new fleet fail",
            namespace="AWS/SageMaker",
            metric_name="Invocation5XXErrors",
            # SageMaker sends 1 for a failed request and 0 for any other, so the average is the share of failures.
            statistic="Average",
            threshold=thresholds.error_percent / 100,
            dimensions=dimensions,
            period=thresholds.period_seconds,
            evaluation_periods=thresholds.evaluation_periods,
            comparison_operator="GreaterThanThreshold",
            treat_missing_data="notBreaching",
            alarm_actions=[alerts.arn],
        )
        latency = cloudwatch.CfnAlarm(
            self,
            "Latency",
            alarm_name=f"{endpoint_name}-{release.id}-latency",
            alarm_description=f"The 99th percentile of the new fleet's latency exceeds {thresholds.latency_ms} ms",
            namespace="AWS/SageMaker",
            metric_name="ModelLatency",
            extended_statistic="p99",
            threshold=thresholds.latency_ms * _MICROSECONDS,
            dimensions=dimensions,
            period=thresholds.period_seconds,
            evaluation_periods=thresholds.evaluation_periods,
            comparison_operator="GreaterThanThreshold",
            treat_missing_data="notBreaching",
            alarm_actions=[alerts.arn],
        )
        self.alarms: Sequence[cloudwatch.CfnAlarm] = (errors, latency)
        for alarm in self.alarms:
            alarm.cfn_options.condition = release.exists
