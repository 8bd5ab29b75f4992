"""Traffic shifting: a policy's steps, and sampling with an exact rate."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localcloud.sagemaker.rollout import schedule
from localcloud.sagemaker.sampling import BlockSampler


def blue_green(routing: dict[str, Any], termination: int = 300) -> dict[str, Any]:
    return {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing, "TerminationWaitInSeconds": termination}}


def size(kind: str, value: int) -> dict[str, Any]:
    return {"Type": kind, "Value": value}


@pytest.mark.parametrize(
    ("config", "instances", "steps"),
    [
        ({}, 2, [(1, 0)]),
        (blue_green({"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 60}), 2, [(1, 300)]),
        (
            blue_green(
                {"Type": "CANARY", "WaitIntervalInSeconds": 600, "CanarySize": size("CAPACITY_PERCENT", 30)},
            ),
            4,
            [(Fraction(3, 10), 600), (1, 300)],
        ),
        (
            blue_green({"Type": "CANARY", "WaitIntervalInSeconds": 600, "CanarySize": size("INSTANCE_COUNT", 1)}),
            4,
            [(Fraction(1, 4), 600), (1, 300)],
        ),
        (
            blue_green({"Type": "LINEAR", "WaitIntervalInSeconds": 60, "LinearStepSize": size("INSTANCE_COUNT", 1)}),
            3,
            [(Fraction(1, 3), 60), (Fraction(2, 3), 60), (1, 300)],
        ),
        (
            blue_green({"Type": "LINEAR", "WaitIntervalInSeconds": 60, "LinearStepSize": size("CAPACITY_PERCENT", 40)}),
            5,
            [(Fraction(2, 5), 60), (Fraction(4, 5), 60), (1, 300)],
        ),
    ],
)
def test_a_policy_is_converted_to_steps(config: dict[str, Any], instances: int, steps: list[tuple[Any, int]]) -> None:
    assert [(step.share, step.wait) for step in schedule(config, instances)] == steps


def test_a_fraction_of_an_instance_is_rounded_up() -> None:
    (canary, _) = schedule(
        blue_green({"Type": "CANARY", "WaitIntervalInSeconds": 1, "CanarySize": size("CAPACITY_PERCENT", 10)}), 4
    )
    assert (canary.active(4), canary.share) == (1, Fraction(1, 10))


@given(percent=st.integers(1, 100), blocks=st.integers(1, 10))
def test_the_rate_is_exact_over_every_twenty_draws(percent: int, blocks: int) -> None:
    share = Fraction(percent, 100)
    sampler = BlockSampler(share)
    hits = sum(sampler.draw() for _ in range(20 * blocks))
    assert share * 20 * blocks - 1 < hits <= share * 20 * blocks


def test_draws_have_no_regular_pattern() -> None:
    sampler = BlockSampler(Fraction(1, 2))
    drawn = [sampler.draw() for _ in range(2000)]
    assert 300 < sum(drawn[::2]) < 700
