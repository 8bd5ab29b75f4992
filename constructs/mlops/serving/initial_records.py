"""The first release record of each model, created once and never overwritten."""

from __future__ import annotations

from collections.abc import Sequence

import aws_cdk as cdk
from constructs import Construct

from constructs.mlops.foundation.handler import Handler, StageResources
from constructs.mlops.foundation.permissions import arn


class InitialReleaseRecords(Construct):
    """A custom resource that creates the release record of each model that has none.

    A record cannot be an `AWS::SSM::Parameter`. CloudFormation would write the template's value again at any change of
    a tag, and `none` over a live release deletes the endpoint. The function creates a missing record, keeps an existing
    one, and deletes the record of a removed model only after its serving stack.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        resources: StageResources,
        models: Sequence[str],
    ) -> None:
        """Define the function, and a record for each model.

        Args:
            scope: The parent.
            construct_id: The id within the parent.
            resources: The stage's shared resources.
            models: The models' names.
        """
        super().__init__(scope, construct_id)
        app, stage = resources.app, resources.stage
        self._app, self._stage = app, stage
        self.handler = Handler(
            self,
            "Handler",
            package="release",
            module="first_record",
            description=f"Creates the release record of a model that has none in {stage}",
            timeout=cdk.Duration.minutes(1),
            memory_mb=256,
            environment={},
            resources=resources,
        )
        self.handler.allow(
            ["ssm:PutParameter", "ssm:DeleteParameter"],
            on=[arn(self, "ssm", f"parameter/{app}/*/{stage}/release")],
            because="The function creates and deletes the release record of every model in this stage.",
        )
        self.handler.allow(
            ["cloudformation:DescribeStacks"],
            on=[arn(self, "cloudformation", f"stack/{app}-serving-*-{stage}/*")],
            because="The record of any model is deleted only after the serving stack that reads it.",
        )
        for model in models:
            self._add(model)

    def _add(self, model: str) -> None:
        """Define the custom resource that creates a model's record at the deployment of this stack."""
        record = cdk.CustomResource(
            self,
            model,
            resource_type="Custom::ReleaseRecord",
            service_token=self.handler.function.function_arn,
            properties={
                "Name": f"/{self._app}/{model}/{self._stage}/release",
                "ServingStack": f"{self._app}-serving-{model}-{self._stage}",
            },
            # By default CloudFormation waits an hour for a function that cannot start.
            service_timeout=cdk.Duration.minutes(5),
        )
        # The function works only once the policy of its role is attached.
        record.node.add_dependency(self.handler)
