"""The function that tidies up after models: registry, and what releases left behind."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_events as events
from constructs import Construct

from constructs.mlops.foundation.handler import Handler, StageResources, Trigger
from constructs.mlops.foundation.permissions import allow, arn

_ALL_MODELS = "One function serves all models of the application, whose names begin with the application's."
_LISTS = "SageMaker authorises its List calls on all resources only; what they list is read one by one."


class Archive(Construct):
    """The archive function, once a day. It cannot approve, and it deletes no object."""

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
            package="archive",
            description=f"Exports and archives versions of {app}'s models that nobody needs any more",
            timeout=cdk.Duration.minutes(15),
            environment={
                "APP": app,
                "STAGE": stage,
                "LEDGER_TABLE": resources.ledger.table_name,
                "ARTIFACT_BUCKET": resources.artifacts.bucket_name,
                "ARCHIVE_RULES": "{}",
            },
            resources=resources,
        )
        self._may_tidy_the_registry(app)
        self._may_tidy_the_hosting(app)
        role = self.handler.role
        folders = ("packages", "runs")
        allow(
            role,
            ["s3:GetObject"],
            on=[resources.artifacts.arn_for_objects(f"{folder}/*") for folder in folders],
            because="Records and metrics of any model's versions are exported.",
        )
        allow(role, ["s3:ListBucket"], on=[resources.artifacts.bucket_arn])
        allow(
            role,
            ["s3:PutObject"],
            on=[resources.artifacts.arn_for_objects("archive/*")],
            because="Exports of any model's versions are written here, each once; nothing else is.",
        )
        allow(role, ["dynamodb:GetItem", "dynamodb:Query"], on=[resources.ledger.table_arn])
        allow(
            role,
            ["ssm:GetParametersByPath"],
            on=[arn(self, "ssm", f"parameter/{app}"), arn(self, "ssm", f"parameter/{app}/*")],
            because="The models, and the release records of each in all stages of the account, are found by listing.",
        )
        allow(
            role,
            ["ssm:GetParameter"],
            on=[arn(self, "ssm", f"parameter/{app}/*/{stage}/release")],
            because="The release records of all models in this stage: what is live is not touched.",
        )
        Trigger(
            self,
            "Daily",
            handler=self.handler,
            undelivered=resources.undelivered,
            description="Once a day",
            schedule=events.Schedule.rate(cdk.Duration.days(1)),
            message={"source": "evergreen.tick"},
        )

    def _may_tidy_the_registry(self, app: str) -> None:
        role, versions = self.handler.role, [arn(self, "sagemaker", f"model-package/{app}-*")]
        allow(role, ["sagemaker:ListModelPackages"], on=["*"], because=_LISTS)
        allow(role, ["sagemaker:DescribeModelPackage"], on=versions, because=_ALL_MODELS)
        allow(
            role,
            ["sagemaker:UpdateModelPackage"],
            on=versions,
            # Only to the stage Archived, and never with an approval in the same call.
            conditions={
                "StringEquals": {"sagemaker:ModelLifeCycle:stage": "Archived"},
                "Null": {"sagemaker:ModelApprovalStatus": "true"},
            },
            because=_ALL_MODELS,
        )

    def _may_tidy_the_hosting(self, app: str) -> None:
        role = self.handler.role
        allow(
            role,
            ["sagemaker:ListEndpoints", "sagemaker:ListEndpointConfigs", "sagemaker:ListModels"],
            on=["*"],
            because=_LISTS,
        )
        allow(
            role,
            ["sagemaker:DescribeEndpoint"],
            on=[arn(self, "sagemaker", "endpoint/*")],
            because="Anybody's endpoint may be on one of our configurations, and is then left alone.",
        )
        for kind, what in (("endpoint-config", "EndpointConfig"), ("model", "Model")):
            allow(
                role,
                [f"sagemaker:Describe{what}", f"sagemaker:Delete{what}"],
                on=[arn(self, "sagemaker", f"{kind}/{app}*")],
                because="CloudFormation ends their names; what is live or the rollback target is never deleted.",
            )
        allow(
            role,
            ["cloudformation:DescribeStacks"],
            on=[arn(self, "cloudformation", f"stack/{app}-serving-*")],
            because=_ALL_MODELS,
        )
