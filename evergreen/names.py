"""Names that a model's parts have in an account."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Names:
    """The names that a model's parts have in an account (docs/reference/contracts.md, "Names")."""

    app: str
    name: str
    stage: str

    @property
    def group(self) -> str:
        """The model package group and the SageMaker Pipeline."""
        return f"{self.app}-{self.name}"

    @property
    def endpoint(self) -> str:
        """The endpoint."""
        return f"{self.app}-{self.name}-{self.stage}"

    @property
    def record(self) -> str:
        """The SSM parameter with the release record."""
        return f"/{self.app}/{self.name}/{self.stage}/release"

    @property
    def serving_stack(self) -> str:
        """The stack that serves the model in the stage."""
        return f"{self.app}-serving-{self.name}-{self.stage}"

    @property
    def monitoring_stack(self) -> str:
        """The stack that monitors the model in the stage."""
        return f"{self.app}-monitoring-{self.name}-{self.stage}"

    @property
    def training_stack(self) -> str:
        """The stack that trains the model."""
        return f"{self.app}-training-{self.name}"

    @property
    def platform_stack(self) -> str:
        """The stack that the stage's models share."""
        return f"{self.app}-platform-{self.stage}"
