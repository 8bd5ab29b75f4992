"""Traffic shifting of a blue/green policy: the steps, computed from the policy.

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
class TrafficStep:
    """One step of the traffic shift; the split stays the same while the alarms are watched.

    Attributes:
        share: the new fleet's share of traffic and capacity; above 0, at most 1.
        wait: seconds of the baking period.
        setting: the policy's member that sets `wait`.
    """

    share: Fraction
    wait: int
    setting: str

    def active(self, instances: int) -> int:
        """Return how many of a variant's instances have traffic."""
        return math.ceil(self.share * instances)


def schedule(config: Mapping[str, Any], instances: int) -> tuple[TrafficStep, ...]:
    """Return the steps of a `DeploymentConfig`; without a policy all traffic moves at once.

    A policy's waits lie between its steps. The last step has all of the traffic and lasts for the termination wait.

    Args:
        config: `DeploymentConfig`.
        instances: number of instances of all variants together, the base of `INSTANCE_COUNT`.
    """
    policy = config.get("BlueGreenUpdatePolicy") or {}
    last = TrafficStep(Fraction(1), int(policy.get("TerminationWaitInSeconds", 0)), "TerminationWaitInSeconds")
    routing = policy.get("TrafficRoutingConfiguration") or {"Type": "ALL_AT_ONCE"}
    if routing["Type"] == "ALL_AT_ONCE":
        return (last,)
    canary = routing["Type"] == "CANARY"
    share = portion(routing["CanarySize" if canary else "LinearStepSize"], instances)
    before = 1 if canary else math.ceil(1 / share) - 1
    wait = int(routing["WaitIntervalInSeconds"])
    return (*(TrafficStep(share * number, wait, "WaitIntervalInSeconds") for number in range(1, before + 1)), last)


def portion(size: Mapping[str, Any], instances: int) -> Fraction:
    """Convert a `CapacitySize` to a share of the fleet; `instances` is at least 1."""
    return Fraction(int(size["Value"]), 100 if size["Type"] == "CAPACITY_PERCENT" else instances)
