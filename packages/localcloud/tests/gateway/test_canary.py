"""A canary deployment in the real gateway, on the accelerated clock, with a toy model in a stack of its own."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from localcloud.testing import LocalCloud, wait_until

IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.4-2"
BUCKET, STACK, ENDPOINT = "toys", "serving", "toy"
BAKE = 600
INFERENCE = """
import os
def model_fn(model_dir):
    return os.environ["VERSION"]
def input_fn(body, content_type):
    return body
def predict_fn(body, model):
    return model
def output_fn(prediction, accept):
    return prediction, "text/csv"
"""
_SETTINGS = {
    "SAGEMAKER_PROGRAM": "inference.py",
    "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code",
    "PIP_NO_BUILD_ISOLATION": "0",
}
_CANARY = {"Type": "CANARY", "WaitIntervalInSeconds": BAKE, "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 50}}


def _template(version: str, role: str) -> dict[str, Any]:
    config = {"Fn::GetAtt": ["Config", "EndpointConfigName"]}
    dimensions = {"EndpointName": ENDPOINT, "VariantName": "AllTraffic", "EndpointConfigName": config}
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": {"Fn::GetAtt": ["Model", "ModelName"]},
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": 2,
        "InitialVariantWeight": 1,
    }
    container = {
        "Image": IMAGE,
        "ModelDataUrl": f"s3://{BUCKET}/model.tar.gz",
        "Environment": {**_SETTINGS, "VERSION": version},
    }
    alarm = {
        "AlarmName": f"toy-{version}-5xx",
        "Namespace": "AWS/SageMaker",
        "MetricName": "Invocation5XXErrors",
        "Statistic": "Average",
        "Threshold": 0.01,
        "Dimensions": [{"Name": name, "Value": value} for name, value in dimensions.items()],
        "Period": 60,
        "EvaluationPeriods": 3,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "notBreaching",
    }
    guarded = {
        "BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": _CANARY, "TerminationWaitInSeconds": BAKE},
        "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": {"Ref": "Errors"}}]},
    }
    return {
        "Resources": {
            "Model": {
                "Type": "AWS::SageMaker::Model",
                "Properties": {"PrimaryContainer": container, "ExecutionRoleArn": role},
            },
            "Config": {"Type": "AWS::SageMaker::EndpointConfig", "Properties": {"ProductionVariants": [variant]}},
            "Errors": {"Type": "AWS::CloudWatch::Alarm", "Properties": alarm},
            "Endpoint": {
                "Type": "AWS::SageMaker::Endpoint",
                "Properties": {
                    "EndpointName": ENDPOINT,
                    "EndpointConfigName": config,
                    "DeploymentConfig": guarded,
                    "RetainAllVariantProperties": True,
                },
            },
        }
    }


class Toy:
    """The stack in one local cloud."""

    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud = cloud
        s3 = cloud.client("s3")
        s3.create_bucket(Bucket=BUCKET)
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            member = tarfile.TarInfo("code/inference.py")
            member.size = len(INFERENCE)
            archive.addfile(member, io.BytesIO(INFERENCE.encode()))
        s3.put_object(Bucket=BUCKET, Key="model.tar.gz", Body=packed.getvalue())
        may = [{"Effect": "Allow", "Action": ["s3:*", "ecr:*", "cloudwatch:DescribeAlarms"], "Resource": "*"}]
        self.role = cloud.create_role(may, "sagemaker.amazonaws.com")

    def described(self) -> dict[str, Any]:
        found: dict[str, Any] = self.cloud.client("sagemaker").describe_endpoint(EndpointName=ENDPOINT)
        return found

    def release(self, version: str) -> str:
        """Update the stack; return the new configuration's name as soon as its canary bakes."""
        template = json.dumps(_template(version, self.role))
        self.cloud.client("cloudformation").update_stack(StackName=STACK, TemplateBody=template)
        return str(wait_until(self._baking, 120))

    def _baking(self) -> str | None:
        pending = self.described().get("PendingDeploymentSummary")
        if pending and pending["ProductionVariants"][0]["VariantStatus"][0]["Status"] == "Baking":
            return str(pending["EndpointConfigName"])
        return None

    def answers(self, count: int) -> Counter[str]:
        runtime, found = self.cloud.client("sagemaker-runtime"), Counter[str]()
        for _ in range(count):
            try:
                found[runtime.invoke_endpoint(EndpointName=ENDPOINT, Body=b"x")["Body"].read().decode()] += 1
            except ClientError as error:
                found[error.response["Error"]["Code"]] += 1
        return found

    def now(self) -> float:
        return datetime.fromisoformat(self.cloud.clock("status")["now"]).timestamp()

    def fault(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "localcloud", "fault", "--state", str(self.cloud.state), *arguments]
        return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Toy]:
    """Yield the stack in service with version `v1`."""
    with LocalCloud(tmp_path_factory.mktemp("canary") / "state", accelerated=True) as cloud:
        made = Toy(cloud)
        assert cloud.deploy_stack(STACK, _template("v1", made.role))["StackStatus"] == "CREATE_COMPLETE"
        yield made


def test_a_canary_that_fails_gets_no_more_than_its_share_and_goes_back_within_its_bake(toy: Toy) -> None:
    url, queue = toy.cloud.create_queue()
    pattern = {"source": ["aws.sagemaker"], "detail-type": ["SageMaker Endpoint Deployment State Change"]}
    toy.cloud.create_rule({**pattern, "detail": {"EndpointStatus": ["ROLLING_BACK"]}}, {"Arn": queue})
    before, began, started = toy.described()["EndpointConfigName"], toy.now(), time.monotonic()
    config = toy.release("v2")
    injected = toy.fault("--endpoint", ENDPOINT, "--config", config, "--error-rate", "0.2")
    assert len(json.loads(injected.stdout)["faults"]) == 2, injected.stderr
    answers = Counter[str]()
    while toy.described()["EndpointStatus"] == "Updating":
        assert toy.now() - began < BAKE, "it is still baking"
        answers += toy.answers(40)
        toy.cloud.clock("advance", "--by", "1m")
    assert set(answers) == {"v1", "v2", "ModelError"}
    assert answers["v2"] + answers["ModelError"] <= answers["v1"]
    stack = toy.cloud.wait_for_stack(STACK)
    assert stack["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    after = toy.described()
    assert (after["EndpointStatus"], after["EndpointConfigName"]) == ("InService", before)
    assert "alarm toy-v2-5xx is in ALARM" in after["FailureReason"]
    assert toy.answers(10) == {"v1": 10}
    pending = json.loads(toy.cloud.receive_message(url)["Body"])["detail"]["PendingDeploymentSummary"]
    assert pending["EndpointConfigName"] == config
    assert json.loads(toy.fault().stdout) == {"faults": [], "stack_outcomes": {}, "closed": []}
    assert time.monotonic() - started < 60


def test_a_canary_that_is_well_takes_all_when_its_bakes_are_over(toy: Toy) -> None:
    config = toy.release("v3")
    assert toy.answers(20) == {"v1": 10, "v3": 10}
    began = toy.now()
    # One coarse step: the bakes and the alarms are seen at their instants all the same.
    toy.cloud.clock("advance", "--by", "6h", "--resolution", "6h")
    assert toy.cloud.wait_for_stack(STACK)["StackStatus"] == "UPDATE_COMPLETE"
    after = toy.described()
    assert (after["EndpointStatus"], after["EndpointConfigName"]) == ("InService", config)
    assert 2 * BAKE - 60 < after["LastModifiedTime"].timestamp() - began < 2 * BAKE + 60
    assert toy.answers(10) == {"v3": 10}


def test_a_fault_that_cannot_be_is_refused_in_one_line(toy: Toy) -> None:
    for arguments, code, message in (
        (("--endpoint", "x", "--config", "y", "--error-rate", "0.2"), 1, "there is no endpoint x"),
        (("--endpoint", ENDPOINT, "--error-rate", "0.2"), 2, "needs --endpoint and --config"),
        (("--endpoint", ENDPOINT, "--stack-outcome", "X"), 1, "UPDATE_COMPLETE or UPDATE_ROLLBACK_FAILED, got X"),
        (("--clear", "--latency-ms", "1"), 2, "--clear removes faults: leave out --latency-ms"),
    ):
        refused = toy.fault(*arguments)
        assert refused.returncode == code
        (line,) = refused.stderr.splitlines()
        assert message in line
    asked = subprocess.run(
        ["curl", "-s", f"http://127.0.0.1:{toy.cloud.port}/_localcloud/faults"], capture_output=True, text=True
    )
    assert "root's secret" in asked.stdout


def test_a_gateway_killed_amid_a_canary_comes_back_with_the_old_fleet(toy: Toy) -> None:
    before = toy.described()["EndpointConfigName"]
    toy.release("v4")
    time.sleep(1)  # what a service acknowledged is saved within the second
    os.kill(toy.cloud.pid, signal.SIGKILL)
    assert toy.cloud.run("up").returncode == 0
    assert toy.cloud.wait_for_stack(STACK)["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    after = toy.described()
    assert (after["EndpointStatus"], after["EndpointConfigName"]) == ("InService", before)
    assert "stopped during the deployment" in after["FailureReason"]
    assert toy.answers(10) == {"v3": 10}


def test_a_gateway_is_stopped_amid_a_canary_without_delay(toy: Toy) -> None:
    before = toy.described()["EndpointConfigName"]
    toy.release("v5")
    began = time.monotonic()
    down = toy.cloud.run("down")
    assert (down.returncode, "did not stop" in down.stderr) == (0, False)
    assert time.monotonic() - began < 15
    assert toy.cloud.run("up").returncode == 0
    assert toy.cloud.wait_for_stack(STACK)["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert toy.described()["EndpointConfigName"] == before


@pytest.mark.parametrize("outcome", ["UPDATE_ROLLBACK_FAILED", "UPDATE_COMPLETE"])
def test_the_stack_of_a_rolled_back_endpoint_ends_as_was_chosen(toy: Toy, outcome: str) -> None:
    cloudwatch, cloudformation = toy.cloud.client("cloudwatch"), toy.cloud.client("cloudformation")
    before, version = toy.described()["EndpointConfigName"], f"v-{outcome.lower().replace('_', '-')}"
    chosen = toy.fault("--endpoint", ENDPOINT, "--stack-outcome", outcome)
    assert json.loads(chosen.stdout)["stack_outcomes"] == {ENDPOINT: outcome}
    toy.release(version)

    def is_rolled_back() -> bool:
        if toy.described()["EndpointStatus"] == "InService":
            return True  # by now the stack may have deleted the alarm
        # Repeat it: the local cloud evaluates an alarm that was set by SetAlarmState anew every ten seconds.
        cloudwatch.set_alarm_state(AlarmName=f"toy-{version}-5xx", StateValue="ALARM", StateReason="a test's")
        return False

    wait_until(is_rolled_back, 90)
    assert toy.cloud.wait_for_stack(STACK)["StackStatus"] == outcome
    assert toy.described()["EndpointConfigName"] == before
    if outcome == "UPDATE_ROLLBACK_FAILED":
        cloudformation.continue_update_rollback(StackName=STACK)
        assert toy.cloud.wait_for_stack(STACK)["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
