"""Each serving profile and deployment strategy has its SageMaker settings."""

from __future__ import annotations

from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_sagemaker as sagemaker
from aws_cdk.assertions import Template
from pydantic import TypeAdapter

from configuration import Realtime, Serving
from constructs.mlops.foundation.alerts import AlertTopic
from constructs.mlops.foundation.buckets import ArtifactBucket, Bucket, LogBucket
from constructs.mlops.foundation.encryption_key import EncryptionKey
from constructs.mlops.serving.endpoint import Endpoint
from constructs.mlops.serving.release_record import ReleaseRecordParameters
from constructs.mlops.serving.served_model import ServedModel

# As in cdk.json: access logs need no ACL.
CONTEXT = {"@aws-cdk/aws-s3:serverAccessLogsUseBucketPolicy": True}
REALTIME: dict[str, Any] = {
    "profile": "realtime",
    "instance_type": "ml.m5.large",
    "instances": {"min": 2, "max": 4},
    "invocations_per_instance": 600,
    "capture_percent": 20,
    "deployment": {"strategy": "all_at_once", "bake_minutes": 5},
    "alarms": {"error_percent": 2.5, "latency_ms": 250},
}


def synthesise(document: dict[str, Any]) -> Template:
    serving: Serving = TypeAdapter(Serving).validate_python(document)
    stack = cdk.Stack(cdk.App(context=CONTEXT), "Stack", env=cdk.Environment(region="us-east-1"))
    key, logs = EncryptionKey(stack, "Key", app="green"), LogBucket(stack, "Logs")
    data = Bucket(stack, "Data", key=key, logs=logs)
    release = ReleaseRecordParameters(stack, "Release", record="/green/m/prod/release")
    model = ServedModel(
        stack,
        "Served",
        app="green",
        model="m",
        release=release,
        realtime=isinstance(serving, Realtime),
        image_uri="123456789012.dkr.ecr.us-east-1.amazonaws.com/image:1",
        data=data,
        artifacts=ArtifactBucket(stack, "Artifacts", key=key, logs=logs),
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
        data=data,
        key=key,
        alerts=AlertTopic(stack, "Alerts", key=key, emails=[]),
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
def test_deployment_strategy_has_its_traffic_routing(
    deployment: dict[str, Any], routing: dict[str, Any], timeout: int
) -> None:
    template = synthesise({**REALTIME, "deployment": deployment})
    policy = properties(template, sagemaker.CfnEndpoint)["DeploymentConfig"]["BlueGreenUpdatePolicy"]
    assert policy == {
        "TrafficRoutingConfiguration": routing,
        "TerminationWaitInSeconds": 300,
        "MaximumExecutionTimeoutInSeconds": timeout,
    }


@pytest.mark.parametrize(("seconds", "timeout"), [(None, 300 + 1800), (600, 300 + 1800), (1200, 300 + 3000)])
def test_a_model_that_loads_slowly_gets_its_time_and_the_deployment_waits_for_it(
    seconds: int | None, timeout: int
) -> None:
    template = synthesise({**REALTIME, "startup_seconds": seconds})
    (variant,) = properties(template, sagemaker.CfnEndpointConfig)["ProductionVariants"]
    assert variant.get("ContainerStartupHealthCheckTimeoutInSeconds") == seconds
    policy = properties(template, sagemaker.CfnEndpoint)["DeploymentConfig"]["BlueGreenUpdatePolicy"]
    assert policy["MaximumExecutionTimeoutInSeconds"] == timeout


def test_alarm_thresholds_have_the_units_of_their_metrics() -> None:
    alarms = synthesise(REALTIME).find_resources("AWS::CloudWatch::Alarm").values()
    thresholds = {alarm["Properties"]["MetricName"]: alarm["Properties"]["Threshold"] for alarm in alarms}
    assert thresholds == {"Invocation5XXErrors": 0.025, "ModelLatency": 250_000}


def test_instance_type_with_a_local_disk_has_no_volume_key() -> None:
    assert "KmsKeyId" in properties(synthesise(REALTIME), sagemaker.CfnEndpointConfig)
    assert "KmsKeyId" not in properties(
        synthesise({**REALTIME, "instance_type": "ml.m5d.large"}), sagemaker.CfnEndpointConfig
    )


def test_capture_of_zero_percent_is_disabled() -> None:
    capture = properties(synthesise({**REALTIME, "capture_percent": 0}), sagemaker.CfnEndpointConfig)[
        "DataCaptureConfig"
    ]
    assert capture["EnableCapture"] is False


def test_serverless_has_no_setting_that_sagemaker_refuses() -> None:
    template = synthesise({"profile": "serverless", "memory_mb": 2048, "max_concurrency": 5})
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
