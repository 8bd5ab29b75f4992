"""The function that verifies a stage's releases for the stage after it."""

from __future__ import annotations

import aws_cdk as cdk
from constructs import Construct

from constructs.mlops.foundation.handler import Handler, StageResources
from constructs.mlops.foundation.permissions import allow, arn

_ALL_MODELS = (
    "One function verifies all models of the application in this stage, so that a further model adds none; their names "
    "begin with the application's, and CloudFormation ends those of configurations and models."
)
_ANY_RELEASE = "The release of any model: what it carries to be verified by, and the word that it was."


class Verifier(Construct):
    """The verify function with its permissions; the release controller calls it, and asks again where that was lost.

    It is the only one that calls an endpoint, and what it writes for the next stage is written once.
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
            package="verify",
            description=f"Compares what endpoints of {app} answer in {stage} with what their evaluation said",
            # A hundred requests, of which the slowest may take a minute.
            timeout=cdk.Duration.minutes(5),
            environment={
                "APP": app,
                "STAGE": stage,
                "LEDGER_TABLE": resources.ledger.table_name,
                "ARTIFACT_BUCKET": resources.artifacts.bucket_name,
                "ALERT_TOPIC_ARN": resources.alerts.topic_arn,
            },
            resources=resources,
        )
        role = self.handler.role
        allow(
            role,
            ["ssm:GetParameter"],
            on=[arn(self, "ssm", f"parameter/{app}/*/{stage}/policy")],
            because="The release policies of all models in this stage.",
        )
        allow(
            role,
            ["sagemaker:DescribeEndpoint", "sagemaker:InvokeEndpoint"],
            on=[arn(self, "sagemaker", f"endpoint/{app}-*-{stage}")],
            because=_ALL_MODELS,
        )
        for action, kind in (("DescribeEndpointConfig", "endpoint-config"), ("DescribeModel", "model")):
            allow(role, [f"sagemaker:{action}"], on=[arn(self, "sagemaker", f"{kind}/{app}*")], because=_ALL_MODELS)
        allow(
            role,
            ["s3:GetObject"],
            on=[resources.artifacts.arn_for_objects(f"releases/*/{file}") for file in ("record.json", "payload.csv")],
            because=_ANY_RELEASE,
        )
        allow(
            role,
            ["s3:PutObject"],
            on=[resources.artifacts.arn_for_objects("releases/*/verified.json")],
            because=_ANY_RELEASE,
        )
        allow(role, ["dynamodb:GetItem", "dynamodb:PutItem"], on=[resources.ledger.table_arn])
        allow(role, ["sns:Publish"], on=[resources.alerts.topic_arn])
