"""The role that people assume to approve."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from constructs import Construct

from constructs.mlops.foundation.permissions import Permissions, arn

_ALL_MODELS = "One role approves versions of all models of the application, whose names begin with the application's."


class Approver(Construct):
    """A role that approves or rejects versions, in the registry or in their life cycle, and may do nothing else.

    People of the account assume it if their own permissions allow that. The application's roles and CDK's are refused,
    so that no automation can approve.
    """

    def __init__(self, scope: Construct, construct_id: str, *, app: str) -> None:
        super().__init__(scope, construct_id)
        account = cdk.Stack.of(self).account
        automation = [arn(self, "iam", f"role/{prefix}-*", region=False) for prefix in (app, "cdk")]
        versions = [arn(self, "sagemaker", f"model-package/{app}-*")]
        permissions = Permissions()
        for conditions in (
            {"sagemaker:ModelApprovalStatus": ["Approved", "Rejected"]},
            {
                "sagemaker:ModelLifeCycle:stage": ["Production"],
                "sagemaker:ModelLifeCycle:stageStatus": ["Approved", "Rejected"],
            },
        ):
            permissions.allow(
                ["sagemaker:UpdateModelPackage"],
                on=versions,
                conditions={"StringEquals": conditions},
                because=_ALL_MODELS,
            )
        permissions.allow(
            ["sagemaker:DescribeModelPackage", "sagemaker:DescribeModelPackageGroup"],
            on=[*versions, arn(self, "sagemaker", f"model-package-group/{app}-*")],
            because=_ALL_MODELS,
        )
        permissions.allow(
            ["sagemaker:ListModelPackages", "sagemaker:ListModelPackageGroups"],
            on=["*"],
            because="SageMaker authorises its List calls on all resources only; they list names and states.",
        )
        self.role = permissions.named_role(
            self,
            "Role",
            name=f"{app}-approver",
            principal=iam.PrincipalWithConditions(
                iam.AccountPrincipal(account), {"ArnNotLike": {"aws:PrincipalArn": automation}}
            ),
            description=f"Approves or rejects versions of {app}'s models, and may do nothing else",
        )
