"""One dashboard for all models of a stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from constructs import Construct

_HALF = 12


# What the monitors of a model emit: 1 where a window drifted, and how good it was.
_DRIFTED = ("data_drift", "quality_drift", "bias_drift", "explainability_drift")
_QUALITY = ("auc", "accuracy", "rmse", "ndcg", "label_coverage")


class Dashboard(Construct):
    """Traffic, errors and latency of every endpoint, a row for each watched model, and whether the controllers work.

    Endpoints, and the metrics of a model's row, are found by search: which kinds and schedules there are is not known
    here.

    Args:
        watched: Endpoints by the name of their model.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        app: str,
        functions: Sequence[lambda_.IFunction],
        queues: Sequence[sqs.IQueue],
        watched: Mapping[str, str],
    ) -> None:
        super().__init__(scope, construct_id)
        endpoints = (
            ("Requests a minute", "Invocations", "Sum"),
            ("Share of requests that failed", "Invocation5XXErrors", "Average"),
            ("Latency, 99th percentile, µs", "ModelLatency", "p99"),
            ("Requests a minute and instance", "InvocationsPerInstance", "Sum"),
        )
        self.dashboard = cloudwatch.Dashboard(self, "Dashboard", default_interval=cdk.Duration.hours(12))
        self.dashboard.add_widgets(
            *(
                cloudwatch.GraphWidget(
                    title=title,
                    width=_HALF,
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
                title="Controllers that failed",
                width=_HALF,
                left=[function.metric_errors(period=cdk.Duration.minutes(5)) for function in functions],
            ),
            cloudwatch.GraphWidget(
                title="Waiting in dead-letter queues",
                width=_HALF,
                left=[queue.metric_approximate_number_of_messages_visible() for queue in queues],
            ),
        )
        hour = cdk.Duration.hours(1)
        for model, endpoint in watched.items():
            self.dashboard.add_widgets(
                _found(f"{model}: windows that drifted", endpoint, _DRIFTED, hour),
                _found(f"{model}: quality, and share of answers that have a label", endpoint, _QUALITY, hour),
            )


def _found(title: str, endpoint: str, metrics: Sequence[str], period: cdk.Duration) -> cloudwatch.GraphWidget:
    """The metrics of these names that monitors of the endpoint emit, whatever their namespace and schedule."""
    names = " OR ".join(f'"{name}"' for name in metrics)
    search = f"SEARCH('Endpoint=\"{endpoint}\" MetricName=({names})', 'Maximum', {period.to_seconds():.0f})"
    expression = cloudwatch.MathExpression(expression=search, using_metrics={}, label="", period=period)
    return cloudwatch.GraphWidget(title=title, width=_HALF, left=[expression])
