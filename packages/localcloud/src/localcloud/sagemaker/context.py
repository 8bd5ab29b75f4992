"""What every part of the control plane works with: the cloud, names, the caller, and operations by name."""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from localcloud.cloud import Cloud, RoleError
from localcloud.sagemaker.errors import validation
from localcloud.store import Store

Document = dict[str, Any]
_ALPHABET = string.ascii_lowercase + string.digits


@dataclass(frozen=True)
class Caller:
    """Who signed a request."""

    arn: str
    principal_id: str

    def user_context(self) -> Document:
        """`CreatedBy` and `LastModifiedBy`, as AWS gives them for callers outside of Studio."""
        return {"IamIdentity": {"Arn": self.arn, "PrincipalId": self.principal_id}}


Operation = Callable[[Mapping[str, Any], Caller], Mapping[str, Any]]
Operations = Mapping[str, Operation]


@dataclass(frozen=True)
class Context:
    """The cloud, with SageMaker's names."""

    cloud: Cloud

    @property
    def store(self) -> Store:
        return self.cloud.store

    def arn(self, kind: str, name: str) -> str:
        """`arn:aws:sagemaker:<region>:<account>:<kind>/<name>`."""
        return f"arn:aws:sagemaker:{self.cloud.region}:{self.cloud.account}:{kind}/{name}"

    def now(self) -> float:
        """Epoch seconds, unrounded: lists order by it."""
        return self.cloud.clock.now().timestamp()

    def check_role(self, role_arn: str) -> None:
        """Refuse a role that SageMaker cannot assume, when it is handed over.

        Raises:
            AwsError: ValidationException, in SageMaker's words.
        """
        try:
            self.cloud.role_environment(role_arn)
        except RoleError as error:
            raise validation(str(error)) from error

    def root(self) -> Caller:
        return Caller(f"arn:aws:iam::{self.cloud.account}:root", self.cloud.account)


def random_id(length: int) -> str:
    """Lower-case letters and digits, as in the ids that SageMaker makes."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def name_of(name_or_arn: str) -> str:
    """The name in `…:<kind>/<name>`, or the name itself."""
    return name_or_arn.split("/", 1)[1] if name_or_arn.startswith("arn:") else name_or_arn
