"""A model's versions in the Model Registry."""

from __future__ import annotations

from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from constructs.mlops.foundation.external_role import ExternalRole
from constructs.mlops.foundation.permissions import arn


class PackageGroup(Construct):
    """A model's package group.

    Retained when the stack is deleted: its packages record what was served, when and why, and SageMaker does not delete
    a group that has any.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        name: str,
        description: str,
        readers: Sequence[ExternalRole] = (),
    ) -> None:
        """Define the package group.

        Args:
            scope: The parent.
            construct_id: The id within the parent.
            name: The group's name.
            description: The model's description.
            readers: Roles of other accounts that may read the group and its versions.
        """
        super().__init__(scope, construct_id)
        self.name = name
        self.group = sagemaker.CfnModelPackageGroup(
            self,
            "Group",
            model_package_group_name=name,
            model_package_group_description=description,
            model_package_group_policy=self._policy(readers) if readers else None,
        )
        self.group.apply_removal_policy(cdk.RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE)

    def _policy(self, readers: Sequence[ExternalRole]) -> dict[str, object]:
        return {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Sid": f"Reader{index}",
                    "Effect": "Allow",
                    "Principal": {"AWS": reader.principal_arn(self)},
                    "Action": [
                        "sagemaker:DescribeModelPackageGroup",
                        "sagemaker:DescribeModelPackage",
                        "sagemaker:ListModelPackages",
                    ],
                    "Resource": [
                        arn(self, "sagemaker", f"model-package-group/{self.name}"),
                        arn(self, "sagemaker", f"model-package/{self.name}/*"),
                    ],
                    "Condition": reader.condition(self),
                }
                for index, reader in enumerate(readers, start=1)
            ],
        }
