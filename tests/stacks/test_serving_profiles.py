"""Each serving profile and deployment strategy becomes what SageMaker calls it."""

from __future__ import annotations

from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sagemaker as sagemaker
from aws_cdk import aws_sns as sns
from aws_cdk.assertions import Template
from pydantic import TypeAdapter

from configuration import Realtime, Serving
from constructs.mlops.serving.endpoint import Endpoint
from constructs.mlops.serving.release import Release
from constructs.mlops.serving.served_model import ServedModel

REALTIME: dict[str, Any] = {
    "profile": "realtime",
    "instance_type": "ml.m5.large",
    "instances": {"min": 2, "max": 4},
    "invocations_per_instance": 600,
    "capture_percent": 20,
    "deployment": {"strategy": "all_at_once", "bake_minutes": 5},
    "alarms": {"error_percent": 2.5, "latency_ms": 250},
}


def served(document: dict[str, Any]) -> Template:
    serving: Serving = TypeAdapter(Serving).validate_python(document)
    stack = cdk.Stack(cdk.App(), "Stack", env=cdk.Environment(region="us-east-1"))
    key, bucket = kms.Key(stack, "Key"), s3.Bucket(stack, "Bucket")
    release = Release(stack, "Release", record="/green/m/prod/release")
    realtime = isinstance(serving, Realtime)
    model = ServedModel(
        stack,
        "Served",
        app="green",
        model="m",
        release=release,
        isolated=realtime,
        captures=realtime,
        image_uri="123456789012.dkr.ecr.us-east-1.amazonaws.com/image:1",
        data=bucket,
        artifacts=bucket,
        key=key,
    )
    Endpoint(
        stack,
        "Endpoint",
        app="green",
        name="green-m-prod",
        serving=serving,
        release=release,
        served=model,
        capture_prefix="m/capture",
        data=bucket,
        key=key,
        alerts=sns.Topic(stack, "Topic"),
    )
    return Template.from_stack(stack)


def properties(template: Template, kind: Any) -> dict[str, Any]:
    ((_, resource),) = template.find_resources(kind.CFN_RESOURCE_TYPE_NAME).items()
    found: dict[str, Any] = resource["Properties"]
    return found


@pytest.mark.parametrize(
    ("deployment", "routing", "timeout"),
    [
        (
            {"strategy": "canary", "canary_percent": 25, "bake_minutes": 5},
            {
                "Type": "CANARY",
                "WaitIntervalInSeconds": 300,
                "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 25},
            },
            2 * 300 + 1800,
        ),
        (
            {"strategy": "linear", "step_percent": 30, "bake_minutes": 5},
            {
                "Type": "LINEAR",
                "WaitIntervalInSeconds": 300,
                "LinearStepSize": {"Type": "CAPACITY_PERCENT", "Value": 30},
            },
            5 * 300 + 1800,
        ),
        (
            {"strategy": "all_at_once", "bake_minutes": 5},
            {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0},
            300 + 1800,
        ),
    ],
)
def test_a_strategy_becomes_sagemakers(deployment: dict[str, Any], routing: dict[str, Any], timeout: int) -> None:
    template = served({**REALTIME, "deployment": deployment})
    policy = properties(template, sagemaker.CfnEndpoint)["DeploymentConfig"]["BlueGreenUpdatePolicy"]
    assert policy == {
        "TrafficRoutingConfiguration": routing,
        "TerminationWaitInSeconds": 300,
        "MaximumExecutionTimeoutInSeconds": timeout,
    }


def test_thresholds_are_in_the_units_of_the_metrics() -> None:
    alarms = served(REALTIME).find_resources("AWS::CloudWatch::Alarm").values()
    thresholds = {alarm["Properties"]["MetricName"]: alarm["Properties"]["Threshold"] for alarm in alarms}
    assert thresholds == {"Invocation5XXErrors": 0.025, "ModelLatency": 250_000}


def test_an_instance_type_with_a_local_disk_gets_no_key_of_ours() -> None:
    assert "KmsKeyId" in properties(served(REALTIME), sagemaker.CfnEndpointConfig)
    assert "KmsKeyId" not in properties(
        served({**REALTIME, "instance_type": "ml.m5d.large"}), sagemaker.CfnEndpointConfig
    )


def test_capture_can_be_turned_off() -> None:
    capture = properties(served({**REALTIME, "capture_percent": 0}), sagemaker.CfnEndpointConfig)["DataCaptureConfig"]
    assert capture["EnableCapture"] is False


def test_serverless_has_nothing_that_sagemaker_refuses_for_it() -> None:
    template = served({"profile": "serverless", "memory_mb": 2048, "max_concurrency": 5})
    config = properties(template, sagemaker.CfnEndpointConfig)
    (variant,) = config.pop("ProductionVariants")
    assert config == {}
    assert variant["ServerlessConfig"] == {"MemorySizeInMB": 2048, "MaxConcurrency": 5}
    assert "InstanceType" not in variant
    assert properties(template, sagemaker.CfnModel)["EnableNetworkIsolation"] is False
    endpoint = properties(template, sagemaker.CfnEndpoint)
    assert endpoint.keys() == {"EndpointConfigName", "EndpointName"}
    for kind in ("AWS::CloudWatch::Alarm", "AWS::ApplicationAutoScaling::ScalableTarget"):
        assert template.find_resources(kind) == {}
