"""The function that verifies a stage's releases for the next stage."""

from __future__ import annotations

import aws_cdk as cdk
from constructs import Construct

from constructs.mlops.foundation.buckets import VERIFICATIONS
from constructs.mlops.foundation.handler import Handler, StageResources
from constructs.mlops.foundation.permissions import arn

_ALL_MODELS = (
    "One function verifies all models of the application in this stage; their names begin with the application's, and "
    "CloudFormation generates the end of those of configurations and models."
)
_ANY_RELEASE = "The release of any model: the sample that it is verified with, and the verification."


class VerifyFunction(Construct):
    """The verify function with its permissions; the release controller invokes it, again if an invocation was lost.

    No other function invokes an endpoint. It writes the verification of a release once, for the next stage.
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
            description=f"Compares the responses of {app}'s endpoints in {stage} with those of the evaluation",
            # A hundred requests, each of which may take up to a minute.
            timeout=cdk.Duration.minutes(5),
            environment={
                "APP": app,
                "STAGE": stage,
                "LEDGER_TABLE": resources.ledger.name,
                "ARTIFACT_BUCKET": resources.artifacts.name,
                "ALERT_TOPIC_ARN": resources.alerts.arn,
            },
            resources=resources,
        )
        self.handler.allow(
            ["ssm:GetParameter"],
            on=[arn(self, "ssm", f"parameter/{app}/*/{stage}/policy")],
            because="The release policies of all models in this stage.",
        )
        self.handler.allow(
            ["sagemaker:DescribeEndpoint", "sagemaker:InvokeEndpoint"],
            on=[arn(self, "sagemaker", f"endpoint/{app}-*-{stage}")],
            because=_ALL_MODELS,
        )
        for action, kind in (("DescribeEndpointConfig", "endpoint-config"), ("DescribeModel", "model")):
            self.handler.allow(
                [f"sagemaker:{action}"], on=[arn(self, "sagemaker", f"{kind}/{app}*")], because=_ALL_MODELS
            )
        artifacts = resources.artifacts
        artifacts.grant_read(self.handler, "releases/*/record.json", "releases/*/payload.csv", because=_ANY_RELEASE)
        artifacts.grant_put(self.handler, *VERIFICATIONS, because=_ANY_RELEASE)
        resources.ledger.grant_get_and_put(self.handler)
        resources.alerts.grant_publish(self.handler)
