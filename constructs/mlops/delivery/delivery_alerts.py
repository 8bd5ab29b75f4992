"""The alert on a failed delivery."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from constructs import Construct

from constructs.mlops.foundation.alerts import AlertTopic, DeadLetterQueue


class DeliveryAlerts(Construct):
    """A rule that publishes which stage of the pipeline failed in which execution, with a link to the cause.

    It matches the events of stages only, because the execution's own event would repeat the same failure.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        pipeline_name: str,
        alerts: AlertTopic,
        undelivered: DeadLetterQueue,
    ) -> None:
        super().__init__(scope, construct_id)
        stage = events.EventField.from_path("$.detail.stage")
        execution = events.EventField.from_path("$.detail.execution-id")
        region = events.EventField.from_path("$.region")
        domain = (
            "console.amazonaws.cn" if str(cdk.Stack.of(self).region).startswith("cn-") else "console.aws.amazon.com"
        )
        self.rule = events.Rule(
            self,
            "Rule",
            description=f"A stage of {pipeline_name} failed",
            event_pattern=events.EventPattern(
                source=["aws.codepipeline"],
                detail_type=["CodePipeline Stage Execution State Change"],
                detail={"pipeline": [pipeline_name], "state": ["FAILED"]},
            ),
            targets=[
                targets.SnsTopic(
                    alerts.topic,
                    message=events.RuleTargetInput.from_text(
                        f"{pipeline_name}: stage {stage} failed in execution {execution}. Changes that it "
                        "deployed before the failure stay in place; later stages are not deployed. Cause: "
                        f"https://{domain}/codesuite/codepipeline/pipelines/{pipeline_name}/executions/{execution}"
                        f"/timeline?region={region}"
                    ),
                    dead_letter_queue=undelivered.queue,
                    max_event_age=cdk.Duration.hours(1),
                    retry_attempts=20,
                )
            ],
        )
