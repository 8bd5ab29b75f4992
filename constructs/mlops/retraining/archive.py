"""The function that archives unused versions and deletes what releases left behind."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_events as events
from constructs import Construct

from constructs.mlops.foundation.handler import TICK, Handler, StageResources, TriggerRule
from constructs.mlops.foundation.permissions import arn

_ALL_MODELS = "One function archives all models of the application, whose names begin with the application's."
_LISTS = "SageMaker authorises its List calls on all resources only; the function then reads each by its name."


class ArchiveFunction(Construct):
    """The archive function, invoked once a day; it cannot approve and deletes no object."""

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
            description=f"Exports and archives unused versions of {app}'s models",
            timeout=cdk.Duration.minutes(15),
            environment={
                "APP": app,
                "STAGE": stage,
                "LEDGER_TABLE": resources.ledger.name,
                "ARTIFACT_BUCKET": resources.artifacts.name,
                "ARCHIVE_RULES": "{}",
            },
            resources=resources,
        )
        self._grant_registry(app)
        self._grant_hosting(app)
        artifacts = resources.artifacts
        artifacts.grant_read(
            self.handler,
            "packages/*",
            "runs/*",
            because="The function exports records and metrics of any model's versions.",
        )
        artifacts.grant_list(self.handler)
        artifacts.grant_put(
            self.handler,
            "archive/*",
            because="The function writes the exports of any model's versions, each once, and writes nothing else.",
        )
        resources.ledger.grant_read(self.handler)
        self.handler.allow(
            ["ssm:GetParametersByPath"],
            on=[arn(self, "ssm", f"parameter/{app}"), arn(self, "ssm", f"parameter/{app}/*")],
            because="The function lists the models and their release records in all stages of the account.",
        )
        TriggerRule(
            self,
            "Daily",
            handler=self.handler,
            undelivered=resources.undelivered,
            description="Archives once a day",
            schedule=events.Schedule.rate(cdk.Duration.days(1)),
            message=TICK,
        )

    def _grant_registry(self, app: str) -> None:
        versions = [arn(self, "sagemaker", f"model-package/{app}-*")]
        self.handler.allow(["sagemaker:ListModelPackages"], on=["*"], because=_LISTS)
        self.handler.allow(["sagemaker:DescribeModelPackage"], on=versions, because=_ALL_MODELS)
        self.handler.allow(
            ["sagemaker:UpdateModelPackage"],
            on=versions,
            # Only to the life cycle stage Archived, and never together with an approval.
            conditions={
                "StringEquals": {"sagemaker:ModelLifeCycle:stage": "Archived"},
                "Null": {"sagemaker:ModelApprovalStatus": "true"},
            },
            because=_ALL_MODELS,
        )

    def _grant_hosting(self, app: str) -> None:
        self.handler.allow(
            ["sagemaker:ListEndpoints", "sagemaker:ListEndpointConfigs", "sagemaker:ListModels"],
            on=["*"],
            because=_LISTS,
        )
        self.handler.allow(
            ["sagemaker:DescribeEndpoint"],
            on=[arn(self, "sagemaker", "endpoint/*")],
            because="An endpoint outside the application may use one of its configurations, which is then kept.",
        )
        for kind, what in (("endpoint-config", "EndpointConfig"), ("model", "Model")):
            self.handler.allow(
                [f"sagemaker:Describe{what}", f"sagemaker:Delete{what}"],
                on=[arn(self, "sagemaker", f"{kind}/{app}*")],
                because="CloudFormation generates the end of their names. Live releases and rollback targets are kept.",
            )
        self.handler.allow(
            ["cloudformation:DescribeStacks"],
            on=[arn(self, "cloudformation", f"stack/{app}-serving-*")],
            because=_ALL_MODELS,
        )
