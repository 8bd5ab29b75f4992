"""Endpoints: creation, update, rollback, deletion and invocation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

FIXTURES = Path(__file__).parent / "fixtures"
BROKEN = "broken:1"


@pytest.fixture
def live(harness: Any) -> Any:
    """Return the harness with an endpoint `e` in service with the configuration `one`."""
    harness.sagemaker.create_endpoint(EndpointName="e", EndpointConfigName=harness.create_config("one", "image:1"))
    assert harness.wait_for_endpoint("e")["EndpointStatus"] == "InService"
    return harness


def _runtime(harness: Any) -> Any:
    return harness.client("sagemaker-runtime")


def _ask(harness: Any, body: str = "x", **members: Any) -> str:
    answer = _runtime(harness).invoke_endpoint(EndpointName="e", Body=body.encode(), **members)
    return str(answer["Body"].read().decode())


def test_an_endpoint_comes_into_service_and_answers(live: Any) -> None:
    answer = _runtime(live).invoke_endpoint(
        EndpointName="e", Body=b"1,2", ContentType="text/csv", Accept="text/csv", CustomAttributes="c", InferenceId="i"
    )
    assert answer["Body"].read() == b"image:1|1,2|text/csv"
    assert answer["InvokedProductionVariant"] == "AllTraffic"
    assert (answer["ContentType"], answer["CustomAttributes"]) == ("text/csv", "c")
    described = live.sagemaker.describe_endpoint(EndpointName="e")
    assert described["EndpointConfigName"] == "one"
    variant = described["ProductionVariants"][0]
    assert (variant["CurrentInstanceCount"], variant["CurrentWeight"]) == (2, 1.0)


def test_a_variant_has_the_time_to_start_that_its_configuration_gives(harness: Any) -> None:
    harness.create_config("one")
    variant = {"VariantName": "AllTraffic", "ModelName": "one", "InstanceType": "ml.m5.large"}
    slow = variant | {"InitialInstanceCount": 1, "ContainerStartupHealthCheckTimeoutInSeconds": 900}
    harness.sagemaker.create_endpoint_config(EndpointConfigName="slow", ProductionVariants=[slow])
    harness.sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="slow")
    harness.wait_for_endpoint("e")
    (spec,) = harness.fleet.specs.values()
    assert spec.startup_timeout == 900


def test_the_old_fleet_answers_until_the_new_one_is_in_service(live: Any) -> None:
    live.create_config("two", "image:2")
    live.fleet.gate.clear()
    live.sagemaker.update_endpoint(EndpointName="e", EndpointConfigName="two")
    during = live.sagemaker.describe_endpoint(EndpointName="e")
    assert (during["EndpointStatus"], during["EndpointConfigName"]) == ("Updating", "one")
    assert during["PendingDeploymentSummary"]["EndpointConfigName"] == "two"
    assert _ask(live).startswith("image:1")
    calls: tuple[Callable[[], Any], ...] = (
        lambda: live.sagemaker.update_endpoint(EndpointName="e", EndpointConfigName="two"),
        lambda: live.sagemaker.delete_endpoint(EndpointName="e"),
    )
    for rejected in calls:
        with pytest.raises(ClientError, match=r"ValidationException.*Cannot update in-progress endpoint"):
            rejected()
    live.fleet.gate.set()
    after = live.wait_for_endpoint("e")
    assert (after["EndpointStatus"], after["EndpointConfigName"]) == ("InService", "two")
    assert "PendingDeploymentSummary" not in after
    assert _ask(live).startswith("image:2")
    live.eventually(lambda: len(live.fleet.specs) == 1)


def test_an_update_that_does_not_start_rolls_back(live: Any) -> None:
    live.create_config("bad", BROKEN)
    live.sagemaker.update_endpoint(EndpointName="e", EndpointConfigName="bad")
    after = live.wait_for_endpoint("e")
    assert (after["EndpointStatus"], after["EndpointConfigName"]) == ("InService", "one")
    assert "did not pass the ping" in after["FailureReason"]
    assert _ask(live).startswith("image:1")
    statuses = [
        detail["EndpointStatus"] for kind, _, detail in live.events if kind == "SageMaker Endpoint State Change"
    ]
    assert statuses == ["CREATING", "IN_SERVICE", "UPDATING", "ROLLING_BACK", "IN_SERVICE"]


def test_an_alarm_rolls_a_deployment_back(live: Any) -> None:
    live.create_config("two", "image:2")
    live.cloudwatch.alarms["e-5xx"] = "ALARM"
    live.sagemaker.update_endpoint(
        EndpointName="e",
        EndpointConfigName="two",
        DeploymentConfig={"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "e-5xx"}]}},
    )
    after = live.wait_for_endpoint("e")
    assert after["EndpointConfigName"] == "one"
    assert "e-5xx" in after["FailureReason"]
    live.cloudwatch.alarms["e-5xx"] = "OK"
    live.sagemaker.update_endpoint(EndpointName="e", EndpointConfigName="two")
    assert live.wait_for_endpoint("e")["EndpointConfigName"] == "two"


def test_a_first_deployment_that_fails_is_failed_and_may_be_deleted(harness: Any) -> None:
    harness.sagemaker.create_endpoint(EndpointName="e", EndpointConfigName=harness.create_config("bad", BROKEN))
    failed = harness.wait_for_endpoint("e")
    assert failed["EndpointStatus"] == "Failed"
    assert "did not pass the ping" in failed["FailureReason"]
    with pytest.raises(ClientError, match=r"ValidationError.*Endpoint e of account 000000000000 not found"):
        _ask(harness)
    harness.sagemaker.delete_endpoint(EndpointName="e")
    harness.eventually(lambda: not harness.sagemaker.list_endpoints()["Endpoints"])
    with pytest.raises(ClientError, match=r'ValidationException.*Could not find endpoint "arn:aws:sagemaker'):
        harness.sagemaker.describe_endpoint(EndpointName="e")


def test_retained_variant_properties_survive_an_update(live: Any) -> None:
    live.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName="e", DesiredWeightsAndCapacities=[{"VariantName": "AllTraffic", "DesiredInstanceCount": 5}]
    )
    live.wait_for_endpoint("e")
    live.create_config("two", "image:2")
    live.sagemaker.update_endpoint(EndpointName="e", EndpointConfigName="two", RetainAllVariantProperties=True)
    assert live.wait_for_endpoint("e")["ProductionVariants"][0]["DesiredInstanceCount"] == 5
    live.create_config("three", "image:3")
    live.sagemaker.update_endpoint(EndpointName="e", EndpointConfigName="three")
    assert live.wait_for_endpoint("e")["ProductionVariants"][0]["DesiredInstanceCount"] == 2


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"Type": "CANARY", "WaitIntervalInSeconds": 60}, "CanarySize is required"),
        (
            {"Type": "CANARY", "WaitIntervalInSeconds": 60, "CanarySize": {"Type": "INSTANCE_COUNT", "Value": 2}},
            "between 0% and 50% of the fleet of 2, got 2",
        ),
        (
            {"Type": "LINEAR", "WaitIntervalInSeconds": 60, "LinearStepSize": {"Type": "CAPACITY_PERCENT", "Value": 5}},
            "between 10% and 50%",
        ),
        (
            {"Type": "CANARY", "WaitIntervalInSeconds": 600, "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 50}},
            "greater than the sum of the waits, 600",
        ),
    ],
)
def test_a_deployment_policy_that_aws_rejects_is_rejected(live: Any, policy: dict[str, Any], message: str) -> None:
    live.create_config("two", "image:2")
    blue_green = {"TrafficRoutingConfiguration": policy, "MaximumExecutionTimeoutInSeconds": 600}
    with pytest.raises(ClientError, match=message):
        live.sagemaker.update_endpoint(
            EndpointName="e", EndpointConfigName="two", DeploymentConfig={"BlueGreenUpdatePolicy": blue_green}
        )


def test_model_errors_and_oversized_bodies_are_reported_as_by_aws(live: Any) -> None:
    with pytest.raises(ClientError) as caught:
        _ask(live, "bad")
    response: dict[str, Any] = dict(caught.value.response)
    assert response["Error"]["Code"] == "ModelError"
    assert (response["OriginalStatusCode"], response["OriginalMessage"]) == (400, "wrong columns")
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert 'Received client error (400) from primary with message "wrong columns"' in response["Error"]["Message"]
    with pytest.raises(ClientError, match=r"ValidationError.*less than or equal to 6291456"):
        _ask(live, "x" * (6 * 1024 * 1024 + 1))
    with pytest.raises(ClientError, match="Variant Nope is not found"):
        _ask(live, TargetVariant="Nope")
    with pytest.raises(ClientError, match="does not support TargetModel"):
        _ask(live, TargetModel="m")


def test_a_serverless_endpoint_accepts_four_megabytes_and_captures_nothing(harness: Any) -> None:
    harness.sagemaker.create_model(
        ModelName="m", PrimaryContainer={"Image": "i"}, ExecutionRoleArn="arn:aws:iam::000000000000:role/model"
    )
    variant = {"VariantName": "V", "ModelName": "m", "ServerlessConfig": {"MemorySizeInMB": 2048, "MaxConcurrency": 2}}
    capture = {
        "InitialSamplingPercentage": 100,
        "EnableCapture": True,
        "DestinationS3Uri": "s3://b/c",
        "CaptureOptions": [{"CaptureMode": "Input"}],
    }
    with pytest.raises(ClientError, match="not supported for serverless"):
        harness.sagemaker.create_endpoint_config(
            EndpointConfigName="c", ProductionVariants=[variant], DataCaptureConfig=capture
        )
    harness.sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
    harness.sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
    assert harness.wait_for_endpoint("e")["EndpointStatus"] == "InService"
    with pytest.raises(ClientError, match="less than or equal to 4194304"):
        _ask(harness, "x" * (4 * 1024 * 1024 + 1))


def test_traffic_is_routed_by_weight_or_to_the_target_variant(harness: Any) -> None:
    for name, image in (("a", "image:a"), ("b", "image:b")):
        harness.sagemaker.create_model(
            ModelName=name, PrimaryContainer={"Image": image}, ExecutionRoleArn="arn:aws:iam::000000000000:role/model"
        )
    variants = [
        {"VariantName": name, "ModelName": name, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1,
         "InitialVariantWeight": weight}
        for name, weight in (("a", 1.0), ("b", 0.0))
    ]  # fmt: skip
    harness.sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=variants)
    harness.sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
    harness.wait_for_endpoint("e")
    assert {_ask(harness).split("|")[0] for _ in range(10)} == {"image:a"}
    assert _ask(harness, TargetVariant="b").startswith("image:b")


def test_a_model_needs_an_approved_package(harness: Any, specification: dict[str, Any]) -> None:
    client = harness.sagemaker
    client.create_model_package_group(ModelPackageGroupName="g")
    specification["Containers"][0]["Environment"] = {"A": "1", "B": "2"}
    arn = client.create_model_package(ModelPackageGroupName="g", InferenceSpecification=specification)[
        "ModelPackageArn"
    ]
    role = "arn:aws:iam::000000000000:role/model"
    container = {"ModelPackageName": arn, "Environment": {"B": "3"}}
    with pytest.raises(ClientError, match="its approval status is PendingManualApproval"):
        client.create_model(ModelName="m", PrimaryContainer=container, ExecutionRoleArn=role)
    client.update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Approved")
    client.create_model(ModelName="m", PrimaryContainer=container, ExecutionRoleArn=role)
    variant = {"VariantName": "V", "ModelName": "m", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    client.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
    client.create_endpoint(EndpointName="e", EndpointConfigName="c")
    harness.wait_for_endpoint("e")
    (spec,) = harness.fleet.specs.values()
    assert spec.model_data_url == "s3://ml-artifacts/churn/7/model.tar.gz"
    assert dict(spec.environment) == {"A": "1", "B": "3"}


def test_after_a_crash_workers_restart_and_an_update_is_rolled_back(live: Any) -> None:
    live.create_config("two", "image:2")
    live.sagemaker.delete_endpoint_config(EndpointConfigName="one")  # running workers do not need it any more
    live.crash()
    assert not live.fleet.specs
    live.control_plane.recover()
    assert _ask(live).startswith("image:1")
    live.store.update(
        "Endpoint",
        "e",
        EndpointStatus="Updating",
        Retained={},
        RetainCapture=False,
        PendingDeploymentSummary={"EndpointConfigName": "two", "StartTime": 0, "ProductionVariants": []},
    )
    live.crash()
    live.control_plane.recover()
    after = live.wait_for_endpoint("e")
    assert after["EndpointConfigName"] == "one"
    assert "stopped during the deployment" in after["FailureReason"]
    assert _ask(live).startswith("image:1")


def test_missing_and_existing_resources_give_awss_errors(live: Any) -> None:
    client = live.sagemaker
    variant = {"VariantName": "V", "ModelName": "nope", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    calls: tuple[tuple[Callable[[], Any], str], ...] = (
        (lambda: live.create_config("one"), r'Cannot create already existing model "arn:aws:sagemaker'),
        (
            lambda: client.create_endpoint(EndpointName="f", EndpointConfigName="x"),
            "Could not find endpoint configuration",
        ),
        (lambda: client.create_endpoint(EndpointName="e", EndpointConfigName="one"), "already existing endpoint"),
        (
            lambda: client.create_endpoint_config(EndpointConfigName="n", ProductionVariants=[variant]),
            r'Could not find model "arn:aws:sagemaker:us-east-1:000000000000:model/nope"',
        ),
    )
    for call, message in calls:
        with pytest.raises(ClientError, match=f"ValidationException.*{message}"):
            call()


@pytest.mark.parametrize(
    ("fixture", "status"), [("endpoint_in_service", "IN_SERVICE"), ("endpoint_deployment_baking", "UPDATING")]
)
def test_events_have_awss_fields(live: Any, fixture: str, status: str) -> None:
    want = json.loads((FIXTURES / f"{fixture}.json").read_text())
    live.create_config("two", "image:2")
    live.sagemaker.update_endpoint(EndpointName="e", EndpointConfigName="two")
    live.wait_for_endpoint("e")
    found = [one for one in live.events if one[0] == want["detail-type"] and one[2]["EndpointStatus"] == status]
    _, resources, detail = found[-1]
    assert resources == [detail["EndpointArn"]]
    assert set(detail) == set(want["detail"])
    assert set(detail["ProductionVariants"][0]) >= set(want["detail"]["ProductionVariants"][0])
    pending = want["detail"].get("PendingDeploymentSummary")
    if pending:
        assert set(detail["PendingDeploymentSummary"]) == set(pending)
        assert set(detail["PendingDeploymentSummary"]["ProductionVariants"][0]) == set(pending["ProductionVariants"][0])
        assert detail["EndpointConfigName"] == "one"
    assert 10**12 < detail["CreationTime"] < 10**13  # milliseconds


def test_boto3s_waiters_end(live: Any) -> None:
    live.sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="e")
    live.sagemaker.delete_endpoint(EndpointName="e")
    live.sagemaker.get_waiter("endpoint_deleted").wait(EndpointName="e", WaiterConfig={"Delay": 1})
