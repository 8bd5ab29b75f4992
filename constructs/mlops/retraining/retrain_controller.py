"""The function that decides on retraining, and what invokes it."""

from __future__ import annotations

from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_events as events
from constructs import Construct

from constructs.mlops.foundation.alerts import DeadLetterQueue
from constructs.mlops.foundation.buckets import Bucket
from constructs.mlops.foundation.event_patterns import approvals
from constructs.mlops.foundation.handler import Handler, ReconcileSchedule, StageResources, TriggerRule
from constructs.mlops.foundation.model_queue import ModelQueue
from constructs.mlops.foundation.permissions import arn

_ALL_MODELS = "One controller retrains all models of the application, whose names begin with the application's."

_TIMEOUT = cdk.Duration.minutes(5)


class RetrainController(Construct):
    """The retrain function with its permissions, its rules and its schedule.

    Events are hints, as for the release controller. No rule matches new raw data: the function waits until no object
    has arrived for a while, so only the schedule's invocation can find that, by listing.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        resources: StageResources,
        raw_prefixes: Sequence[str],
    ) -> None:
        super().__init__(scope, construct_id)
        app, stage = resources.app, resources.stage
        self.handler = Handler(
            self,
            "Handler",
            package="retrain",
            description=f"Starts trainings of {app}'s models when the evidence in {stage} justifies one",
            timeout=_TIMEOUT,
            environment={
                "APP": app,
                "STAGE": stage,
                "LEDGER_TABLE": resources.ledger.name,
                "DATA_BUCKET": resources.data.name,
                "ALERT_TOPIC_ARN": resources.alerts.arn,
            },
            resources=resources,
        )
        self._grant_reads(app, stage, resources.data, raw_prefixes)
        self._grant_starts(app)
        resources.ledger.grant_query_and_put(self.handler)
        resources.alerts.grant_publish(self.handler)
        self.queue = ModelQueue(
            self,
            "Models",
            handler=self.handler,
            timeout=_TIMEOUT,
            resources=resources,
            task="retrain",
        )
        self._add_triggers(app, stage, resources.undelivered)

    def _grant_reads(self, app: str, stage: str, data: Bucket, raw_prefixes: Sequence[str]) -> None:
        self.handler.allow(["ssm:GetParametersByPath"], on=[arn(self, "ssm", f"parameter/{app}")])
        self.handler.allow(
            ["ssm:GetParameter"],
            on=[
                arn(self, "ssm", f"parameter/{app}/*/{stage}/release"),
                arn(self, "ssm", f"parameter/{app}/*/retraining"),
            ],
            because="The release record and the retraining policy of each model.",
        )
        self.handler.allow(
            ["sagemaker:ListModelPackages"],
            on=["*"],
            because="SageMaker authorises its List calls on all resources only; they list names and states.",
        )
        self.handler.allow(
            ["sagemaker:DescribeModelPackage"],
            on=[arn(self, "sagemaker", f"model-package/{app}-*")],
            because=_ALL_MODELS,
        )
        self.handler.allow(
            ["s3:ListBucket"],
            on=[data.arn],
            conditions={"StringLike": {"s3:prefix": [f"*/{prefix}*" for prefix in raw_prefixes]}},
        )

    def _grant_starts(self, app: str) -> None:
        self.handler.allow(
            [
                "sagemaker:StartPipelineExecution",
                "sagemaker:ListPipelineExecutions",
                "sagemaker:ListPipelineExecutionSteps",
            ],
            on=[arn(self, "sagemaker", f"pipeline/{app}-*")],
            because=_ALL_MODELS,
        )

        self.handler.allow(
            ["sagemaker:DescribeProcessingJob"],
            on=[arn(self, "sagemaker", "processing-job/pipelines-*")],
            because="SageMaker names a pipeline's jobs; the function reads why one failed.",
        )

    def _add_triggers(self, app: str, stage: str, undelivered: DeadLetterQueue) -> None:
        pipelines = arn(self, "sagemaker", f"pipeline/{app}-")
        patterns = {
            "Alarm": (
                "A drift alarm is in ALARM",
                events.EventPattern(
                    source=["aws.cloudwatch"],
                    detail_type=["CloudWatch Alarm State Change"],
                    detail={"alarmName": [{"wildcard": f"{app}-*-{stage}-*-drift"}], "state": {"value": ["ALARM"]}},
                ),
            ),
            "Run": (
                "A training ended",
                events.EventPattern(
                    source=["aws.sagemaker"],
                    detail_type=["SageMaker Model Building Pipeline Execution Status Change"],
                    detail={
                        "pipelineArn": [{"prefix": pipelines}],
                        "currentPipelineExecutionStatus": ["Succeeded", "Failed", "Stopped"],
                    },
                ),
            ),
            "Registry": (
                "A model version was approved or rejected, which ends a cooldown",
                approvals(app),
            ),
        }
        for construct_id, (description, pattern) in patterns.items():
            TriggerRule(
                self,
                construct_id,
                handler=self.handler,
                undelivered=undelivered,
                description=description,
                pattern=pattern,
            )
        ReconcileSchedule(self, "Tick", handler=self.handler, undelivered=undelivered)
