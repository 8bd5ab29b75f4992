"""A handler's environment, read once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Environment:
    """What the stack tells the release function, and the names that follow from it (docs/contracts.md, "Names")."""

    app: str
    stage: str
    ledger_table: str
    artifact_bucket: str
    alert_topic_arn: str
    release_role_arn: str

    @classmethod
    def read(cls, variables: Mapping[str, str] = os.environ) -> Environment:
        """Read the environment.

        Raises:
            KeyError: variables are missing; the message names all of them.
        """
        fields = tuple(name.upper() for name in cls.__dataclass_fields__)
        missing = [name for name in fields if not variables.get(name)]
        if missing:
            raise KeyError(f"environment variables are missing: {', '.join(missing)}")
        return cls(*(variables[name] for name in fields))

    def package_group(self, model: str) -> str:
        return f"{self.app}-{model}"

    def endpoint(self, model: str) -> str:
        return f"{self.app}-{model}-{self.stage}"

    def serving_stack(self, model: str) -> str:
        return f"{self.app}-serving-{model}-{self.stage}"

    def record_name(self, model: str) -> str:
        return f"/{self.app}/{model}/{self.stage}/release"
