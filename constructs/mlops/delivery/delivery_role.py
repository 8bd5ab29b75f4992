"""The roles of the delivery pipeline besides CDK's own: one for its steps, and one in each stage's account."""

from __future__ import annotations

from aws_cdk import aws_iam as iam
from constructs import Construct

from constructs.mlops.foundation.encryption_key import EncryptionKey
from constructs.mlops.foundation.external_role import ExternalRole
from constructs.mlops.foundation.handler import Handler
from constructs.mlops.foundation.ledger import LedgerTable
from constructs.mlops.foundation.permissions import Permissions, arn

_ALL_MODELS = "One pipeline delivers all models of the application, whose names begin with the application's."


def build_role_name(app: str) -> str:
    """Return the name of the role of the pipeline's lease and train steps, in the hub."""
    return f"{app}-delivery-build"


def delivery_role_name(app: str, stage: str) -> str:
    """Return the name of the role that those steps assume in a stage's account."""
    return f"{app}-delivery-{stage}"


class DeliveryRole(Construct):
    """A role that takes the leases of a stage's models and reads the states of their stacks.

    In the hub it also requests trainings. Only the pipeline's build role may assume it.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        app: str,
        stage: str,
        hub_account: str,
        ledger: LedgerTable,
        key: EncryptionKey,
        retrain: Handler | None,
    ) -> None:
        """Define the role.

        Args:
            scope: The parent.
            construct_id: The id within the parent.
            app: The application's name.
            stage: The stage's name.
            hub_account: The account of the pipeline.
            ledger: Has the leases.
            key: The key of the ledger.
            retrain: The retrain function; None if the stage is not the hub.
        """
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
            because="The models of the stage are those that have a release record, which the role finds by listing.",
        )
        partitions = [f"*#{stage}", *(["*#delivery"] if retrain else [])]
        ledger.grant_write_partitions(permissions, *partitions)
        key.grant_decrypt(permissions)
        if retrain:
            retrain.grant_invoke(permissions)
        builds = ExternalRole(hub_account, build_role_name(app))
        self.role = permissions.named_role(
            self,
            "Role",
            name=delivery_role_name(app, stage),
            principal=iam.PrincipalWithConditions(iam.AccountPrincipal(hub_account), builds.condition(self)),
            description=f"Lets the delivery pipeline of {app} take leases in {stage}",
        )
