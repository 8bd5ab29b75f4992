"""CloudFormation's SageMaker types on the control plane's API (AWS: "Amazon SageMaker resource type reference").

Handlers call the API through boto3 with the stack's permissions.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from localcloud.cfn import CfnContext, CfnResource, CfnType, Describe, Properties
from localcloud.sagemaker.context import name_of
from localcloud.sagemaker.errors import AwsError
from localcloud.sagemaker.monitoring.definitions import KINDS
from localcloud.sagemaker.pipelines.arguments import coerced
from localcloud.sagemaker.shapes import operation_model

_SECONDS_BETWEEN_POLLS = 0.05
_LONGEST_SECONDS = 2 * 3600  # CloudFormation's default for a resource whose schema names no other
_MAX_SECONDS_BETWEEN_POLLS = 0.5  # a canary may bake for an hour
_SETTLED = frozenset({"InService", "Failed", "OutOfService"})
Request = dict[str, Any]


class ResourceFailed(Exception):
    """The resource did not reach the state that the stack asked for; the message is its status reason."""


def _request(operation: str, properties: Mapping[str, Any], **members: Any) -> Request:
    """Return the operation's request with the types that the API wants.

    CloudFormation passes numbers and booleans as strings where they come from parameters.
    """
    model = operation_model(operation).input_shape
    request: Request = {**properties, **members}
    return request if model is None else dict(coerced(model, request))


def _known_members(operation: str, properties: Properties) -> Request:
    """Return the properties that the operation accepts."""
    shape = operation_model(operation).input_shape
    return {name: value for name, value in properties.items() if shape is not None and name in shape.members}


def _is_gone(error: ClientError) -> bool:
    message = error.response["Error"].get("Message", "")
    return "does not exist" in message or "Could not find" in message


def _delete_by_name(method: str, member: str) -> Callable[[CfnContext, str, Properties], None]:
    """Return a delete handler; a resource that does not exist any more is not an error.

    Args:
        method: the client's method.
        member: the request's member for the name.
    """

    def delete(context: CfnContext, name_or_arn: str, _properties: Properties) -> None:
        try:
            getattr(context.client("sagemaker"), method)(**{member: name_of(name_or_arn)})
        except ClientError as error:
            if not _is_gone(error):
                raise

    return delete


def _update_tags_only(
    attributes: Callable[[str], dict[str, str]],
) -> Callable[[CfnContext, str, Properties, Properties], CfnResource]:
    """Return an update handler for a type of which only tags change; `attributes` is given the ARN."""

    def update(context: CfnContext, arn: str, old: Properties, new: Properties) -> CfnResource:
        _update_tags(context.client("sagemaker"), arn, old, new)
        return CfnResource(arn, attributes(arn))

    return update


def _update_tags(client: Any, arn: str, old: Properties, new: Properties) -> None:
    before, after = old.get("Tags") or [], new.get("Tags") or []
    kept = {tag["Key"] for tag in after}
    removed = [tag["Key"] for tag in before if tag["Key"] not in kept]
    if removed:
        client.delete_tags(ResourceArn=arn, TagKeys=removed)
    if after and after != before:
        client.add_tags(ResourceArn=arn, Tags=after)


def _create_group(context: CfnContext, properties: Properties) -> CfnResource:
    client = context.client("sagemaker")
    given = {name: value for name, value in properties.items() if name != "ModelPackageGroupPolicy"}
    arn = client.create_model_package_group(**_request("CreateModelPackageGroup", given))["ModelPackageGroupArn"]
    _put_policy(client, arn, properties.get("ModelPackageGroupPolicy"))
    return _group(client, arn)


def _put_policy(client: Any, arn: str, policy: Any) -> None:
    if policy:
        text = policy if isinstance(policy, str) else json.dumps(policy)
        client.put_model_package_group_policy(ModelPackageGroupName=name_of(arn), ResourcePolicy=text)


def _group(client: Any, arn: str) -> CfnResource:
    return _described_group(client.describe_model_package_group(ModelPackageGroupName=name_of(arn)))


def _described_group(group: Mapping[str, Any]) -> CfnResource:
    created = group["CreationTime"]  # a datetime from boto3, epoch seconds on the wire
    made = created if isinstance(created, datetime) else datetime.fromtimestamp(created, UTC)
    attributes = {
        "ModelPackageGroupArn": group["ModelPackageGroupArn"],
        "ModelPackageGroupStatus": group["ModelPackageGroupStatus"],
        "CreationTime": made.isoformat(),
    }
    return CfnResource(group["ModelPackageGroupArn"], attributes)


def _read(
    operation: str, member: str, resource: Callable[[Mapping[str, Any]], CfnResource]
) -> Callable[[Describe, str], CfnResource | None]:
    def read(describe: Describe, name: str) -> CfnResource | None:
        try:
            return resource(describe(operation, {member: name}))
        except AwsError:
            return None

    return read


def _update_group(context: CfnContext, arn: str, old: Properties, new: Properties) -> CfnResource:
    client = context.client("sagemaker")
    if new.get("ModelPackageGroupPolicy"):
        _put_policy(client, arn, new["ModelPackageGroupPolicy"])
    elif old.get("ModelPackageGroupPolicy"):
        client.delete_model_package_group_policy(ModelPackageGroupName=name_of(arn))
    _update_tags(client, arn, old, new)
    return _group(client, arn)


def _pipeline_request(operation: str, properties: Properties) -> Request:
    members = {name: value for name, value in properties.items() if name != "PipelineDefinition"}
    definition = properties["PipelineDefinition"]
    location = definition.get("PipelineDefinitionS3Location") if isinstance(definition, dict) else None
    if location:
        known = {"Bucket": "Bucket", "Key": "ObjectKey", "Version": "VersionId"}
        members["PipelineDefinitionS3Location"] = {
            api: location[member] for member, api in known.items() if member in location
        }
    else:
        body = definition.get("PipelineDefinitionBody", definition) if isinstance(definition, dict) else definition
        members["PipelineDefinition"] = body if isinstance(body, str) else json.dumps(body)
    return _request(operation, members)


def _create_pipeline(context: CfnContext, properties: Properties) -> CfnResource:
    request = _pipeline_request("CreatePipeline", properties)
    context.client("sagemaker").create_pipeline(**request)
    return CfnResource(request["PipelineName"])


def _update_pipeline(context: CfnContext, name: str, old: Properties, new: Properties) -> CfnResource:
    client = context.client("sagemaker")
    request = _pipeline_request("UpdatePipeline", {key: value for key, value in new.items() if key != "Tags"})
    arn = client.update_pipeline(**request)["PipelineArn"]
    _update_tags(client, arn, old, new)
    return CfnResource(name)


def _create_model(context: CfnContext, properties: Properties) -> CfnResource:
    request = _request("CreateModel", {"ModelName": context.physical_name, **properties})
    arn = context.client("sagemaker").create_model(**request)["ModelArn"]
    return CfnResource(arn, {"ModelName": request["ModelName"]})


def _create_config(context: CfnContext, properties: Properties) -> CfnResource:
    request = _request("CreateEndpointConfig", {"EndpointConfigName": context.physical_name, **properties})
    # Templates give a model's name (Fn::GetAtt) or its ARN (Ref).
    for variant in request["ProductionVariants"]:
        variant["ModelName"] = name_of(variant["ModelName"])
    arn = context.client("sagemaker").create_endpoint_config(**request)["EndpointConfigArn"]
    return CfnResource(arn, {"EndpointConfigName": request["EndpointConfigName"]})


def _endpoint_request(operation: str, properties: Properties, name: str) -> Request:
    members = _known_members(operation, properties)
    members |= {"EndpointName": name, "EndpointConfigName": name_of(properties["EndpointConfigName"])}
    return _request(operation, members)


def _create_endpoint(context: CfnContext, properties: Properties) -> CfnResource:
    client = context.client("sagemaker")
    name = properties.get("EndpointName", context.physical_name)
    arn = client.create_endpoint(**_endpoint_request("CreateEndpoint", properties, name))["EndpointArn"]
    endpoint = _settled(client, name)
    if endpoint["EndpointStatus"] != "InService":
        reason = endpoint.get("FailureReason", endpoint["EndpointStatus"])
        # CloudFormation's engine does not delete a resource whose creation failed.
        _delete_endpoint(context, arn, properties)
        raise ResourceFailed(f"Endpoint {name} did not come into service: {reason}")
    return CfnResource(arn, {"EndpointName": name})


def _update_endpoint(context: CfnContext, arn: str, old: Properties, new: Properties) -> CfnResource:
    """Update the endpoint and wait until it serves the new configuration.

    `InService` alone is not enough: after a rollback the endpoint is in service with its old configuration.
    """
    client = context.client("sagemaker")
    name, wanted = name_of(arn), name_of(new["EndpointConfigName"])
    if _settled(client, name)["EndpointConfigName"] != wanted:
        client.update_endpoint(**_endpoint_request("UpdateEndpoint", new, name))
        endpoint = _settled(client, name)
        if endpoint["EndpointStatus"] != "InService" or endpoint["EndpointConfigName"] != wanted:
            reason = endpoint.get("FailureReason", endpoint["EndpointStatus"])
            raise ResourceFailed(f"Endpoint {name} was not updated to {wanted}: {reason}")
    _update_tags(client, arn, old, new)
    return CfnResource(arn, {"EndpointName": name})


def _delete_endpoint(context: CfnContext, arn: str, _properties: Properties) -> None:
    client, name = context.client("sagemaker"), name_of(arn)
    try:
        _settled(client, name)
        client.delete_endpoint(EndpointName=name)
        while True:
            client.describe_endpoint(EndpointName=name)
            time.sleep(_SECONDS_BETWEEN_POLLS)
    except ClientError as error:
        if not _is_gone(error):
            raise


def _settled(client: Any, name: str) -> Mapping[str, Any]:
    """Wait until the endpoint's deployment has ended, and describe the endpoint.

    Raises:
        ResourceFailed: The deployment takes longer than CloudFormation gives a resource.
    """
    pause, deadline = _SECONDS_BETWEEN_POLLS, time.time() + _LONGEST_SECONDS
    while True:
        endpoint: Mapping[str, Any] = client.describe_endpoint(EndpointName=name)
        if endpoint["EndpointStatus"] in _SETTLED:
            return endpoint
        if time.time() > deadline:
            raise ResourceFailed("Exceeded attempts to wait: the resource did not stabilize within two hours")
        time.sleep(pause)
        pause = min(pause * 1.1, _MAX_SECONDS_BETWEEN_POLLS)


def _create_schedule(context: CfnContext, properties: Properties) -> CfnResource:
    client = context.client("sagemaker")
    arn = client.create_monitoring_schedule(**_schedule_request("CreateMonitoringSchedule", properties))
    return _schedule(client, arn["MonitoringScheduleArn"])


def _update_schedule(context: CfnContext, arn: str, old: Properties, new: Properties) -> CfnResource:
    client = context.client("sagemaker")
    client.update_monitoring_schedule(**_schedule_request("UpdateMonitoringSchedule", new))
    _update_tags(client, arn, old, new)
    return _schedule(client, arn)


def _schedule_request(operation: str, properties: Properties) -> Request:
    members = _known_members(operation, properties)
    config = dict(members["MonitoringScheduleConfig"])
    if "MonitoringJobDefinitionName" in config:  # templates give the definition's name, or its ARN (Ref)
        config["MonitoringJobDefinitionName"] = name_of(config["MonitoringJobDefinitionName"])
    return _request(operation, members | {"MonitoringScheduleConfig": config})


def _schedule(client: Any, arn: str) -> CfnResource:
    described = client.describe_monitoring_schedule(MonitoringScheduleName=name_of(arn))
    times = {name: described[name].isoformat() for name in ("CreationTime", "LastModifiedTime")}
    return CfnResource(arn, {"MonitoringScheduleArn": arn, **times})


def _delete_schedule(context: CfnContext, arn: str, _properties: Properties) -> None:
    client, name = context.client("sagemaker"), name_of(arn)
    while True:
        try:
            client.delete_monitoring_schedule(MonitoringScheduleName=name)
        except ClientError as error:
            text = error.response["Error"].get("Message", "")
            if "not found" in text:
                return
            if "in progress" not in text:
                raise
            time.sleep(_SECONDS_BETWEEN_POLLS)  # the execution ends by itself
            continue
        return


def _definition(arn: str) -> dict[str, str]:
    return {"JobDefinitionArn": arn, "JobDefinitionName": name_of(arn)}


def _definition_type(kind: str) -> CfnType:
    """Return the CloudFormation type of one kind of monitoring job definition; every change replaces it."""
    operation = f"Create{kind}JobDefinition"
    snake = "_".join(re.findall("[A-Z][a-z]+", f"{kind}JobDefinition")).lower()

    def create(context: CfnContext, properties: Properties) -> CfnResource:
        client = context.client("sagemaker")
        given = {name: value for name, value in properties.items() if name != "EndpointName"}
        request = _request(operation, {"JobDefinitionName": context.physical_name, **given})
        arn = getattr(client, f"create_{snake}")(**request)["JobDefinitionArn"]
        made = getattr(client, f"describe_{snake}")(JobDefinitionName=name_of(arn))
        created = made["CreationTime"].isoformat()
        return CfnResource(arn, {**_definition(arn), "CreationTime": created})

    parts = ("AppSpecification", "BaselineConfig", "JobInput", "JobOutputConfig")
    members = ("EndpointName", "JobDefinitionName", "JobResources", "NetworkConfig", "RoleArn", "StoppingCondition")
    replace_on = frozenset({*(f"{kind}{part}" for part in parts), *members})
    return CfnType(
        create,
        _delete_by_name(f"delete_{snake}", "JobDefinitionName"),
        _update_tags_only(_definition),
        replace_on,
        name_property="JobDefinitionName",
    )


CFN_TYPES: dict[str, CfnType] = {
    **{f"AWS::SageMaker::{kind}JobDefinition": _definition_type(kind) for kind in KINDS},
    "AWS::SageMaker::MonitoringSchedule": CfnType(
        create=_create_schedule,
        delete=_delete_schedule,
        update=_update_schedule,
        replace_on=frozenset({"MonitoringScheduleName"}),
        name_property="MonitoringScheduleName",
    ),
    "AWS::SageMaker::ModelPackageGroup": CfnType(
        create=_create_group,
        delete=_delete_by_name("delete_model_package_group", "ModelPackageGroupName"),
        update=_update_group,
        replace_on=frozenset({"ModelPackageGroupName", "ModelPackageGroupDescription"}),
        name_property="ModelPackageGroupName",
        read=_read("DescribeModelPackageGroup", "ModelPackageGroupName", _described_group),
    ),
    "AWS::SageMaker::Pipeline": CfnType(
        create=_create_pipeline,
        delete=_delete_by_name("delete_pipeline", "PipelineName"),
        update=_update_pipeline,
        replace_on=frozenset({"PipelineName"}),
        name_property="PipelineName",
        read=_read("DescribePipeline", "PipelineName", lambda found: CfnResource(found["PipelineName"])),
        max_name_length=256,
    ),
    "AWS::SageMaker::Model": CfnType(
        create=_create_model,
        delete=_delete_by_name("delete_model", "ModelName"),
        update=_update_tags_only(lambda arn: {"ModelName": name_of(arn)}),
        replace_on=frozenset(
            {
                "Containers",
                "EnableNetworkIsolation",
                "ExecutionRoleArn",
                "InferenceExecutionConfig",
                "ModelName",
                "PrimaryContainer",
                "VpcConfig",
            }
        ),
        name_property="ModelName",
    ),
    "AWS::SageMaker::EndpointConfig": CfnType(
        create=_create_config,
        delete=_delete_by_name("delete_endpoint_config", "EndpointConfigName"),
        update=_update_tags_only(lambda arn: {"EndpointConfigName": name_of(arn)}),
        replace_on=frozenset(
            {
                "AsyncInferenceConfig",
                "DataCaptureConfig",
                "EnableNetworkIsolation",
                "EndpointConfigName",
                "ExecutionRoleArn",
                "ExplainerConfig",
                "KmsKeyId",
                "ProductionVariants",
                "ShadowProductionVariants",
                "VpcConfig",
            }
        ),
        name_property="EndpointConfigName",
    ),
    "AWS::SageMaker::Endpoint": CfnType(
        create=_create_endpoint,
        delete=_delete_endpoint,
        update=_update_endpoint,
        replace_on=frozenset({"EndpointName"}),
        name_property="EndpointName",
        sent_back=True,
        read=_read(
            "DescribeEndpoint",
            "EndpointName",
            lambda found: CfnResource(found["EndpointArn"], {"EndpointName": found["EndpointName"]}),
        ),
    ),
}
