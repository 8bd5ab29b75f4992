"""The dashboard of a stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from constructs import Construct

_HALF_WIDTH = 12
# Metrics of a model's monitors: 1 if a window drifted, and the quality of a window.
_DRIFT_METRICS = ("data_drift", "quality_drift", "bias_drift", "explainability_drift")
_QUALITY_METRICS = ("auc", "accuracy", "rmse", "ndcg", "label_coverage")


class Dashboard(Construct):
    """A dashboard of all endpoints, all monitored models, and the health of the functions.

    The widgets search for endpoints and for the metrics of a model, because the kinds of its monitors and the names of
    their schedules are not known here.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        app: str,
        functions: Sequence[lambda_.IFunction],
        queues: Sequence[sqs.IQueue],
        monitored: Mapping[str, str],
    ) -> None:
        """Define the dashboard.

        Args:
            scope: The parent.
            construct_id: The id within the parent.
            app: The application's name.
            functions: The functions whose errors are shown.
            queues: The dead-letter queues whose length is shown.
            monitored: Endpoint names by the name of the model, of monitored models.
        """
        super().__init__(scope, construct_id)
        endpoints = (
            ("Requests per minute", "Invocations", "Sum"),
            ("Share of failed requests", "Invocation5XXErrors", "Average"),
            ("Latency, 99th percentile, µs", "ModelLatency", "p99"),
            ("Requests per minute and instance", "InvocationsPerInstance", "Sum"),
        )
        self.dashboard = cloudwatch.Dashboard(self, "Dashboard", default_interval=cdk.Duration.hours(12))
        self.dashboard.add_widgets(
            *(
                cloudwatch.GraphWidget(
                    title=title,
                    width=_HALF_WIDTH,
                    left=[
                        cloudwatch.MathExpression(
                            expression=f"SEARCH('{{AWS/SageMaker,EndpointName,VariantName}} "
                            f"MetricName=\"{metric}\" EndpointName={app}', '{statistic}', 60)",
                            using_metrics={},
                            label="",
                            period=cdk.Duration.minutes(1),
                        )
                    ],
                )
                for title, metric, statistic in endpoints
            ),
            cloudwatch.GraphWidget(
                title="Errors of the functions",
                width=_HALF_WIDTH,
                left=[function.metric_errors(period=cdk.Duration.minutes(5)) for function in functions],
            ),
            cloudwatch.GraphWidget(
                title="Messages in dead-letter queues",
                width=_HALF_WIDTH,
                left=[queue.metric_approximate_number_of_messages_visible() for queue in queues],
            ),
        )
        hour = cdk.Duration.hours(1)
        for model, endpoint in monitored.items():
            self.dashboard.add_widgets(
                _metrics_widget(f"{model}: windows that drifted", endpoint, _DRIFT_METRICS, hour),
                _metrics_widget(
                    f"{model}: quality, and share of predictions with a label", endpoint, _QUALITY_METRICS, hour
                ),
            )


def _metrics_widget(title: str, endpoint: str, metrics: Sequence[str], period: cdk.Duration) -> cloudwatch.GraphWidget:
    """Return a widget of the named metrics of an endpoint's monitors, of any namespace and schedule."""
    names = " OR ".join(f'"{name}"' for name in metrics)
    search = f"SEARCH('Endpoint=\"{endpoint}\" MetricName=({names})', 'Maximum', {period.to_seconds():.0f})"
    expression = cloudwatch.MathExpression(expression=search, using_metrics={}, label="", period=period)
    return cloudwatch.GraphWidget(title=title, width=_HALF_WIDTH, left=[expression])
