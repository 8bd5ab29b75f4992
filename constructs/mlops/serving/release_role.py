"""The role that CloudFormation assumes to release a model."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from constructs import Construct

from constructs.mlops.foundation.encryption_key import EncryptionKey
from constructs.mlops.foundation.permissions import RoleOwner, arn, qualifier_of

_GENERATED_NAMES = (
    "CloudFormation generates the names of models and endpoint configurations, so that a release can replace them; all "
    "begin with the application's name, because their logical ids and stacks do."
)
_ALL_MODELS = (
    "One role releases every model of the application, and all their names begin with its name; a role for each model "
    "would have to exist before the model is known."
)


class ReleaseRole(RoleOwner, Construct):
    """The service role of every change set that a release executes.

    The controller passes it each time. Otherwise CloudFormation would use the role that was used last, which is CDK's
    administrator. This role can create what a serving stack creates from a release record, and nothing else: no role,
    policy, bucket or key.
    """

    def __init__(self, scope: Construct, construct_id: str, *, app: str, stage: str, key: EncryptionKey) -> None:
        super().__init__(scope, construct_id)
        self.role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal("cloudformation.amazonaws.com"),
            description=f"Lets CloudFormation release models of {app} in {stage}",
        )
        endpoint = arn(self, "sagemaker", f"endpoint/{app}-*")
        for kind in ("model", "endpoint-config"):
            what = "Model" if kind == "model" else "EndpointConfig"
            self.allow(
                [f"sagemaker:{verb}{what}" for verb in ("Create", "Describe", "Delete")]
                + ["sagemaker:AddTags", "sagemaker:DeleteTags", "sagemaker:ListTags"],
                on=[arn(self, "sagemaker", f"{kind}/{app}*")],
                because=_GENERATED_NAMES,
            )
        self.allow(
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
            # IAM authorises CreateEndpoint and UpdateEndpoint on the configuration too.
            on=[endpoint, arn(self, "sagemaker", f"endpoint-config/{app}*")],
            because=_ALL_MODELS,
        )
        self._allow_monitors(app)
        self._allow_alarms_and_scaling(app)
        self.allow(
            ["ssm:GetParameters"],
            on=[
                arn(self, "ssm", f"parameter/{app}/*/{stage}/release"),
                arn(self, "ssm", f"parameter/cdk-bootstrap/{qualifier_of(self)}/version"),
            ],
            because=_ALL_MODELS,
        )
        self.allow(
            ["iam:PassRole"],
            # A generated role name begins with 24 characters of the stack's name.
            on=[arn(self, "iam", f"role/{app}-{kind}*", region=False) for kind in ("serving-", "monitor")],
            conditions={"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
            because="The roles of models and monitors, whose names CloudFormation generates.",
        )
        key.grant_describe(self)
        key.grant_create_grant(self)

    def _allow_monitors(self, app: str) -> None:
        """Allow replacing job definitions at each release, and then moving the schedules to the new ones."""
        for kind, what in (
            ("data-quality-job-definition", "DataQualityJobDefinition"),
            ("model-quality-job-definition", "ModelQualityJobDefinition"),
            ("model-bias-job-definition", "ModelBiasJobDefinition"),
        ):
            self.allow(
                [f"sagemaker:{verb}{what}" for verb in ("Create", "Describe", "Delete")]
                # The create and read handlers of these types list the tags, too.
                + ["sagemaker:AddTags", "sagemaker:ListTags"],
                on=[arn(self, "sagemaker", f"{kind}/{app}*")],
                because=_GENERATED_NAMES,
            )
        self.allow(
            [f"sagemaker:{verb}MonitoringSchedule" for verb in ("Create", "Describe", "Update", "Delete")]
            + ["sagemaker:AddTags"],
            on=[arn(self, "sagemaker", f"monitoring-schedule/{app}-*")],
            because=_ALL_MODELS,
        )

    def _allow_alarms_and_scaling(self, app: str) -> None:
        self.allow(
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
                    resource_name=name,
                    arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME,
                )
                # Application Auto Scaling names its own alarms after the endpoint; ScalableTarget's handlers keep them.
                for name in (f"{app}-*", f"TargetTracking-endpoint/{app}-*")
            ],
            because=_ALL_MODELS,
        )
        self.allow(
            [
                "application-autoscaling:RegisterScalableTarget",
                "application-autoscaling:DeregisterScalableTarget",
                "application-autoscaling:PutScalingPolicy",
                "application-autoscaling:DeleteScalingPolicy",
                "application-autoscaling:TagResource",
                "application-autoscaling:ListTagsForResource",
            ],
            on=[arn(self, "application-autoscaling", "scalable-target/*")],
            because="Application Auto Scaling generates the ids of scalable targets; each belongs to an endpoint.",
        )
        self.allow(
            [
                "application-autoscaling:DescribeScalableTargets",
                "application-autoscaling:DescribeScalingPolicies",
                "application-autoscaling:DescribeScheduledActions",
                "cloudwatch:GetMetricData",
            ],
            on=["*"],
            because="The handlers of scalable targets and policies make these calls, which AWS allows on * only.",
        )
        linked = "sagemaker.application-autoscaling.amazonaws.com"
        self.allow(
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
