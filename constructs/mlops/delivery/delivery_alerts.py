"""Who is told when a delivery fails."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_sns as sns
from constructs import Construct


class DeliveryAlerts(Construct):
    """Tells which stage of the pipeline failed in which execution, with the address where the cause stands.

    One message for each failure: every failure is some stage's, and the execution's own event would tell it again.
    """

    def __init__(self, scope: Construct, construct_id: str, *, pipeline_name: str, alerts: sns.ITopic) -> None:
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
                    alerts,
                    message=events.RuleTargetInput.from_text(
                        f"{pipeline_name}: stage {stage} failed in execution {execution}; what moved before it stays "
                        "as it is, and nothing after it moves. "
                        f"https://{domain}/codesuite/codepipeline/pipelines/{pipeline_name}/executions/{execution}"
                        f"/timeline?region={region}"
                    ),
                )
            ],
        )
