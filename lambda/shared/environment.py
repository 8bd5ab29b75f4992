"""The functions' environment variables (docs/reference/contracts.md), and the names derived from them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient


@dataclass(frozen=True)
class StageEnvironment:
    """The variables that every function has. A function's own variables are the fields of its subclass."""

    app: str
    stage: str
    ledger_table: str

    @classmethod
    def read(cls, variables: Mapping[str, str] = os.environ) -> Self:
        """Read each field from the variable of the same name in capitals. A field with a default is optional.

        Raises:
            KeyError: Variables are missing. The message names all of them.
        """
        needed = [field.name.upper() for field in fields(cls) if field.default is MISSING]
        missing = [name for name in needed if not variables.get(name)]
        if missing:
            raise KeyError(f"environment variables are missing: {', '.join(missing)}")
        given = {field.name: variables.get(field.name.upper()) for field in fields(cls)}
        return cls(**{name: value for name, value in given.items() if value})

    def package_group(self, model: str) -> str:
        """Return the name of the model package group."""
        return f"{self.app}-{model}"

    def pipeline(self, model: str) -> str:
        """Return the name of the SageMaker Pipeline."""
        return f"{self.app}-{model}"

    def endpoint(self, model: str) -> str:
        """Return the name of the stage's endpoint."""
        return f"{self.app}-{model}-{self.stage}"

    def serving_stack(self, model: str) -> str:
        """Return the name of the stage's serving stack."""
        return f"{self.app}-serving-{model}-{self.stage}"

    def monitoring_stack(self, model: str) -> str:
        """Return the name of the stage's monitoring stack."""
        return f"{self.app}-monitoring-{model}-{self.stage}"

    def record_name(self, model: str) -> str:
        """Return the SSM name of the release record."""
        return f"/{self.app}/{model}/{self.stage}/release"

    def release_policy_name(self, model: str) -> str:
        """Return the SSM name of the release policy."""
        return f"/{self.app}/{model}/{self.stage}/policy"

    def retrain_policy_name(self, model: str) -> str:
        """Return the SSM name of the retraining policy, one for all stages."""
        return f"/{self.app}/{model}/retraining"

    def models(self, ssm: SSMClient) -> list[str]:
        """Return the models that have a release record or a release policy in this stage, by name.

        These parameters are the list of models, so a further model changes no function. A model whose record was
        deleted by hand still has the policy of its serving stack.
        """
        pages = ssm.get_paginator("get_parameters_by_path").paginate(Path=f"/{self.app}", Recursive=True)
        names = [parameter["Name"].split("/") for page in pages for parameter in page["Parameters"]]
        kinds = ([self.stage, "release"], [self.stage, "policy"])
        return sorted({name[2] for name in names if len(name) == 5 and name[3:] in kinds})


@dataclass(frozen=True)
class ReleaseEnvironment(StageEnvironment):
    """The release function's variables.

    Attributes:
        registry_arn_prefix: `arn:aws:sagemaker:{region}:{account}` of the account that has the registry.
        verify_function: Verifies releases for the next stage; "" where there is no next stage.
        model_queue_url: The queue of the models to look at. Without it, events are handled at once.
    """

    artifact_bucket: str
    alert_topic_arn: str
    release_role_arn: str
    registry_arn_prefix: str
    verify_function: str = ""
    model_queue_url: str = ""

    def package_group(self, model: str) -> str:
        """Return the ARN of the model package group: a name would be looked up in this account only."""
        return f"{self.registry_arn_prefix}:model-package-group/{super().package_group(model)}"

    def package(self, model: str, version: int) -> str:
        """Return the ARN of a version of the model."""
        return f"{self.registry_arn_prefix}:model-package/{super().package_group(model)}/{version}"


@dataclass(frozen=True)
class RetrainEnvironment(StageEnvironment):
    """The retrain function's variables.

    Attributes:
        model_queue_url: The queue of the models to look at. Without it, events are handled at once.
    """

    data_bucket: str
    alert_topic_arn: str
    model_queue_url: str = ""


@dataclass(frozen=True)
class ArchiveEnvironment(StageEnvironment):
    """The archive function's variables.

    Attributes:
        archive_rules: JSON; `{}` for the defaults.
    """

    artifact_bucket: str
    archive_rules: str


@dataclass(frozen=True)
class VerifyEnvironment(StageEnvironment):
    """The verify function's variables."""

    artifact_bucket: str
    alert_topic_arn: str
