"""The functions that run the analyzer: on captured data as it arrives, and on schedules."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from constructs.mlops.foundation.alerts import AlertTopic, DeadLetterQueue
from constructs.mlops.foundation.handler import Handler, StageResources, TriggerRule
from constructs.mlops.foundation.permissions import arn

_TIMEOUT = cdk.Duration.minutes(10)
_ATTEMPTS = 5
# One day, for models without scheduled monitors: a shorter window of a quiet endpoint has too few rows.
_WINDOW_SECONDS = 86_400
_ALL_MODELS = "One function serves all models of the stage, and each model has folders of its own."


class CaptureFunction(Construct):
    """The function that judges captured data as it arrives, for all models: S3 → EventBridge → queue → function.

    The queue batches the many small files of an endpoint. A file that fails five times goes to a dead-letter queue.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        resources: StageResources,
        layer: lambda_.ILayerVersion,
    ) -> None:
        super().__init__(scope, construct_id)
        app, stage = resources.app, resources.stage
        self.handler = Handler(
            self,
            "Handler",
            package="monitor",
            description=f"Judges the data that {app}'s endpoints capture in {stage}, as it arrives",
            timeout=_TIMEOUT,
            memory_mb=1024,
            environment={
                "APP": app,
                "STAGE": stage,
                "ARTIFACT_BUCKET": resources.artifacts.name,
                "LEDGER_TABLE": resources.ledger.name,
                "WINDOW_SECONDS": str(_WINDOW_SECONDS),
            },
            resources=resources,
            layers=[layer],
        )
        self.dead_letters = DeadLetterQueue(
            self,
            "Unread",
            holds="Captured files that could not be read",
            key=resources.key,
            alerts=resources.alerts,
            of_queue=True,
        )
        self.queue = sqs.Queue(
            self,
            "Queue",
            encryption=sqs.QueueEncryption.KMS,
            encryption_master_key=resources.key.key,
            enforce_ssl=True,
            # Six times the function's timeout, as Lambda recommends.
            visibility_timeout=cdk.Duration.minutes(60),
            retention_period=cdk.Duration.days(14),
            dead_letter_queue=sqs.DeadLetterQueue(queue=self.dead_letters.queue, max_receive_count=_ATTEMPTS),
        )
        events.Rule(
            self,
            "Captured",
            description="An endpoint captured requests",
            event_pattern=events.EventPattern(
                source=["aws.s3"],
                detail_type=["Object Created"],
                detail={
                    "bucket": {"name": [resources.data.name]},
                    "object": {"key": [{"wildcard": f"*/capture/{app}-*-{stage}/*"}]},
                },
            ),
            targets=[
                targets.SqsQueue(
                    self.queue,
                    dead_letter_queue=resources.undelivered.queue,
                    max_event_age=cdk.Duration.hours(24),
                    retry_attempts=185,
                )
            ],
        )
        lambda_.CfnEventSourceMapping(
            self,
            "Source",
            function_name=self.handler.function.function_arn,
            event_source_arn=self.queue.queue_arn,
            batch_size=100,
            maximum_batching_window_in_seconds=30,
            function_response_types=["ReportBatchItemFailures"],
            # Each invocation merges all parts of a window, so many at once would read the same objects again.
            scaling_config=lambda_.CfnEventSourceMapping.ScalingConfigProperty(maximum_concurrency=5),
        ).node.add_dependency(self.handler.role)
        self._add_backlog_alarm(resources.alerts)
        self.handler.allow(
            ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility"],
            on=[self.queue.queue_arn],
        )
        _grant_judging(self.handler, resources)

    def _add_backlog_alarm(self, alerts: AlertTopic) -> None:
        cloudwatch.CfnAlarm(
            self,
            "Backlog",
            alarm_description="Captured data has waited over an hour to be judged. Read the capture function's log.",
            namespace="AWS/SQS",
            metric_name="ApproximateAgeOfOldestMessage",
            dimensions=[cloudwatch.CfnAlarm.DimensionProperty(name="QueueName", value=self.queue.queue_name)],
            statistic="Maximum",
            period=300,
            evaluation_periods=3,
            threshold=3600,
            comparison_operator="GreaterThanThreshold",
            treat_missing_data="notBreaching",
            alarm_actions=[alerts.arn],
        )


class ScheduledFunction(Construct):
    """The function that runs the built-in engine's monitors and records the findings of all monitoring jobs."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        resources: StageResources,
        layer: lambda_.ILayerVersion,
    ) -> None:
        super().__init__(scope, construct_id)
        app, stage = resources.app, resources.stage
        self.handler = Handler(
            self,
            "Handler",
            package="monitor",
            module="scheduled",
            description=f"Runs the scheduled monitors of {app} in {stage} and records their findings",
            timeout=cdk.Duration.minutes(15),
            memory_mb=2048,
            ephemeral_storage_gb=10,
            environment={
                "APP": app,
                "STAGE": stage,
                "DATA_BUCKET": resources.data.name,
                "ARTIFACT_BUCKET": resources.artifacts.name,
                "LEDGER_TABLE": resources.ledger.name,
            },
            resources=resources,
            layers=[layer],
        )
        _grant_judging(self.handler, resources)
        resources.data.grant_read(self.handler, "*/ground-truth/*", because=_ALL_MODELS)
        self.handler.allow(
            ["sagemaker:CreateProcessingJob", "sagemaker:AddTags"],
            on=[arn(self, "sagemaker", f"processing-job/{app}-*")],
            because="Explanations need the model, so they run as jobs that are named after the model and the window.",
        )
        self.handler.allow(
            ["iam:PassRole"],
            # A generated role name begins with 24 characters of the stack's name.
            on=[arn(self, "iam", f"role/{app}-monitor*", region=False)],
            conditions={"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
            because="Each model's monitoring stack has a role of its own, whose name CloudFormation generates.",
        )
        self.handler.allow(
            ["sagemaker:DescribeProcessingJob"],
            on=[arn(self, "sagemaker", f"processing-job/{name}-*") for name in (app, "model-monitoring")],
            because="The event of a finished job names it; Model Monitor generates the names of its jobs.",
        )
        monitored = resources.artifacts.uri("monitoring")
        TriggerRule(
            self,
            "JobEnded",
            handler=self.handler,
            undelivered=resources.undelivered,
            description="A processing job ended, which may be a monitor's",
            pattern=events.EventPattern(
                source=["aws.sagemaker"],
                detail_type=["SageMaker Processing Job State Change"],
                detail={
                    "ProcessingJobStatus": ["Completed"],
                    # AWS's event has the job's output address, and neither its environment nor its exit message.
                    "ProcessingOutputConfig": {
                        "Outputs": {"S3Output": {"S3Uri": [{"wildcard": f"{monitored}/*/scheduled/*"}]}}
                    },
                },
            ),
        )


def _grant_judging(handler: Handler, resources: StageResources) -> None:
    """Allow reading captured data, baselines and settings, and writing findings."""
    app, stage, data, artifacts = resources.app, resources.stage, resources.data, resources.artifacts
    data.grant_read(handler, f"*/capture/{app}-*-{stage}/*", because=_ALL_MODELS)
    artifacts.grant_read(handler, "releases/*/baselines/*", "monitoring/*", because=_ALL_MODELS)
    artifacts.grant_put(handler, "monitoring/*", because=_ALL_MODELS)
    data.grant_list(handler)
    artifacts.grant_list(handler)
    resources.ledger.grant_query_and_put(handler)
    handler.allow(
        ["ssm:GetParameter", "ssm:GetParameters"],
        on=[arn(handler, "ssm", f"parameter/{app}/*/{stage}/{name}") for name in ("release", "monitoring")],
        because="The release records and monitoring settings of all models in this stage.",
    )
