"""One dashboard for all models of a stage."""

from __future__ import annotations

from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from constructs import Construct

_HALF = 12


class Dashboard(Construct):
    """Traffic, errors and latency of every endpoint, and whether the controllers work.

    Endpoints are found by search, so that a further model changes nothing here.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        app: str,
        functions: Sequence[lambda_.IFunction],
        queues: Sequence[sqs.IQueue],
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
