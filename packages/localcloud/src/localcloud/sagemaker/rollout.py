"""How a blue/green policy shifts traffic: pure arithmetic, from a policy to its steps.

Source: SageMaker Developer Guide, "Deployment guardrails": "Use canary traffic shifting", "Use linear traffic
shifting", "Use all at once traffic shifting".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any


@dataclass(frozen=True)
class Step:
    """One state of the traffic, held while the alarms are watched.

    Attributes:
        share: of the traffic and of the capacity, to the new fleet; above 0, at most 1.
        wait: seconds that it is held (the baking).
        setting: the policy's member that says how long.
    """

    share: Fraction
    wait: int
    setting: str

    def active(self, instances: int) -> int:
        """How many of a variant's instances have traffic."""
        return math.ceil(self.share * instances)


def schedule(config: Mapping[str, Any], instances: int) -> tuple[Step, ...]:
    """The steps that `DeploymentConfig` asks for; all traffic at once where it has no policy.

    The waits of a policy lie between its steps; the last step, all of the traffic, is held for the termination wait.

    Args:
        instances: of all variants together, which `INSTANCE_COUNT` counts against.
    """
    policy = config.get("BlueGreenUpdatePolicy") or {}
    last = Step(Fraction(1), int(policy.get("TerminationWaitInSeconds", 0)), "TerminationWaitInSeconds")
    routing = policy.get("TrafficRoutingConfiguration") or {"Type": "ALL_AT_ONCE"}
    if routing["Type"] == "ALL_AT_ONCE":
        return (last,)
    canary = routing["Type"] == "CANARY"
    share = portion(routing["CanarySize" if canary else "LinearStepSize"], instances)
    before = 1 if canary else math.ceil(1 / share) - 1
    wait = int(routing["WaitIntervalInSeconds"])
    return (*(Step(share * number, wait, "WaitIntervalInSeconds") for number in range(1, before + 1)), last)


def portion(size: Mapping[str, Any], instances: int) -> Fraction:
    """A `CapacitySize` as a share of the fleet; `instances` is at least 1."""
    return Fraction(int(size["Value"]), 100 if size["Type"] == "CAPACITY_PERCENT" else instances)
