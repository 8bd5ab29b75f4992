"""A handler's environment, read once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Self


@dataclass(frozen=True)
class StageEnvironment:
    """Settings of every controller and the names that follow from them (docs/reference/contracts.md, "Names")."""

    app: str
    stage: str
    ledger_table: str

    @classmethod
    def read(cls, variables: Mapping[str, str] = os.environ) -> Self:
        """Read the environment: each field from the variable of its name in capitals; one with a default may lack.

        Raises:
            KeyError: variables are missing; the message names all of them.
        """
        needed = [field.name.upper() for field in fields(cls) if field.default is MISSING]
        missing = [name for name in needed if not variables.get(name)]
        if missing:
            raise KeyError(f"environment variables are missing: {', '.join(missing)}")
        given = {field.name: variables.get(field.name.upper()) for field in fields(cls)}
        return cls(**{name: value for name, value in given.items() if value})

    def package_group(self, model: str) -> str:
        return f"{self.app}-{model}"

    def pipeline(self, model: str) -> str:
        return f"{self.app}-{model}"

    def endpoint(self, model: str) -> str:
        return f"{self.app}-{model}-{self.stage}"

    def serving_stack(self, model: str) -> str:
        return f"{self.app}-serving-{model}-{self.stage}"

    def monitoring_stack(self, model: str) -> str:
        return f"{self.app}-monitoring-{model}-{self.stage}"

    def record_name(self, model: str) -> str:
        return f"/{self.app}/{model}/{self.stage}/release"

    def release_policy_name(self, model: str) -> str:
        return f"/{self.app}/{model}/{self.stage}/policy"


@dataclass(frozen=True)
class Environment(StageEnvironment):
    """What the stack tells the release function besides.

    Attributes:
        registry_arn_prefix: `arn:aws:sagemaker:{region}:{account}` of the account that has the registry.
        verify_function: verifies for the next stage; "" where there is none.
    """

    artifact_bucket: str
    alert_topic_arn: str
    release_role_arn: str
    registry_arn_prefix: str
    verify_function: str = ""

    def package_group(self, model: str) -> str:
        """Return the group's ARN: by its name it is looked for in this account only."""
        return f"{self.registry_arn_prefix}:model-package-group/{super().package_group(model)}"
