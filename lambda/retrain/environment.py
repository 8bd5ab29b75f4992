"""The retrain function's environment."""

from __future__ import annotations

from dataclasses import dataclass

from shared.environment import StageEnvironment


@dataclass(frozen=True)
class RetrainEnvironment(StageEnvironment):
    """Settings of the retrain function (docs/reference/contracts.md, "Functions")."""

    data_bucket: str
    alert_topic_arn: str

    def policy_name(self, model: str) -> str:
        return f"/{self.app}/{model}/retraining"
