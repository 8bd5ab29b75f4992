"""Types that all parts of the control plane share: the context, the caller, operations and ARNs."""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from localcloud.cloud import Cloud, RoleError
from localcloud.runtime import images
from localcloud.sagemaker.errors import validation
from localcloud.store import Store

Document = dict[str, Any]
_ALPHABET = string.ascii_lowercase + string.digits


@dataclass(frozen=True)
class Caller:
    """The principal that signed a request."""

    arn: str
    principal_id: str

    def user_context(self) -> Document:
        """Return `CreatedBy` and `LastModifiedBy` as AWS writes them for callers outside of Studio."""
        return {"IamIdentity": {"Arn": self.arn, "PrincipalId": self.principal_id}}


Operation = Callable[[Mapping[str, Any], Caller], Mapping[str, Any]]
Operations = Mapping[str, Operation]


@dataclass(frozen=True)
class Context:
    """The cloud, with SageMaker's ARNs and clock."""

    cloud: Cloud

    @property
    def store(self) -> Store:
        """The durable documents."""
        return self.cloud.store

    def arn(self, kind: str, name: str) -> str:
        """Return `arn:aws:sagemaker:<region>:<account>:<kind>/<name>`."""
        return f"arn:aws:sagemaker:{self.cloud.region}:{self.cloud.account}:{kind}/{name}"

    def now(self) -> float:
        """Return epoch seconds, unrounded because lists are sorted by them."""
        return self.cloud.clock.now().timestamp()

    def check_role(self, role_arn: str) -> None:
        """Raise an error for a role that SageMaker cannot assume.

        Raises:
            AwsError: ValidationException, as SageMaker words it.
        """
        try:
            self.cloud.role_environment(role_arn)
        except RoleError as error:
            raise validation(str(error)) from error

    def check_image(self, image: str, role_arn: str) -> None:
        """Check that AWS has one of its own images; jobs and models name it.

        Raises:
            AwsError: it has no such repository, region or tag.
        """
        problem = images.unknown_to_aws(image, self.cloud.region, self.cloud.account)
        if problem is not None:
            raise validation(
                f"{problem} Please check if your ECR repository and image exist and role {role_arn} has proper pull "
                "permissions for SageMaker: ecr:BatchCheckLayerAvailability, ecr:BatchGetImage, "
                "ecr:GetDownloadUrlForLayer"
            )

    def root(self) -> Caller:
        """Return the account's root as the caller."""
        return Caller(f"arn:aws:iam::{self.cloud.account}:root", self.cloud.account)


def random_id(length: int) -> str:
    """Return random lower-case letters and digits, as in SageMaker's ids."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def name_of(name_or_arn: str) -> str:
    """Return the name in an ARN `…:<kind>/<name>`, or the name itself."""
    return name_or_arn.split("/", 1)[1] if name_or_arn.startswith("arn:") else name_or_arn
