"""What CloudFormation may do when it releases a model."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct

from constructs.mlops.foundation.permissions import allow, arn

_MADE_BY_CLOUDFORMATION = (
    "CloudFormation makes the names of models and endpoint configurations, so that a release can replace them; all "
    "begin with the application's name, because their logical ids and stacks do."
)
_ONE_ROLE_FOR_ALL_MODELS = (
    "One role releases every model of the application, and all their names begin with its name; a role for each model "
    "would have to be made before the model is known."
)


class ReleaseRole(Construct):
    """The service role of every change set that a release executes.

    The controller passes it each time, because CloudFormation otherwise takes the role that was attached last, which
    is CDK's administrator. It can make what a serving stack makes of a release record, and nothing else: no role, no
    policy, no bucket, no key.
    """

    def __init__(self, scope: Construct, construct_id: str, *, app: str, stage: str, key: kms.IKey) -> None:
        super().__init__(scope, construct_id)
        self.role = role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal("cloudformation.amazonaws.com"),
            description=f"CloudFormation releases models of {app} in {stage} with it",
        )
        endpoint = arn(self, "sagemaker", f"endpoint/{app}-*")
        for kind in ("model", "endpoint-config"):
            what = "Model" if kind == "model" else "EndpointConfig"
            allow(
                role,
                [f"sagemaker:{verb}{what}" for verb in ("Create", "Describe", "Delete")]
                + ["sagemaker:AddTags", "sagemaker:DeleteTags", "sagemaker:ListTags"],
                on=[arn(self, "sagemaker", f"{kind}/{app}*")],
                because=_MADE_BY_CLOUDFORMATION,
            )
        allow(
            role,
            [
                "sagemaker:CreateEndpoint",
                "sagemaker:DescribeEndpoint",
                "sagemaker:UpdateEndpoint",
                "sagemaker:UpdateEndpointWeightsAndCapacities",
                "sagemaker:DeleteEndpoint",
                "sagemaker:AddTags",
                "sagemaker:DeleteTags",
                "sagemaker:ListTags",
            ],
            # CreateEndpoint and UpdateEndpoint are authorised on the configuration too.
            on=[endpoint, arn(self, "sagemaker", f"endpoint-config/{app}*")],
            because=_ONE_ROLE_FOR_ALL_MODELS,
        )
        self._monitors(app)
        self._alarms_and_scaling(app)
        allow(
            role,
            ["ssm:GetParameters"],
            on=[
                arn(self, "ssm", f"parameter/{app}/*/{stage}/release"),
                arn(self, "ssm", f"parameter/cdk-bootstrap/{cdk.DefaultStackSynthesizer.DEFAULT_QUALIFIER}/version"),
            ],
            because=_ONE_ROLE_FOR_ALL_MODELS,
        )
        allow(
            role,
            ["iam:PassRole"],
            # CloudFormation keeps 24 characters of the stack's name.
            on=[arn(self, "iam", f"role/{app}-{kind}*", region=False) for kind in ("serving-", "monitor")],
            conditions={"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
            because="The roles of the models, made by their serving stacks under names that CloudFormation chooses.",
        )
        allow(role, ["kms:DescribeKey"], on=[key.key_arn])
        allow(
            role,
            ["kms:CreateGrant"],
            on=[key.key_arn],
            conditions={"Bool": {"kms:GrantIsForAWSResource": "true"}},
        )

    def _monitors(self, app: str) -> None:
        """Job definitions are replaced at each release, and schedules then moved to the new ones."""
        for kind, what in (
            ("data-quality-job-definition", "DataQualityJobDefinition"),
            ("model-quality-job-definition", "ModelQualityJobDefinition"),
            ("model-bias-job-definition", "ModelBiasJobDefinition"),
        ):
            allow(
                self.role,
                [f"sagemaker:{verb}{what}" for verb in ("Create", "Describe", "Delete")] + ["sagemaker:AddTags"],
                on=[arn(self, "sagemaker", f"{kind}/{app}*")],
                because=_MADE_BY_CLOUDFORMATION,
            )
        allow(
            self.role,
            [f"sagemaker:{verb}MonitoringSchedule" for verb in ("Create", "Describe", "Update", "Delete")]
            + ["sagemaker:AddTags"],
            on=[arn(self, "sagemaker", f"monitoring-schedule/{app}-*")],
            because=_ONE_ROLE_FOR_ALL_MODELS,
        )

    def _alarms_and_scaling(self, app: str) -> None:
        allow(
            self.role,
            [
                "cloudwatch:PutMetricAlarm",
                "cloudwatch:DescribeAlarms",
                "cloudwatch:DeleteAlarms",
                "cloudwatch:TagResource",
                "cloudwatch:UntagResource",
                "cloudwatch:ListTagsForResource",
            ],
            on=[
                cdk.Stack.of(self).format_arn(
                    service="cloudwatch",
                    resource="alarm",
                    resource_name=f"{app}-*",
                    arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME,
                )
            ],
            because=_ONE_ROLE_FOR_ALL_MODELS,
        )
        allow(
            self.role,
            [
                "application-autoscaling:RegisterScalableTarget",
                "application-autoscaling:DeregisterScalableTarget",
                "application-autoscaling:PutScalingPolicy",
                "application-autoscaling:DeleteScalingPolicy",
                "application-autoscaling:TagResource",
                "application-autoscaling:ListTagsForResource",
            ],
            on=[arn(self, "application-autoscaling", "scalable-target/*")],
            because="The service makes the names of scalable targets; the calls are for endpoints the role may update.",
        )
        allow(
            self.role,
            [
                "application-autoscaling:DescribeScalableTargets",
                "application-autoscaling:DescribeScalingPolicies",
            ],
            on=["*"],
            because="Application Auto Scaling authorises its Describe calls on all resources only.",
        )
        linked = "sagemaker.application-autoscaling.amazonaws.com"
        allow(
            self.role,
            ["iam:CreateServiceLinkedRole"],
            on=[
                arn(
                    self,
                    "iam",
                    f"role/aws-service-role/{linked}/AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint",
                    region=False,
                )
            ],
            conditions={"StringEquals": {"iam:AWSServiceName": linked}},
        )
