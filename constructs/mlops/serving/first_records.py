"""Release records, made once and never overwritten."""

from __future__ import annotations

import aws_cdk as cdk
from constructs import Construct

from constructs.mlops.foundation.handler import Handler, StageResources
from constructs.mlops.foundation.permissions import allow, arn


class FirstRecords(Construct):
    """Makes the release record of each model where there is none.

    A record is no `AWS::SSM::Parameter`: CloudFormation would write its template's value again as soon as a tag
    changed, and `none` over a live release deletes the endpoint. This function creates, keeps what is there, and when
    the model goes deletes the record only if the serving stack went first.
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
        self._app, self._stage = app, stage
        self.handler = Handler(
            self,
            "Handler",
            package="release",
            module="first_record",
            description=f"Makes a model's release record in {stage} where there is none",
            timeout=cdk.Duration.minutes(1),
            memory_mb=256,
            environment={},
            resources=resources,
        )
        allow(
            self.handler.role,
            ["ssm:PutParameter", "ssm:DeleteParameter"],
            on=[arn(self, "ssm", f"parameter/{app}/*/{stage}/release")],
            because="It makes the first release record of every model in this stage, and retires it.",
        )
        allow(
            self.handler.role,
            ["cloudformation:DescribeStacks"],
            on=[arn(self, "cloudformation", f"stack/{app}-serving-*-{stage}/*")],
            because="A record is retired only after the stack that reads it, whichever model's that is.",
        )

    def add(self, model: str) -> cdk.CustomResource:
        """Make a model's first record when the stack is deployed."""
        record = cdk.CustomResource(
            self,
            model,
            resource_type="Custom::ReleaseRecord",
            service_token=self.handler.function.function_arn,
            properties={
                "Name": f"/{self._app}/{model}/{self._stage}/release",
                "ServingStack": f"{self._app}-serving-{model}-{self._stage}",
            },
            # Otherwise CloudFormation waits an hour for a function that cannot start.
            service_timeout=cdk.Duration.minutes(5),
        )
        # The function's role is useless before its policy is attached.
        record.node.add_dependency(self.handler)
        return record
