"""The model that a release record names, and the role it runs with."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from constructs.mlops.serving.release import Release
from constructs.mlops.training.job_roles import ContainerPermissions

# Where SageMaker unpacks model.tar.gz; training put the code there (docs/reference/contracts.md, "Model scripts").
_ENVIRONMENT = {
    "SAGEMAKER_PROGRAM": "inference.py",
    "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code",
}


def released(resource: cdk.CfnResource, release: Release, app: str) -> None:
    """Make a resource that each release replaces, and that the one before must survive.

    The old one stays in place: an endpoint that rolls back returns to it. CloudFormation makes SageMaker's names from
    the logical id alone, and the release role is limited to names that begin with the application's; lower case, as
    SageMaker writes ARNs.
    """
    options = resource.cfn_options
    options.condition = release.exists
    options.update_replace_policy = cdk.CfnDeletionPolicy.RETAIN
    options.deletion_policy = cdk.CfnDeletionPolicy.DELETE
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
        permissions = ContainerPermissions(self, image_uri=image_uri, log_groups=["Endpoints/*"], key=key)
        permissions.allow_reading(
            artifacts, f"releases/{model}/", because="Releases of this model; the record says which one is served."
        )
        if captures:
            permissions.allow_writing(
                data, f"{model}/capture/", because="SageMaker writes captured requests under date and hour."
            )
        self.role = permissions.attach(self, "Role", description=f"Serves {model}")
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
        released(self.model, release, app)
