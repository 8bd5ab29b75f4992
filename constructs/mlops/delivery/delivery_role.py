"""What the delivery pipeline may do in a stage's account, besides deploying by CDK's own roles."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from constructs.mlops.foundation.permissions import Permissions, arn

_ALL_MODELS = "One pipeline delivers all models of the application, whose names begin with the application's."


def build_role_name(app: str) -> str:
    """The role of the pipeline's own steps, as the stages' accounts know it."""
    return f"{app}-delivery-build"


def delivery_role_name(app: str, stage: str) -> str:
    """The role that those steps take in a stage's account."""
    return f"{app}-delivery-{stage}"


class DeliveryRole(Construct):
    """Takes the leases of a stage's models and sees whether their stacks are settled; in the hub it also asks for
    trainings. The build role of the pipeline takes it, and nobody else.

    Args:
        retrain: The retrain function; None where the stage is not the hub.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        app: str,
        stage: str,
        hub_account: str,
        ledger: dynamodb.ITable,
        key: kms.IKey,
        retrain: lambda_.IFunction | None,
    ) -> None:
        super().__init__(scope, construct_id)
        permissions = Permissions()
        kinds = ["platform", "serving", "monitoring", *(["training"] if retrain else [])]
        permissions.allow(
            ["cloudformation:DescribeStacks"],
            on=[arn(self, "cloudformation", f"stack/{app}-{kind}-*") for kind in kinds],
            because=_ALL_MODELS,
        )
        permissions.allow(
            ["sagemaker:DescribeEndpoint"],
            on=[arn(self, "sagemaker", f"endpoint/{app}-*")],
            because=_ALL_MODELS,
        )
        permissions.allow(
            ["ssm:GetParametersByPath"],
            on=[arn(self, "ssm", f"parameter/{app}"), arn(self, "ssm", f"parameter/{app}/*")],
            because="The models of the stage are those that have a release record, found by listing.",
        )
        rows = [f"*#{stage}", *(["*#delivery"] if retrain else [])]
        permissions.allow(
            ["dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"],
            on=[ledger.table_arn],
            conditions={"ForAllValues:StringLike": {"dynamodb:LeadingKeys": rows}},
        )
        permissions.allow(["kms:Decrypt"], on=[key.key_arn])
        if retrain:
            permissions.allow(["lambda:InvokeFunction"], on=[retrain.function_arn])
        partition = cdk.Stack.of(self).partition
        self.role = permissions.named_role(
            self,
            "Role",
            name=delivery_role_name(app, stage),
            principal=iam.PrincipalWithConditions(
                iam.AccountPrincipal(hub_account),
                {"ArnEquals": {"aws:PrincipalArn": f"arn:{partition}:iam::{hub_account}:role/{build_role_name(app)}"}},
            ),
            description=f"The pipeline of {app} takes leases in {stage} with it",
        )
