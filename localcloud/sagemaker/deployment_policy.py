"""`DeploymentConfig`: what SageMaker accepts as blue/green and rolling policies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from localcloud.sagemaker.errors import validation

_DEFAULT_MAXIMUM_EXECUTION = 600
# (least, most) share of the fleet that one batch may have, in percent
_CANARY = (0, 50)
_LINEAR = (10, 50)
_ROLLING = (5, 50)


def check_deployment_config(config: Mapping[str, Any], variants: Sequence[Mapping[str, Any]]) -> None:
    """Refuse what SageMaker refuses (AWS: "Deployment guardrails").

    Raises:
        AwsError: ValidationException that names the member and the value.
    """
    blue_green, rolling = config.get("BlueGreenUpdatePolicy"), config.get("RollingUpdatePolicy")
    if blue_green and rolling:
        raise validation("Only one of BlueGreenUpdatePolicy and RollingUpdatePolicy may be specified.")
    if (blue_green or rolling) and any(variant.get("ServerlessConfig") for variant in variants):
        raise validation("DeploymentConfig is not supported for serverless endpoints.")
    fleet = sum(int(variant.get("InitialInstanceCount", 0)) for variant in variants)
    if blue_green:
        _check_blue_green(blue_green, fleet)
    if rolling:
        _check_share("RollingUpdatePolicy.MaximumBatchSize", rolling["MaximumBatchSize"], fleet, _ROLLING)


def _check_blue_green(policy: Mapping[str, Any], fleet: int) -> None:
    routing = policy["TrafficRoutingConfiguration"]
    kind, wait = routing["Type"], routing["WaitIntervalInSeconds"]
    waits = policy.get("TerminationWaitInSeconds", 0)
    for wanted, member, bounds in (("CANARY", "CanarySize", _CANARY), ("LINEAR", "LinearStepSize", _LINEAR)):
        if kind == wanted and member not in routing:
            raise validation(f"{member} is required for the traffic routing type {kind}.")
        if kind != wanted and member in routing:
            raise validation(f"{member} is not allowed for the traffic routing type {kind}.")
        if kind == wanted:
            batches = _check_share(member, routing[member], fleet, bounds)
            waits += wait * (batches if kind == "LINEAR" else 1)
    longest = policy.get("MaximumExecutionTimeoutInSeconds", _DEFAULT_MAXIMUM_EXECUTION)
    if "MaximumExecutionTimeoutInSeconds" in policy and longest <= waits:
        raise validation(
            f"MaximumExecutionTimeoutInSeconds must be greater than the sum of the waits, {waits}, got {longest}."
        )


def _check_share(member: str, size: Mapping[str, Any], fleet: int, bounds: tuple[int, int]) -> int:
    """Return how many batches of `size` a fleet has."""
    value = size["Value"]
    share = value if size["Type"] == "CAPACITY_PERCENT" else 100 * value / max(fleet, 1)
    least, most = bounds
    if fleet < 2:
        raise validation(f"{member} requires at least 2 instances, got {fleet}.")
    if not least <= share <= most:
        raise validation(f"{member} must be between {least}% and {most}% of the fleet of {fleet}, got {value}.")
    return math.ceil(100 / float(share))
