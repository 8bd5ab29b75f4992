"""Alarms on monitors, the same on either engine."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from constructs.mlops.foundation.alerts import AlertTopic
from constructs.mlops.foundation.buckets import ArtifactBucket
from constructs.mlops.monitoring.engine import MonitoredEndpoint
from constructs.mlops.monitoring.monitors import Monitor

_HOUR_SECONDS = 3600
_DAY_SECONDS = 24 * _HOUR_SECONDS
_DRIFTED_WINDOWS, _WINDOWS = 2, 3
# CloudWatch evaluates at most seven days, so a weekly monitor is judged by one run.
_LONGEST_ALARM_SECONDS = 7 * 24 * _HOUR_SECONDS

_Dimensions = Sequence[cloudwatch.CfnAlarm.DimensionProperty]


class MonitorAlarms(Construct):
    """The alarms on a monitor: drift in two of the last three runs, missing runs despite traffic, and broken data."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        monitor: Monitor,
        endpoint: MonitoredEndpoint,
        artifacts: ArtifactBucket,
        alerts: AlertTopic,
    ) -> None:
        super().__init__(scope, construct_id)
        schedule = endpoint.schedule_name(monitor)
        dimensions = [_dimension("Endpoint", endpoint.name), _dimension("MonitoringSchedule", schedule)]
        period = monitor.schedule_hours * _HOUR_SECONDS
        self.drift = _drift_alarm(
            self,
            "Drift",
            name=f"{schedule}-drift",
            monitor=monitor,
            dimensions=dimensions,
            period=period,
            reports=_reports(artifacts, endpoint),
            alerts=alerts,
        )
        if monitor.kind == "data_quality":
            self.broken = _broken_alarm(
                self,
                name=f"{schedule}-broken",
                namespace=monitor.namespace,
                dimensions=dimensions,
                period=period,
                reports=_reports(artifacts, endpoint),
                alerts=alerts,
            )
        # A week is judged by its days: a run falls into the day after its window, so a week alone would lack its run.
        beat = min(period, _DAY_SECONDS)
        runs = _metric("runs", monitor.namespace, "runs", dimensions, "SampleCount", beat)
        requests = _metric(
            "requests",
            "AWS/SageMaker",
            "Invocations",
            [_dimension("EndpointName", endpoint.name), _dimension("VariantName", "AllTraffic")],
            "Sum",
            beat,
        )
        # The run that judges a period ends after it. Model Monitor has no run for a window without data, so there is
        # none until the labels of the first requests are due.
        delay = -(-(monitor.label_delay_hours or 0) * _HOUR_SECONDS // beat)
        wanted = 2 + delay if beat == period else _LONGEST_ALARM_SECONDS // beat
        periods = min(wanted, _LONGEST_ALARM_SECONDS // beat)
        self.heartbeat = cloudwatch.CfnAlarm(
            self,
            "Heartbeat",
            alarm_name=f"{schedule}-heartbeat",
            alarm_description=f"{monitor.kind} did not run although there were requests. Read the log of its last run.",
            metrics=[
                runs,
                requests,
                cloudwatch.CfnAlarm.MetricDataQueryProperty(
                    id="alive",
                    # Without requests there is nothing to judge, so the alarm stays silent before the first release.
                    expression="IF(FILL(requests, 0) > 0, FILL(runs, 0), 1)",
                    label="Runs, in periods with requests",
                    return_data=True,
                ),
            ],
            comparison_operator="LessThanThreshold",
            threshold=1,
            evaluation_periods=periods,
            datapoints_to_alarm=periods,
            treat_missing_data="ignore",
            alarm_actions=[alerts.arn],
        )


class CapturedDriftAlarm(Construct):
    """An alarm on drift that the capture function finds between scheduled runs."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        endpoint: MonitoredEndpoint,
        artifacts: ArtifactBucket,
        alerts: AlertTopic,
    ) -> None:
        super().__init__(scope, construct_id)
        self.drift = _drift_alarm(
            self,
            "Drift",
            name=f"{endpoint.name}-captured-drift",
            monitor=Monitor("data_quality", "aws/sagemaker/Endpoints/data-metrics", "data_drift"),
            dimensions=[_dimension("Endpoint", endpoint.name)],
            period=endpoint.settings.schedule_hours * _HOUR_SECONDS,
            reports=_reports(artifacts, endpoint),
            alerts=alerts,
        )
        self.broken = _broken_alarm(
            self,
            name=f"{endpoint.name}-captured-broken",
            namespace="aws/sagemaker/Endpoints/data-metrics",
            dimensions=[_dimension("Endpoint", endpoint.name)],
            period=endpoint.settings.schedule_hours * _HOUR_SECONDS,
            reports=_reports(artifacts, endpoint),
            alerts=alerts,
        )


def _broken_alarm(
    scope: Construct,
    *,
    name: str,
    namespace: str,
    dimensions: _Dimensions,
    period: int,
    reports: str,
    alerts: AlertTopic,
) -> cloudwatch.CfnAlarm:
    """Define an alarm on broken features or records in two of three windows."""
    return cloudwatch.CfnAlarm(
        scope,
        "Broken",
        alarm_name=name,
        alarm_description=f"Features are broken in {_DRIFTED_WINDOWS} of {_WINDOWS} windows: retraining does not "
        f"repair them. Reports: {reports}",
        namespace=namespace,
        metric_name="broken_features",
        dimensions=dimensions,
        statistic="Maximum",
        period=period,
        evaluation_periods=min(_WINDOWS, _LONGEST_ALARM_SECONDS // period),
        datapoints_to_alarm=min(_DRIFTED_WINDOWS, _LONGEST_ALARM_SECONDS // period),
        threshold=0,
        comparison_operator="GreaterThanThreshold",
        treat_missing_data="ignore",
        alarm_actions=[alerts.arn],
    )


def _drift_alarm(
    scope: Construct,
    construct_id: str,
    *,
    name: str,
    monitor: Monitor,
    dimensions: _Dimensions,
    period: int,
    reports: str,
    alerts: AlertTopic,
) -> cloudwatch.CfnAlarm:
    """Define an alarm on drift in two of three windows; a window without a verdict does not count."""
    return cloudwatch.CfnAlarm(
        scope,
        construct_id,
        alarm_name=name,
        alarm_description=f"{monitor.kind} drifted in {_DRIFTED_WINDOWS} of {_WINDOWS} windows. Reports: {reports}",
        namespace=monitor.namespace,
        metric_name=monitor.metric,
        dimensions=dimensions,
        statistic="Maximum",
        period=period,
        evaluation_periods=min(_WINDOWS, _LONGEST_ALARM_SECONDS // period),
        datapoints_to_alarm=min(_DRIFTED_WINDOWS, _LONGEST_ALARM_SECONDS // period),
        threshold=0,
        comparison_operator="GreaterThanThreshold",
        treat_missing_data="ignore",
        alarm_actions=[alerts.arn],
    )


def _reports(artifacts: ArtifactBucket, endpoint: MonitoredEndpoint) -> str:
    return artifacts.uri(f"monitoring/{endpoint.model}/")


def _dimension(name: str, value: str) -> cloudwatch.CfnAlarm.DimensionProperty:
    return cloudwatch.CfnAlarm.DimensionProperty(name=name, value=value)


def _metric(
    metric_id: str, namespace: str, name: str, dimensions: _Dimensions, statistic: str, period: int
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
