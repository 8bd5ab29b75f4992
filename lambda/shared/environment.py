"""A handler's environment, read once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self


@dataclass(frozen=True)
class StageEnvironment:
    """What the stack tells every controller, and the names that follow from it (docs/contracts.md, "Names")."""

    app: str
    stage: str
    ledger_table: str

    @classmethod
    def read(cls, variables: Mapping[str, str] = os.environ) -> Self:
        """Read the environment: each field from the variable of its name in capitals.

        Raises:
            KeyError: variables are missing; the message names all of them.
        """
        names = [field.name.upper() for field in fields(cls)]
        missing = [name for name in names if not variables.get(name)]
        if missing:
            raise KeyError(f"environment variables are missing: {', '.join(missing)}")
        return cls(*(variables[name] for name in names))

    def package_group(self, model: str) -> str:
        return f"{self.app}-{model}"

    def pipeline(self, model: str) -> str:
        return f"{self.app}-{model}"

    def endpoint(self, model: str) -> str:
        return f"{self.app}-{model}-{self.stage}"

    def serving_stack(self, model: str) -> str:
        return f"{self.app}-serving-{model}-{self.stage}"

    def record_name(self, model: str) -> str:
        return f"/{self.app}/{model}/{self.stage}/release"


@dataclass(frozen=True)
class Environment(StageEnvironment):
    """What the stack tells the release function besides."""

    artifact_bucket: str
    alert_topic_arn: str
    release_role_arn: str
