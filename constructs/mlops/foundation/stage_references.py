"""Stages as other stages know them: by account and by the names of their resources.

Events notify a stage, and the stage then reads by itself: versions and their artifacts in the hub, verifications in the
previous stage. Within one account the reader's own policy is enough. Across accounts the owner's policy must allow it
too (`ArtifactBucket.grant_read_registered`, `ArtifactBucket.grant_read_verifications`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import aws_cdk as cdk

from configuration import Application, Stage
from constructs.mlops.foundation.buckets import REGISTERED, VERIFICATIONS
from constructs.mlops.foundation.external_role import ExternalRole
from constructs.mlops.foundation.handler import Handler
from constructs.mlops.foundation.permissions import arn

# CloudFormation begins a generated bucket name with at most this many characters of the stack's name.
_STACK_NAME_KEPT = 24
_GENERATED_NAME = "CloudFormation generates the end of the hub's bucket name."


@dataclass(frozen=True)
class StageReference:
    """A stage, identified by its account and by the names of its resources.

    Attributes:
        app: The application's name.
        name: The stage's name.
        account: Account id, or the token of the account that is deployed to.
    """

    app: str
    name: str
    account: str

    @property
    def release_role(self) -> ExternalRole:
        """The role of the stage's release controller."""
        return ExternalRole(self.account, f"{self.app}-release-{self.name}")

    @property
    def events_role(self) -> ExternalRole:
        """The role that forwards the stage's events."""
        return ExternalRole(self.account, f"{self.app}-events-{self.name}")

    @property
    def artifact_bucket(self) -> str:
        """The name of its artifact bucket, where the next stage reads verifications; at most 54 characters."""
        return f"{self.app}-{self.name}-artifacts-{self.account}"

    def grant_read_registered(self, reader: Handler) -> None:
        """Allow a function to read this stage's model registry and what was registered; this stage is the hub."""
        reader.allow(
            ["sagemaker:DescribeModelPackageGroup", "sagemaker:DescribeModelPackage", "sagemaker:ListModelPackages"],
            on=[
                arn(reader, "sagemaker", f"model-package{kind}/{self.app}-*", account=self.account)
                for kind in ("-group", "")
            ],
            because="The hub has the registry of all models; the policy of each package group limits what is readable.",
        )
        platform = f"{self.app}-platform-{self.name}"
        bucket = f"arn:{cdk.Stack.of(reader).partition}:s3:::{platform[:_STACK_NAME_KEPT]}*"
        self._grant_read(reader, bucket, REGISTERED, _GENERATED_NAME)
        reader.allow(
            # Without it S3 answers AccessDenied for a missing object, as for a missing permission.
            ["s3:ListBucket"],
            on=[bucket],
            conditions={"StringEquals": {"aws:ResourceAccount": self.account}},
            because=_GENERATED_NAME,
        )

    def grant_read_verifications(self, reader: Handler) -> None:
        """Allow a function to read this stage's verifications, and nothing else of it."""
        bucket = f"arn:{cdk.Stack.of(reader).partition}:s3:::{self.artifact_bucket}"
        self._grant_read(reader, bucket, VERIFICATIONS, "The stage verifies the releases of every model.")

    def _grant_read(self, reader: Handler, bucket: str, keys: Sequence[str], because: str) -> None:
        reader.allow(
            ["s3:GetObject"],
            on=[f"{bucket}/{key}" for key in keys],
            conditions={"StringEquals": {"aws:ResourceAccount": self.account}},
            because=because,
        )
        reader.allow(
            ["kms:Decrypt"],
            on=[arn(reader, "kms", "key/*", account=self.account)],
            conditions={"StringEquals": {"kms:ViaService": f"s3.{cdk.Stack.of(reader).region}.amazonaws.com"}},
            because="The key's id is unknown here; through S3 it decrypts only what this role may read.",
        )


@dataclass(frozen=True)
class Neighbours:
    """A stage and the other stages that it exchanges releases with.

    Attributes:
        own: The stage itself.
        hub: The last stage, which has the registry; it may be the stage itself.
        previous: The stage that verifies for this one; None in the first stage.
        following: The stage that this one verifies for; None in the last stage.
        registry_readers: The stages in other accounts than the hub's.
    """

    own: StageReference
    hub: StageReference
    previous: StageReference | None
    following: StageReference | None
    registry_readers: tuple[StageReference, ...]

    @classmethod
    def of(cls, application: Application, stage: Stage, *, own_account: str) -> Neighbours:
        """Return the neighbours of a stage.

        Args:
            application: The application with all its stages.
            stage: One of them.
            own_account: The account that stands for stages that name none.
        """

        def reference(other: Stage) -> StageReference:
            return StageReference(application.name, other.name, other.account or own_account)

        before, after, hub = application.before(stage), application.after(stage), reference(application.stage)
        return cls(
            own=reference(stage),
            hub=hub,
            previous=reference(before) if before else None,
            following=reference(after) if after else None,
            registry_readers=tuple(one for one in map(reference, application.stages) if one.account != hub.account),
        )

    @property
    def is_hub(self) -> bool:
        """Whether the stage is the hub."""
        return self.own == self.hub

    @property
    def release_role_name(self) -> str | None:
        """The name of the release controller's role; None where no other stage must know it."""
        return self.own.release_role.name if self.previous or self.following else None

    @property
    def artifact_bucket_name(self) -> str | None:
        """The name of the artifact bucket; None, for a generated name, where no other stage must know it."""
        return self.own.artifact_bucket if self.following else None
