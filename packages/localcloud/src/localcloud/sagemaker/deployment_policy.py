"""Validation of `DeploymentConfig`, an endpoint's blue/green policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from localcloud.sagemaker.errors import unsupported, validation
from localcloud.sagemaker.rollout import portion, schedule

# (minimum, maximum) share of the fleet in one batch, in percent
_CANARY = (0, 50)
_LINEAR = (10, 50)


def check_deployment_config(config: Mapping[str, Any], variants: Sequence[Mapping[str, Any]]) -> None:
    """Reject what SageMaker rejects (AWS: "Deployment guardrails"), and rolling updates, which are not supported.

    Raises:
        AwsError: ValidationException that names the member and the value.
    """
    blue_green, rolling = config.get("BlueGreenUpdatePolicy"), config.get("RollingUpdatePolicy")
    if blue_green and rolling:
        raise validation("Only one of BlueGreenUpdatePolicy and RollingUpdatePolicy may be specified.")
    if (blue_green or rolling) and any(variant.get("ServerlessConfig") for variant in variants):
        raise validation("DeploymentConfig is not supported for serverless endpoints.")
    if rolling:
        raise unsupported("RollingUpdatePolicy of a DeploymentConfig (BlueGreenUpdatePolicy is supported)")
    if blue_green:
        _check_blue_green(config, sum(int(variant.get("InitialInstanceCount", 0)) for variant in variants))


def _check_blue_green(config: Mapping[str, Any], fleet: int) -> None:
    policy = config["BlueGreenUpdatePolicy"]
    routing = policy["TrafficRoutingConfiguration"]
    kind = routing["Type"]
    for wanted, member, bounds in (("CANARY", "CanarySize", _CANARY), ("LINEAR", "LinearStepSize", _LINEAR)):
        if kind == wanted and member not in routing:
            raise validation(f"{member} is required for the traffic routing type {kind}.")
        if kind != wanted and member in routing:
            raise validation(f"{member} is not allowed for the traffic routing type {kind}.")
        if kind == wanted:
            _check_share(member, routing[member], fleet, bounds)
    waits = sum(step.wait for step in schedule(config, fleet))
    longest = policy.get("MaximumExecutionTimeoutInSeconds")
    if longest is not None and longest <= waits:
        raise validation(
            f"MaximumExecutionTimeoutInSeconds must be greater than the sum of the waits, {waits}, got {longest}."
        )


def _check_share(member: str, size: Mapping[str, Any], fleet: int, bounds: tuple[int, int]) -> None:
    least, most = bounds
    if fleet < 2:
        raise validation(f"{member} requires at least 2 instances, got {fleet}.")
    if not least <= 100 * portion(size, fleet) <= most:
        raise validation(f"{member} must be between {least}% and {most}% of the fleet of {fleet}, got {size['Value']}.")
