"""The model that a release record names, and the role it runs with."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from constructs.mlops.job_roles import ContainerRole
from constructs.mlops.release import Release

# Where SageMaker unpacks model.tar.gz; training put the code there (docs/contracts.md, "Model scripts").
_ENVIRONMENT = {
    "SAGEMAKER_PROGRAM": "inference.py",
    "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code",
}


def keep_when_replaced(resource: cdk.CfnResource) -> None:
    """Leave the old one in place when a release replaces it: an endpoint that rolls back returns to it."""
    resource.cfn_options.update_replace_policy = cdk.CfnDeletionPolicy.RETAIN
    resource.cfn_options.deletion_policy = cdk.CfnDeletionPolicy.DELETE


def name_after_application(resource: cdk.CfnResource, app: str) -> None:
    """Let the name that CloudFormation makes begin with the application's, whichever way it makes it.

    CloudFormation builds the names of some types from stack and logical id, and of SageMaker's from the logical id
    alone. The release role is limited to names that begin with the application's. Lower case, as SageMaker writes ARNs.
    """
    resource.override_logical_id(f"{app}{resource.node.id}".lower())


class ServedModel(Construct):
    """The released model: image by digest, artefact from the stage's own write-once copy, no network.

    It has no physical name: CloudFormation replaces a model at each release, and does not replace what has a name.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        app: str,
        model: str,
        release: Release,
        isolated: bool,
        captures: bool,
        image_uri: str,
        data: s3.IBucket,
        artifacts: s3.IBucket,
        key: kms.IKey,
    ) -> None:
        super().__init__(scope, construct_id)
        container = ContainerRole(
            self,
            "Container",
            description=f"Serves {model}",
            image_uri=image_uri,
            log_groups=["Endpoints/*"],
            key=key,
        )
        container.allow_reading(
            artifacts, f"releases/{model}/", because="Releases of this model; the record says which one is served."
        )
        if captures:
            container.allow_writing(
                data, f"{model}/capture/", because="SageMaker writes captured requests under date and hour."
            )
        self.role: iam.Role = container.attach()
        self.model = sagemaker.CfnModel(
            self,
            "Model",
            execution_role_arn=self.role.role_arn,
            enable_network_isolation=isolated,
            primary_container=sagemaker.CfnModel.ContainerDefinitionProperty(
                image=release.image,
                model_data_url=artifacts.s3_url_for_object(f"releases/{model}/{release.id}/model.tar.gz"),
                environment=_ENVIRONMENT,
            ),
            tags=[cdk.CfnTag(key="evergreen:model-package", value=release.package_arn)],
        )
        self.model.cfn_options.condition = release.exists
        keep_when_replaced(self.model)
        name_after_application(self.model, app)
        # SageMaker reads the artefact with the role when the model is made.
        self.model.node.add_dependency(container)
