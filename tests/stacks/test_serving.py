"""A release changes the record and no template; before the first one there is no endpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_applicationautoscaling as scaling
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_sagemaker as sagemaker
from aws_cdk.assertions import Template

from constructs.mlops.serving.release_record import ReleaseRecordParameters
from shared.release_policy import StagePolicy, parse_release_policy

MODEL = sagemaker.CfnModel.CFN_RESOURCE_TYPE_NAME
CONFIG = sagemaker.CfnEndpointConfig.CFN_RESOURCE_TYPE_NAME
ENDPOINT = sagemaker.CfnEndpoint.CFN_RESOURCE_TYPE_NAME
ALARM = cloudwatch.CfnAlarm.CFN_RESOURCE_TYPE_NAME

NONE = "none|none|none|none"
FIRST = "v1-0a1b2c3d|123456789012.dkr.ecr.us-east-1.amazonaws.com/x@sha256:1|arn:aws:sagemaker:::model-package/m/1|aa"
SECOND = "v2-4e5f6a7b|123456789012.dkr.ecr.us-east-1.amazonaws.com/x@sha256:2|arn:aws:sagemaker:::model-package/m/2|bb"


class Deployed:
    """The template as CloudFormation resolves it with a value of the release record."""

    def __init__(self, template: Mapping[str, Any], record: str) -> None:
        parameters = template["Parameters"]
        (name,) = (name for name in parameters if name.startswith("Release"))
        self._values: dict[str, Any] = {name: record}
        self._conditions = {name: self.resolve(body) for name, body in template["Conditions"].items()}
        present = {k: r for k, r in template["Resources"].items() if self._conditions.get(r.get("Condition"), True)}
        self.resources = {name: {**r, "Properties": self.resolve(r["Properties"])} for name, r in present.items()}
        self.outputs = {
            name: self.resolve(output["Value"])
            for name, output in template["Outputs"].items()
            if self._conditions.get(output.get("Condition"), True)
        }

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [resource for resource in self.resources.values() if resource["Type"] == kind]

    def resolve(self, node: Any) -> Any:
        match node:
            case {"Ref": name} if name in self._values:
                return self._values[name]
            case {"Fn::Split": [delimiter, value]}:
                return self.resolve(value).split(delimiter)
            case {"Fn::Select": [index, values]}:
                return self.resolve(values)[int(index)]
            case {"Fn::Join": [delimiter, list(items)]}:
                resolved = [self.resolve(item) for item in items]
                text = all(isinstance(item, str) for item in resolved)
                return delimiter.join(resolved) if text else {"Fn::Join": [delimiter, resolved]}
            case {"Fn::Not": [value]}:
                return not self.resolve(value)
            case {"Fn::Equals": [left, right]}:
                return self.resolve(left) == self.resolve(right)
            case dict():
                return {name: self.resolve(value) for name, value in node.items()}
            case list():
                return [self.resolve(item) for item in node]
        return node


@pytest.fixture(scope="module")
def serving(template: Callable[[str], dict[str, object]]) -> Mapping[str, Any]:
    return template("evergreen-serving-flight-delays-prod")


def test_before_the_first_release_there_are_only_a_role_and_a_policy(serving: Mapping[str, Any]) -> None:
    deployed = Deployed(serving, NONE)
    kinds = {resource["Type"]: resource["Properties"] for resource in deployed.resources.values()}
    assert kinds.keys() == {"AWS::IAM::Role", "AWS::SSM::Parameter"}
    assert kinds["AWS::SSM::Parameter"]["Name"] == "/evergreen/flight-delays/prod/policy"
    assert parse_release_policy(kinds["AWS::SSM::Parameter"]["Value"]) == StagePolicy()
    assert deployed.outputs == {}


def test_release_creates_the_endpoint_and_outputs_its_id(serving: Mapping[str, Any]) -> None:
    deployed = Deployed(serving, FIRST)
    assert deployed.of(ENDPOINT)[0]["Properties"]["EndpointName"] == "evergreen-flight-delays-prod"
    assert deployed.outputs["ReleaseId"] == "v1-0a1b2c3d"
    assert deployed.outputs.keys() == {"ReleaseId", "EndpointName", "EndpointConfigName"}
    (model,) = deployed.of(MODEL)
    container = model["Properties"]["PrimaryContainer"]
    assert container["Image"] == FIRST.split("|")[1]
    assert container["ModelDataUrl"]["Fn::Join"][1][-3:] == ["/releases/flight-delays/", "v1-0a1b2c3d", "/model.tar.gz"]
    assert model["Properties"]["Tags"] == [{"Key": "evergreen:model-package", "Value": FIRST.split("|")[2]}]


def test_second_release_replaces_model_configuration_and_alarms_with_the_same_template(
    serving: Mapping[str, Any],
) -> None:
    first, second = Deployed(serving, FIRST), Deployed(serving, SECOND)
    assert first.resources.keys() == second.resources.keys()
    assert first.of(MODEL) != second.of(MODEL)
    assert first.of(ENDPOINT) == second.of(ENDPOINT)
    before, after = ({alarm["Properties"]["AlarmName"] for alarm in d.of(ALARM)} for d in (first, second))
    assert before == {f"evergreen-flight-delays-prod-v1-0a1b2c3d-{what}" for what in ("5xx", "latency")}
    assert not before & after


def test_replaced_resources_have_no_name_and_are_kept_for_a_rollback(serving: Mapping[str, Any]) -> None:
    for kind, name in ((MODEL, "ModelName"), (CONFIG, "EndpointConfigName")):
        (resource,) = Deployed(serving, FIRST).of(kind)
        assert name not in resource["Properties"]
        assert resource["UpdateReplacePolicy"] == "Retain"


def test_generated_names_begin_with_the_applications_name(serving: Mapping[str, Any]) -> None:
    for logical_id, resource in serving["Resources"].items():
        if resource["Type"] in (MODEL, CONFIG):
            assert logical_id.startswith("evergreen")


def test_release_record_is_the_only_parameter(serving: Mapping[str, Any]) -> None:
    parameters = dict(serving["Parameters"])
    bootstrap = parameters.pop("BootstrapVersion")
    ((name, parameter),) = parameters.items()
    assert bootstrap["Type"] == parameter["Type"] == "AWS::SSM::Parameter::Value<String>"
    assert parameter["Default"] == "/evergreen/flight-delays/prod/release"
    assert name.startswith("Release")


def test_another_record_is_another_parameter() -> None:
    """An update of a stack keeps the value of a parameter whose default changed."""

    def parameter(record: str) -> str:
        stack = cdk.Stack(cdk.App(), "Stack")
        ReleaseRecordParameters(stack, "Release", record=record)
        (name,) = (name for name in Template.from_stack(stack).find_parameters("*") if name.startswith("Release"))
        return name

    assert parameter("/evergreen/a/prod/release") == parameter("/evergreen/a/prod/release")
    assert parameter("/evergreen/a/prod/release") != parameter("/evergreen/b/prod/release")


def test_rollback_alarms_measure_only_the_new_fleet(serving: Mapping[str, Any]) -> None:
    deployed = Deployed(serving, FIRST)
    (config,) = (name for name, resource in deployed.resources.items() if resource["Type"] == CONFIG)
    alarms = {name: resource for name, resource in deployed.resources.items() if resource["Type"] == ALARM}
    for alarm in alarms.values():
        dimensions = {d["Name"]: d["Value"] for d in alarm["Properties"]["Dimensions"]}
        assert dimensions == {
            "EndpointName": "evergreen-flight-delays-prod",
            "VariantName": "AllTraffic",
            "EndpointConfigName": {"Fn::GetAtt": [config, "EndpointConfigName"]},
        }
        assert alarm["Properties"]["TreatMissingData"] == "notBreaching"
    (endpoint,) = deployed.of(ENDPOINT)
    guards = endpoint["Properties"]["DeploymentConfig"]["AutoRollbackConfiguration"]["Alarms"]
    assert {guard["AlarmName"]["Ref"] for guard in guards} == alarms.keys()


def test_bake_is_long_enough_for_an_alarm(serving: Mapping[str, Any]) -> None:
    deployed = Deployed(serving, FIRST)
    policy = deployed.of(ENDPOINT)[0]["Properties"]["DeploymentConfig"]["BlueGreenUpdatePolicy"]
    waits = [policy["TrafficRoutingConfiguration"]["WaitIntervalInSeconds"], policy["TerminationWaitInSeconds"]]
    for alarm in deployed.of(ALARM):
        properties = alarm["Properties"]
        assert min(waits) >= properties["Period"] * properties["EvaluationPeriods"]
    assert policy["MaximumExecutionTimeoutInSeconds"] > sum(waits)


def test_release_keeps_the_scaled_fleet_and_replaces_capture(serving: Mapping[str, Any]) -> None:
    deployed = Deployed(serving, FIRST)
    properties = deployed.of(ENDPOINT)[0]["Properties"]
    assert properties["RetainAllVariantProperties"] is True
    excluded = {one["VariantPropertyType"] for one in properties["ExcludeRetainedVariantProperties"]}
    assert excluded == {"DataCaptureConfig", "DesiredWeight"}
    (target,) = deployed.of(scaling.CfnScalableTarget.CFN_RESOURCE_TYPE_NAME)
    assert target["Properties"]["ResourceId"] == "endpoint/evergreen-flight-delays-prod/variant/AllTraffic"
    assert (target["Properties"]["MinCapacity"], target["Properties"]["MaxCapacity"]) == (2, 4)


def test_model_has_no_network_and_reads_only_its_releases(serving: Mapping[str, Any]) -> None:
    deployed = Deployed(serving, FIRST)
    assert deployed.of(MODEL)[0]["Properties"]["EnableNetworkIsolation"] is True
    (role,) = deployed.of("AWS::IAM::Role")
    (policy,) = role["Properties"]["Policies"]
    readable = [
        statement["Resource"]["Fn::Join"][1][-1]
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Action"] == "s3:GetObject"
    ]
    assert readable == ["/releases/flight-delays/*"]


def test_captured_data_and_disks_are_encrypted_with_the_stage_key(serving: Mapping[str, Any]) -> None:
    (config,) = Deployed(serving, FIRST).of(CONFIG)
    key = config["Properties"]["KmsKeyId"]
    assert "EncryptionKey" in key["Fn::ImportValue"]
    assert config["Properties"]["DataCaptureConfig"]["KmsKeyId"] == key


def test_serving_stack_has_no_function(serving: Mapping[str, Any]) -> None:
    kinds = {resource["Type"] for resource in serving["Resources"].values()}
    assert not [kind for kind in kinds if kind.startswith(("AWS::Lambda::", "AWS::Events::", "AWS::S3::", "Custom::"))]
