"""Updates that shift traffic, bake, and roll back on alarms; the tests move the clock."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest
from botocore.exceptions import ClientError

from localcloud.cfn import CfnContext
from localcloud.sagemaker import CFN_TYPES
from localcloud.sagemaker.cfn import ResourceFailed
from localcloud.sagemaker.faults import Faults, InvalidFault
from localcloud.sagemaker.stack_outcomes import StackOutcomes

BAKE, TERMINATION = 600, 300
CANARY = {"Type": "CANARY", "WaitIntervalInSeconds": BAKE, "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 50}}
ARN = "arn:aws:sagemaker:us-east-1:000000000000:endpoint/e"


def deployment(routing: dict[str, Any], **policy: Any) -> dict[str, Any]:
    return {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": routing,
            "TerminationWaitInSeconds": TERMINATION,
            **policy,
        },
        "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "e-5xx"}]},
    }


@pytest.fixture
def live(harness: Any) -> Any:
    """Return the harness with an endpoint `e` in service with the configuration `one`, and a configuration `two`."""
    harness.sagemaker.create_endpoint(EndpointName="e", EndpointConfigName=harness.create_config("one", "image:1"))
    assert harness.wait_for_endpoint("e")["EndpointStatus"] == "InService"
    harness.create_config("two", "image:2")
    return harness


def update(harness: Any, routing: dict[str, Any], **policy: Any) -> None:
    harness.sagemaker.update_endpoint(
        EndpointName="e", EndpointConfigName="two", DeploymentConfig=deployment(routing, **policy)
    )
    baking(harness, 1)


def described(harness: Any) -> dict[str, Any]:
    found: dict[str, Any] = harness.sagemaker.describe_endpoint(EndpointName="e")
    return found


def baking(harness: Any, instances: int) -> dict[str, Any]:
    """Wait until the new fleet bakes with this number of instances, and return its variant."""

    def check() -> dict[str, Any] | None:
        (variant,) = described(harness).get("PendingDeploymentSummary", {}).get("ProductionVariants", [{}])
        baked = variant.get("VariantStatus", [{}])[0].get("Status") == "Baking"
        return (
            variant
            if baked and variant["CurrentInstanceCount"] == instances and harness.control_plane.baking.waiting()
            else None
        )

    found: dict[str, Any] = harness.eventually(check)
    return found


def answers(harness: Any, count: int) -> Counter[str]:
    """Send requests; count the responses by the fleet's image or the error's code."""
    runtime, found = harness.client("sagemaker-runtime"), Counter[str]()
    for _ in range(count):
        try:
            found[runtime.invoke_endpoint(EndpointName="e", Body=b"x")["Body"].read().decode().split("|")[0]] += 1
        except ClientError as error:
            found[error.response["Error"]["Code"]] += 1
    return found


def test_a_canary_gets_its_share_then_all_traffic_then_the_old_fleet_stops(live: Any) -> None:
    update(live, CANARY)
    shown = baking(live, 1)
    assert (shown["CurrentWeight"], shown["DesiredInstanceCount"]) == (1.0, 2)
    assert "600 seconds (WaitIntervalInSeconds)" in shown["VariantStatus"][0]["StatusMessage"]
    assert answers(live, 40) == {"image:1": 20, "image:2": 20}
    live.advance(BAKE - 30)
    assert described(live)["EndpointConfigName"] == "one"
    live.advance(40)
    baking(live, 2)
    assert answers(live, 20) == {"image:2": 20}
    assert len(live.fleet.specs) == 2, "the old fleet runs until the last baking period is over"
    live.advance(TERMINATION)
    after = live.wait_for_endpoint("e")
    assert (after["EndpointStatus"], after["EndpointConfigName"]) == ("InService", "two")
    live.eventually(lambda: len(live.fleet.specs) == 1)
    stages = [
        detail["PendingDeploymentSummary"]["ProductionVariants"][0]["VariantStatus"][0]["Status"]
        for kind, _, detail in live.events
        if kind == "SageMaker Endpoint Deployment State Change"
    ]
    assert stages == ["Creating", "ActivatingTraffic", "Baking", "ActivatingTraffic", "Baking"]


def test_with_the_real_clock_a_deployment_completes(live: Any) -> None:
    config = deployment({**CANARY, "WaitIntervalInSeconds": 1}, TerminationWaitInSeconds=1)
    began = live.clock.now()
    live.sagemaker.update_endpoint(EndpointName="e", EndpointConfigName="two", DeploymentConfig=config)
    after = live.wait_for_endpoint("e")
    assert after["EndpointConfigName"] == "two"
    assert 2 <= (live.clock.now() - began).total_seconds() < 9


def test_a_linear_shift_gives_each_step_its_share(live: Any) -> None:
    live.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName="e", DesiredWeightsAndCapacities=[{"VariantName": "AllTraffic", "DesiredInstanceCount": 4}]
    )
    live.wait_for_endpoint("e")
    routing = {
        "Type": "LINEAR",
        "WaitIntervalInSeconds": 60,
        "LinearStepSize": {"Type": "CAPACITY_PERCENT", "Value": 25},
    }
    live.sagemaker.update_endpoint(
        EndpointName="e",
        EndpointConfigName="two",
        DeploymentConfig=deployment(routing),
        RetainAllVariantProperties=True,
    )
    for step in (1, 2, 3, 4):
        baking(live, step)
        assert answers(live, 40)["image:2"] == 10 * step
        live.advance(60 if step < 4 else TERMINATION)
    assert live.wait_for_endpoint("e")["EndpointConfigName"] == "two"


@pytest.mark.parametrize("when", ["canary", "termination"])
def test_an_alarm_in_any_baking_period_rolls_back(live: Any, when: str) -> None:
    update(live, CANARY)
    if when == "termination":
        live.advance(BAKE)
        baking(live, 2)
    live.cloudwatch.alarms["e-5xx"] = "ALARM"
    live.control_plane.baking.run_due()
    after = live.wait_for_endpoint("e")
    assert (after["EndpointStatus"], after["EndpointConfigName"]) == ("InService", "one")
    assert "alarm e-5xx is in ALARM" in after["FailureReason"]
    assert "PendingDeploymentSummary" not in after
    assert answers(live, 10) == {"image:1": 10}
    assert len(live.fleet.specs) == 1
    rolling = [
        detail for kind, _, detail in live.events
        if kind == "SageMaker Endpoint Deployment State Change" and detail["EndpointStatus"] == "ROLLING_BACK"
    ]  # fmt: skip
    assert rolling[0]["PendingDeploymentSummary"]["ProductionVariants"][0]["CurrentInstanceCount"] == 0


def test_a_deployment_over_its_maximum_time_rolls_back(live: Any) -> None:
    live.fleet.gate.clear()
    live.sagemaker.update_endpoint(
        EndpointName="e",
        EndpointConfigName="two",
        DeploymentConfig=deployment(CANARY, MaximumExecutionTimeoutInSeconds=BAKE + TERMINATION + 1),
    )
    live.advance(500)  # the new fleet starts slowly
    live.fleet.gate.set()
    baking(live, 1)
    live.advance(450)
    after = live.wait_for_endpoint("e")
    assert after["EndpointConfigName"] == "one"
    assert "MaximumExecutionTimeoutInSeconds" in after["FailureReason"]


def test_a_baking_deployment_does_not_hold_the_clock_and_its_end_is_due(live: Any) -> None:
    began = live.clock.now().timestamp()
    update(live, CANARY)
    assert live.control_plane.baking.waiting() == {ARN}
    assert live.control_plane.activity.under_way() == []
    assert live.control_plane.baking.next_due(0) == pytest.approx(began + BAKE, abs=5)
    live.advance(BAKE + TERMINATION)
    live.eventually(lambda: live.control_plane.activity.under_way() == [] and live.control_plane.baking.waiting())


def test_a_baking_endpoint_cannot_be_updated_or_deleted(live: Any) -> None:
    update(live, CANARY)
    with pytest.raises(ClientError, match=r"ValidationException.*Cannot update in-progress endpoint"):
        live.sagemaker.update_endpoint(EndpointName="e", EndpointConfigName="two")
    with pytest.raises(ClientError, match=r"ValidationException.*Cannot update in-progress endpoint"):
        live.sagemaker.delete_endpoint(EndpointName="e")


def test_after_a_kill_during_a_canary_the_old_fleet_serves(live: Any) -> None:
    update(live, CANARY)
    live.crash()
    live.control_plane.recover()
    after = live.wait_for_endpoint("e")
    assert (after["EndpointStatus"], after["EndpointConfigName"]) == ("InService", "one")
    assert "stopped during the deployment" in after["FailureReason"]
    assert answers(live, 4) == {"image:1": 4}
    live.sagemaker.update_endpoint(EndpointName="e", EndpointConfigName="two", DeploymentConfig=deployment(CANARY))
    baking(live, 1)


def test_a_rolling_policy_is_rejected_by_name(live: Any) -> None:
    rolling = {"MaximumBatchSize": {"Type": "CAPACITY_PERCENT", "Value": 50}, "WaitIntervalInSeconds": 60}
    with pytest.raises(ClientError, match="does not support RollingUpdatePolicy"):
        live.sagemaker.update_endpoint(
            EndpointName="e", EndpointConfigName="two", DeploymentConfig={"RollingUpdatePolicy": rolling}
        )


def test_a_stack_waits_for_the_whole_deployment_and_fails_where_it_was_rolled_back(live: Any) -> None:
    context = CfnContext("s", "E", "s-E", lambda service: live.client(service))
    new = {"EndpointConfigName": "two", "DeploymentConfig": deployment(CANARY)}
    reasons: list[str] = []

    def update_resource() -> None:
        try:
            CFN_TYPES["AWS::SageMaker::Endpoint"].update(context, ARN, {"EndpointConfigName": "one"}, new)
        except Exception as error:  # noqa: BLE001 (CloudFormation's engine shows the text of any exception)
            reasons.append(str(error))

    worker = threading.Thread(target=update_resource)
    worker.start()
    baking(live, 1)
    live.advance(BAKE)
    baking(live, 2)
    assert worker.is_alive()
    live.cloudwatch.alarms["e-5xx"] = "ALARM"
    live.control_plane.baking.run_due()
    worker.join(10)
    assert "was not updated to two" in reasons[0]
    assert "e-5xx is in ALARM" in reasons[0]


@pytest.mark.parametrize("outcome", ["UPDATE_COMPLETE", "UPDATE_ROLLBACK_FAILED"])
def test_the_stack_outcome_of_a_rolled_back_endpoint_can_be_chosen_once(live: Any, outcome: str) -> None:
    outcomes = StackOutcomes(live.store)
    endpoint_type = outcomes.wrap(CFN_TYPES["AWS::SageMaker::Endpoint"])
    context = CfnContext("s", "E", "s-E", lambda service: live.client(service))
    old, new = {"EndpointConfigName": "one"}, {"EndpointConfigName": live.create_config("bad", "broken:1")}
    outcomes.choose("e", outcome)
    if outcome == "UPDATE_COMPLETE":
        assert endpoint_type.update(context, ARN, old, new).physical_id == ARN
        assert described(live)["EndpointConfigName"] == "one"
    else:
        with pytest.raises(ResourceFailed, match="was not updated to bad"):
            endpoint_type.update(context, ARN, old, new)
        with pytest.raises(ResourceFailed, match="not restored"):
            endpoint_type.update(context, ARN, new, old)  # the stack's rollback
        endpoint_type.update(context, ARN, new, old)  # continued
    assert outcomes.all() == {}
    with pytest.raises(ResourceFailed, match="was not updated to bad"):
        endpoint_type.update(context, ARN, old, new)


def test_metrics_have_the_fleets_dimensions_and_microseconds(live: Any) -> None:
    with pytest.raises(ClientError):
        live.client("sagemaker-runtime").invoke_endpoint(EndpointName="e", Body=b"bad")
    update(live, CANARY)
    live.control_plane.faults.inject("e", "two", error_rate=0.5)
    counts = answers(live, 40)
    assert counts == {"image:1": 20, "image:2": 10, "ModelError": 10}
    live.control_plane.metrics.flush()

    def total(metric: str, **dimensions: str) -> tuple[float, float]:
        """Return the sum and number of the metric's values with exactly these dimensions."""
        wanted = sorted(dimensions.items())
        found = [
            (value, count)
            for datum in live.cloudwatch.data
            if datum["MetricName"] == metric and datum["Namespace"] == "AWS/SageMaker"
            and sorted((pair["Name"], pair["Value"]) for pair in datum["Dimensions"]) == wanted
            for value, count in zip(datum["Values"], datum["Counts"], strict=True)
        ]  # fmt: skip
        return sum(value * count for value, count in found), sum(count for _, count in found)

    of_endpoint = {"EndpointName": "e", "VariantName": "AllTraffic"}
    new, old = ({**of_endpoint, "EndpointConfigName": name} for name in ("two", "one"))
    assert total("Invocations", **of_endpoint) == (41, 41)
    assert total("Invocation5XXErrors", **of_endpoint) == (10, 41)
    assert total("Invocation4XXErrors", **of_endpoint) == (1, 41)
    assert total("Invocation5XXErrors", **old)[0] == 0
    assert total("Invocation5XXErrors", **new)[0] == 10
    for latency in ("ModelLatency", "OverheadLatency"):
        summed, count = total(latency, **new)
        assert 1 <= summed / count < 1e6
        assert {one["Unit"] for one in live.cloudwatch.data if one["MetricName"] == latency} == {"Microseconds"}


def test_a_fault_affects_only_its_instance_and_ends_with_its_fleet(live: Any) -> None:
    faults: Faults = live.control_plane.faults
    faults.inject("e", "one", 0, error_rate=1.0)
    counts = answers(live, 100)
    assert 20 < counts["ModelError"] < 80, "about half, because one of two instances is faulty"
    live.crash()
    live.control_plane.recover()
    assert [fault.error_rate for fault in live.control_plane.faults.all()] == [1.0]
    assert live.control_plane.faults.clear("e", "one") == 1
    assert answers(live, 10) == {"image:1": 10}
    update(live, CANARY)
    live.control_plane.faults.inject("e", "two", latency_ms=1)
    live.cloudwatch.alarms["e-5xx"] = "ALARM"
    live.control_plane.baking.run_due()
    live.wait_for_endpoint("e")
    assert live.control_plane.faults.all() == []


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"endpoint": "x", "config": "one", "error_rate": 0.2}, "there is no endpoint x"),
        ({"endpoint": "e", "config": "two", "error_rate": 0.2}, "has no fleet of two; it has: one"),
        ({"endpoint": "e", "config": "one", "instance": 2, "error_rate": 0.2}, "instances 0 to 1, got 2"),
        ({"endpoint": "e", "config": "one", "error_rate": 1.2}, "from 0 to 1, got 1.2"),
        ({"endpoint": "e", "config": "one", "latency_ms": 60001}, "from 0 to 60000"),
        ({"endpoint": "e", "config": "one"}, "error_rate or a latency_ms above 0"),
    ],
)
def test_an_invalid_fault_is_rejected_with_one_line(live: Any, members: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidFault, match=message):
        live.control_plane.faults.inject(**members)


def test_the_models_role_must_describe_the_rollback_alarms(live: Any) -> None:
    denied = ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "DescribeAlarms")
    live.cloudwatch.refusal = denied
    request = {"EndpointName": "e", "EndpointConfigName": "two", "DeploymentConfig": deployment(CANARY)}
    live.sagemaker.update_endpoint(**request)
    found = live.wait_for_endpoint("e")
    assert found["EndpointConfigName"] == "one"
    assert "cloudwatch:DescribeAlarms" in found["FailureReason"]
    assert "role/pipeline" in found["FailureReason"]
