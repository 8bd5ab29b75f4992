"""The function that decides on retraining, and what wakes it."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_events as events
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from constructs.mlops.foundation.handler import Handler, StageResources, Trigger
from constructs.mlops.foundation.permissions import allow, arn

_ALL_MODELS = "One controller serves all models of the application, whose names begin with the application's."


class RetrainController(Construct):
    """The retrain function with its permissions, its rules and its tick.

    Events are hints, as they are for the release controller. New raw data wake nobody: the decision waits until none
    has landed for a while, so only the tick can find it, by listing.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        resources: StageResources,
    ) -> None:
        super().__init__(scope, construct_id)
        app, stage = resources.app, resources.stage
        self.handler = Handler(
            self,
            "Handler",
            package="retrain",
            description=f"Starts a training of {app}'s models where the evidence in {stage} asks for one",
            timeout=cdk.Duration.minutes(5),
            environment={
                "APP": app,
                "STAGE": stage,
                "LEDGER_TABLE": resources.ledger.table_name,
                "DATA_BUCKET": resources.data.bucket_name,
                "ALERT_TOPIC_ARN": resources.alerts.topic_arn,
            },
            resources=resources,
        )
        self._may_look(app, stage, resources.data)
        self._may_start(app)
        role = self.handler.role
        allow(role, ["dynamodb:Query", "dynamodb:PutItem"], on=[resources.ledger.table_arn])
        allow(role, ["sns:Publish"], on=[resources.alerts.topic_arn])
        self._wake_on_events(app, stage, resources.undelivered)

    def _may_look(self, app: str, stage: str, data: s3.IBucket) -> None:
        role = self.handler.role
        allow(role, ["ssm:GetParametersByPath"], on=[arn(self, "ssm", f"parameter/{app}")])
        allow(
            role,
            ["ssm:GetParameter"],
            on=[
                arn(self, "ssm", f"parameter/{app}/*/{stage}/release"),
                arn(self, "ssm", f"parameter/{app}/*/retraining"),
            ],
            because="Release record and retraining policy of each model.",
        )
        allow(
            role,
            ["sagemaker:ListModelPackages"],
            on=["*"],
            because="SageMaker authorises its List calls on all resources only; what it lists is names and states.",
        )
        allow(
            role,
            ["sagemaker:DescribeModelPackage"],
            on=[arn(self, "sagemaker", f"model-package/{app}-*")],
            because=_ALL_MODELS,
        )
        allow(
            role,
            ["s3:ListBucket"],
            on=[data.bucket_arn],
            conditions={"StringLike": {"s3:prefix": ["*/raw/*"]}},
        )

    def _may_start(self, app: str) -> None:
        allow(
            self.handler.role,
            [
                "sagemaker:StartPipelineExecution",
                "sagemaker:ListPipelineExecutions",
                "sagemaker:ListPipelineExecutionSteps",
            ],
            on=[arn(self, "sagemaker", f"pipeline/{app}-*")],
            because=_ALL_MODELS,
        )

    def _wake_on_events(self, app: str, stage: str, undelivered: sqs.IQueue) -> None:
        pipelines = arn(self, "sagemaker", f"pipeline/{app}-")
        patterns = {
            "Alarm": (
                "A drift alarm went off",
                events.EventPattern(
                    source=["aws.cloudwatch"],
                    detail_type=["CloudWatch Alarm State Change"],
                    detail={"alarmName": [{"wildcard": f"{app}-*-{stage}-*-drift"}], "state": {"value": ["ALARM"]}},
                ),
            ),
            "Run": (
                "A training has ended",
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
                "Someone approved or rejected a version, which ends a cooldown",
                events.EventPattern(
                    source=["aws.sagemaker"],
                    detail_type=["SageMaker Model Package State Change"],
                    detail={
                        "ModelPackageGroupName": [{"prefix": f"{app}-"}],
                        "ModelApprovalStatus": ["Approved", "Rejected"],
                    },
                ),
            ),
        }
        for construct_id, (description, pattern) in patterns.items():
            Trigger(
                self,
                construct_id,
                handler=self.handler,
                undelivered=undelivered,
                description=description,
                pattern=pattern,
            )
        Trigger(
            self,
            "Tick",
            handler=self.handler,
            undelivered=undelivered,
            description="What no event told is found a quarter of an hour later",
            schedule=events.Schedule.rate(cdk.Duration.minutes(15)),
            message={"source": "evergreen.tick"},
        )
