"""The verify function's environment."""

from __future__ import annotations

from dataclasses import dataclass

from shared.environment import StageEnvironment


@dataclass(frozen=True)
class VerifyEnvironment(StageEnvironment):
    """What the stack tells the verify function besides (docs/reference/contracts.md, "Stages")."""

    artifact_bucket: str
    alert_topic_arn: str
