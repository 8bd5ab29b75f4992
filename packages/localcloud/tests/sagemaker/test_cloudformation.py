"""CloudFormation's SageMaker types, through the handlers that CloudFormation's engine calls."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError, ParamValidationError

from localcloud.cfn import CfnContext, CfnResource
from localcloud.sagemaker import CFN_TYPES

ROLE = "arn:aws:iam::000000000000:role/model"
PREFIX = "arn:aws:sagemaker:us-east-1:000000000000:"
STACK_TAGS = [{"Key": "aws:cloudformation:stack-name", "Value": "s"}]


class Stack:
    """Calls the handlers of resource types as CloudFormation's engine does."""

    def __init__(self, harness: Any) -> None:
        self._harness = harness

    def _context(self, logical_id: str) -> CfnContext:
        return CfnContext("s", logical_id, f"s-{logical_id}-ABC", lambda service: self._harness.client(service))

    def create(self, kind: str, logical_id: str, **properties: Any) -> CfnResource:
        properties["Tags"] = [*STACK_TAGS, *properties.get("Tags", ())]
        return CFN_TYPES[f"AWS::SageMaker::{kind}"].create(self._context(logical_id), properties)

    def update(self, kind: str, physical_id: str, old: dict[str, Any], new: dict[str, Any]) -> CfnResource:
        return CFN_TYPES[f"AWS::SageMaker::{kind}"].update(self._context("L"), physical_id, old, new)

    def delete(self, kind: str, physical_id: str) -> None:
        CFN_TYPES[f"AWS::SageMaker::{kind}"].delete(self._context("L"), physical_id, {})

    def serving_resources(self, image: str, suffix: str) -> str:
        """Create a model and an endpoint configuration; return the configuration's name."""
        model = self.create("Model", f"Model{suffix}", PrimaryContainer={"Image": image}, ExecutionRoleArn=ROLE)
        variant = {
            "VariantName": "AllTraffic",
            "ModelName": model.attributes["ModelName"],
            "InstanceType": "ml.m5.large",
            "InitialInstanceCount": "1",  # CloudFormation passes a parameter's number as a string
            "InitialVariantWeight": 1,
        }
        config = self.create("EndpointConfig", f"Config{suffix}", ProductionVariants=[variant])
        return str(config.attributes["EndpointConfigName"])


@pytest.fixture
def stack(harness: Any) -> Stack:
    return Stack(harness)


def test_a_serving_stack_is_created_updated_and_deleted(harness: Any, stack: Stack) -> None:
    one, two = stack.serving_resources("image:1", "One"), stack.serving_resources("image:2", "Two")
    made = stack.create("Endpoint", "Endpoint", EndpointName="e", EndpointConfigName=one)
    assert made == CfnResource(f"{PREFIX}endpoint/e", {"EndpointName": "e"})
    assert harness.sagemaker.describe_endpoint(EndpointName="e")["EndpointStatus"] == "InService"
    old = {"EndpointName": "e", "EndpointConfigName": one, "Tags": [{"Key": "a", "Value": "1"}]}
    new = {**old, "EndpointConfigName": f"{PREFIX}endpoint-config/{two}", "Tags": [{"Key": "b", "Value": "2"}]}
    assert stack.update("Endpoint", made.physical_id, old, new).physical_id == made.physical_id
    assert harness.sagemaker.describe_endpoint(EndpointName="e")["EndpointConfigName"] == two
    assert {"Key": "b", "Value": "2"} in harness.sagemaker.list_tags(ResourceArn=made.physical_id)["Tags"]
    stack.delete("Endpoint", made.physical_id)
    stack.delete("Endpoint", made.physical_id)  # it does not exist any more
    for name in (one, two):
        stack.delete("EndpointConfig", f"{PREFIX}endpoint-config/{name}")
    assert not harness.sagemaker.list_endpoints()["Endpoints"]
    assert not harness.sagemaker.list_endpoint_configs()["EndpointConfigs"]


def test_an_update_that_sagemaker_rolls_back_fails_the_resource(harness: Any, stack: Stack) -> None:
    good, bad = stack.serving_resources("image:1", "One"), stack.serving_resources("broken:1", "Two")
    made = stack.create("Endpoint", "Endpoint", EndpointName="e", EndpointConfigName=good)
    old, new = {"EndpointConfigName": good}, {"EndpointConfigName": bad}
    with pytest.raises(Exception, match=f"was not updated to {bad}: .*did not pass the ping"):
        stack.update("Endpoint", made.physical_id, old, new)
    assert harness.sagemaker.describe_endpoint(EndpointName="e")["EndpointConfigName"] == good
    stack.update("Endpoint", made.physical_id, new, old)  # the stack's rollback finds nothing to do


def test_an_endpoint_that_never_comes_into_service_leaves_nothing(harness: Any, stack: Stack) -> None:
    bad = stack.serving_resources("broken:1", "Bad")
    with pytest.raises(Exception, match=r"did not come into service: .*did not pass the ping"):
        stack.create("Endpoint", "Endpoint", EndpointConfigName=bad)
    assert not harness.sagemaker.list_endpoints()["Endpoints"]


def test_a_deployment_of_more_than_two_hours_fails_the_resource(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    class Updating:
        """A client whose endpoint never settles, while an hour passes with each look."""

        hours = 0

        def create_endpoint(self, **_: Any) -> dict[str, str]:
            return {"EndpointArn": f"{PREFIX}endpoint/e"}

        def describe_endpoint(self, **_: Any) -> dict[str, str]:
            self.hours += 1
            return {"EndpointStatus": "Creating"}

    client = Updating()
    monkeypatch.setattr("localcloud.sagemaker.cfn.time.time", lambda: client.hours * 3600.0)
    context = CfnContext("s", "E", "e", lambda _: client)
    with pytest.raises(Exception, match="did not stabilize within two hours"):
        CFN_TYPES["AWS::SageMaker::Endpoint"].create(context, {"EndpointName": "e", "EndpointConfigName": "c"})
    assert client.hours == 3


def test_a_resource_without_a_name_gets_one(harness: Any, stack: Stack) -> None:
    model = stack.create("Model", "M", PrimaryContainer={"Image": "i"}, ExecutionRoleArn=ROLE)
    assert model == CfnResource(f"{PREFIX}model/s-M-ABC", {"ModelName": "s-M-ABC"})


def test_a_group_has_its_documented_attributes_and_its_policy(harness: Any, stack: Stack) -> None:
    policy = {"Version": "2012-10-17", "Statement": []}
    group = stack.create("ModelPackageGroup", "G", ModelPackageGroupName="g", ModelPackageGroupPolicy=policy)
    assert group.physical_id == f"{PREFIX}model-package-group/g"
    assert set(group.attributes) == {"ModelPackageGroupArn", "ModelPackageGroupStatus", "CreationTime"}
    kept = harness.sagemaker.get_model_package_group_policy(ModelPackageGroupName="g")["ResourcePolicy"]
    assert json.loads(kept) == policy
    stack.update("ModelPackageGroup", group.physical_id, {"ModelPackageGroupPolicy": policy}, {})
    with pytest.raises(ClientError, match="Cannot find resource policy"):
        harness.sagemaker.get_model_package_group_policy(ModelPackageGroupName="g")
    stack.delete("ModelPackageGroup", group.physical_id)
    stack.delete("ModelPackageGroup", group.physical_id)


@pytest.mark.parametrize("form", ["body", "object"])
def test_a_pipelines_definition_is_a_body_or_an_object(harness: Any, stack: Stack, step_of: Any, form: str) -> None:
    body = {"Version": "2020-12-01", "Steps": [step_of("A")]}
    definition = {"PipelineDefinitionBody": json.dumps(body)} if form == "body" else body
    properties = {"PipelineName": "p", "RoleArn": ROLE, "PipelineDefinition": definition}
    assert stack.create("Pipeline", "P", **properties).physical_id == "p"
    assert json.loads(harness.sagemaker.describe_pipeline(PipelineName="p")["PipelineDefinition"]) == body
    changed = {**properties, "PipelineDescription": "d"}
    stack.update("Pipeline", "p", properties, changed)
    assert harness.sagemaker.describe_pipeline(PipelineName="p")["PipelineDescription"] == "d"
    stack.delete("Pipeline", "p")
    assert not harness.sagemaker.list_pipelines()["PipelineSummaries"]


def test_an_unknown_property_is_rejected_by_name(harness: Any, stack: Stack) -> None:
    with pytest.raises(ParamValidationError, match="Colour"):
        stack.create("Model", "M", PrimaryContainer={"Image": "i"}, ExecutionRoleArn=ROLE, Colour="red")
