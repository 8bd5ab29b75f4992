"""The function that verifies a stage's releases for the stage after it."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from constructs.mlops.handler import Handler
from constructs.mlops.permissions import allow, arn

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
        app: str,
        stage: str,
        key: kms.IKey,
        artifacts: s3.IBucket,
        ledger: dynamodb.ITable,
        alerts: sns.ITopic,
        powertools: lambda_.ILayerVersion,
        failures: sqs.IQueue,
        log_retention_days: int,
    ) -> None:
        super().__init__(scope, construct_id)
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
                "LEDGER_TABLE": ledger.table_name,
                "ARTIFACT_BUCKET": artifacts.bucket_name,
                "ALERT_TOPIC_ARN": alerts.topic_arn,
            },
            key=key,
            powertools=powertools,
            failures=failures,
            log_retention_days=log_retention_days,
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
            on=[artifacts.arn_for_objects(f"releases/*/{file}") for file in ("record.json", "payload.csv")],
            because=_ANY_RELEASE,
        )
        allow(
            role,
            ["s3:PutObject"],
            on=[artifacts.arn_for_objects("releases/*/verified.json")],
            because=_ANY_RELEASE,
        )
        allow(role, ["dynamodb:GetItem", "dynamodb:PutItem"], on=[ledger.table_arn])
        allow(role, ["sns:Publish"], on=[alerts.topic_arn])
