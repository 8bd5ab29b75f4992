"""What rolls a deployment back."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_sns as sns
from constructs import Construct

from configuration import Alarms
from constructs.mlops.serving.release import Release

_MICROSECONDS = 1000


class RollbackAlarms(Construct):
    """Errors and latency of the new fleet, and of no other.

    Each alarm has all three dimensions, endpoint, variant and configuration: with fewer it would see the old fleet too,
    and an old fleet that fails would abort its own repair. Their names hold the release id, because an alarm that is
    updated keeps its state, and one left in ALARM would abort the next deployment. No data is no failure: a canary
    without traffic goes on.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        endpoint_name: str,
        variant: str,
        configuration_name: str,
        release: Release,
        thresholds: Alarms,
        alerts: sns.ITopic,
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
            alarm_description=f"More than {thresholds.error_percent:g} % of requests fail on the new fleet",
            namespace="AWS/SageMaker",
            metric_name="Invocation5XXErrors",
            # SageMaker sends a 1 for each failed request and a 0 for each other: the average is the share.
            statistic="Average",
            threshold=thresholds.error_percent / 100,
            dimensions=dimensions,
            period=thresholds.period_seconds,
            evaluation_periods=thresholds.evaluation_periods,
            comparison_operator="GreaterThanThreshold",
            treat_missing_data="notBreaching",
            alarm_actions=[alerts.topic_arn],
        )
        latency = cloudwatch.CfnAlarm(
            self,
            "Latency",
            alarm_name=f"{endpoint_name}-{release.id}-latency",
            alarm_description=f"The 99th percentile of latency is above {thresholds.latency_ms} ms on the new fleet",
            namespace="AWS/SageMaker",
            metric_name="ModelLatency",
            extended_statistic="p99",
            threshold=thresholds.latency_ms * _MICROSECONDS,
            dimensions=dimensions,
            period=thresholds.period_seconds,
            evaluation_periods=thresholds.evaluation_periods,
            comparison_operator="GreaterThanThreshold",
            treat_missing_data="notBreaching",
            alarm_actions=[alerts.topic_arn],
        )
        self.alarms: Sequence[cloudwatch.CfnAlarm] = (errors, latency)
        for alarm in self.alarms:
            alarm.cfn_options.condition = release.exists
