"""The model that a release record names, and the role that it runs with."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from configuration.images import SERVING_ENVIRONMENT
from constructs.mlops.foundation.buckets import ArtifactBucket, Bucket
from constructs.mlops.foundation.container_permissions import ContainerPermissions
from constructs.mlops.foundation.encryption_key import EncryptionKey
from constructs.mlops.foundation.permissions import acknowledge
from constructs.mlops.serving.release_record import ReleaseRecordParameters


def replace_on_release(resource: cdk.CfnResource, release: ReleaseRecordParameters, app: str) -> None:
    """Have CloudFormation replace a resource at each release and keep the old one, for a rollback of the endpoint.

    CloudFormation generates the name of a SageMaker resource from the logical id alone. The release role may only use
    names that begin with the application's, in lower case as in SageMaker's ARNs; so the logical id begins with it.
    """
    options = resource.cfn_options
    options.condition = release.exists
    options.update_replace_policy = cdk.CfnDeletionPolicy.RETAIN
    options.deletion_policy = cdk.CfnDeletionPolicy.DELETE
    resource.override_logical_id(f"{app}{resource.node.id}".lower())


class ServedModel(Construct):
    """The released model: its image by digest, and its artifact from the stage's own write-once copy.

    It has no physical name: CloudFormation replaces the model at each release, and cannot replace a named resource.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        app: str,
        model: str,
        release: ReleaseRecordParameters,
        realtime: bool,
        image_uri: str,
        data: Bucket,
        artifacts: ArtifactBucket,
        key: EncryptionKey,
    ) -> None:
        """Define the model and its role.

        Args:
            scope: The parent.
            construct_id: The id within the parent.
            app: The application's name.
            model: The model's name.
            release: The release that is served.
            realtime: Whether it runs on instances: then without a network, and its requests may be captured.
            image_uri: The framework's image, whose repository the release's image is pulled from.
            data: Receives captured requests.
            artifacts: Has the releases.
            key: The stage's key.
        """
        super().__init__(scope, construct_id)
        permissions = ContainerPermissions(self, image_uri=image_uri, log_groups=["Endpoints/*"], key=key)
        artifacts.grant_read_folders(
            permissions,
            f"releases/{model}/",
            because="The releases of this model; the record names the one that is served.",
        )
        if realtime:
            # A guarded deployment looks at the rollback alarms with the model's role, too.
            permissions.allow(
                ["cloudwatch:DescribeAlarms"],
                on=[
                    cdk.Stack.of(self).format_arn(
                        service="cloudwatch",
                        resource="alarm",
                        resource_name=f"{app}-{model}-*",
                        arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME,
                    )
                ],
                because="The rollback alarms of each release, whose names carry its id.",
            )
            data.grant_write_folders(
                permissions, f"{model}/capture/", because="SageMaker writes captured requests under date and hour."
            )
        self.role = permissions.container_role(self, "Role", description=f"Serves {model}")
        self.model = sagemaker.CfnModel(
            self,
            "Model",
            execution_role_arn=self.role.role_arn,
            enable_network_isolation=realtime,
            primary_container=sagemaker.CfnModel.ContainerDefinitionProperty(
                image=release.image,
                model_data_url=artifacts.uri(f"releases/{model}/{release.id}/model.tar.gz"),
                environment=SERVING_ENVIRONMENT,
            ),
            tags=[cdk.CfnTag(key="evergreen:model-package", value=release.package_arn)],
        )
        if not realtime:
            acknowledge(
                self.model,
                "SageMaker.5",
                reason="SageMaker refuses network isolation for a model behind a serverless endpoint.",
                pack="SecurityHub",
            )
        replace_on_release(self.model, release, app)
