"""Application Auto Scaling: scalable targets and policies, and their CloudFormation types.

Registrations are checked and kept, and a policy makes its two alarms. Nothing scales: an endpoint runs one worker,
whatever capacity is desired. Source: botocore's service model `application-autoscaling`, 2016-02-06, and "Target
tracking scaling policies" (Application Auto Scaling User Guide).
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import botocore.session
from botocore.validate import ParamValidator

from localcloud.cfn import CfnContext, CfnResource, CfnType, Properties
from localcloud.store import Document, Store

_TARGET, _POLICY = "ScalableTarget", "ScalingPolicy"
_ARN = "arn:aws:application-autoscaling:us-east-1:000000000000:scalable-target/"
_INVOCATIONS = "SageMakerVariantInvocationsPerInstance"
_MODEL = botocore.session.get_session().get_service_model("application-autoscaling")
Reply = tuple[int, dict[str, str], bytes]


class Alarms(Protocol):
    """Where the alarms of policies are kept."""

    def put(self, name: str, properties: Mapping[str, Any]) -> str:
        """Create or replace an alarm, with a template's properties; return its ARN."""

    def delete(self, name: str) -> None:
        """Delete an alarm."""


class ApiError(Exception):
    """An error as the API reports it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class ApplicationAutoScaling:
    """The service's JSON API over durable documents."""

    def __init__(self, store: Store, alarms: Alarms) -> None:
        self._store = store
        self._alarms = alarms
        self._operations: dict[str, Callable[[Document], Document]] = {
            "RegisterScalableTarget": self._register,
            "DescribeScalableTargets": self._describe_targets,
            "DeregisterScalableTarget": self._deregister,
            "PutScalingPolicy": self._put_policy,
            "DescribeScalingPolicies": self._describe_policies,
            "DeleteScalingPolicy": self._delete_policy,
        }

    async def handle(
        self, _method: str, _path: str, headers: Mapping[str, str], body: bytes, _query: Mapping[str, Any]
    ) -> Reply:
        """Answer one HTTP request."""
        operation = headers.get("x-amz-target", "").rpartition(".")[2]
        try:
            return _reply(200, self._run(operation, json.loads(body or b"{}")))
        except ApiError as error:
            return _reply(400, {"__type": error.code, "message": str(error)})

    def _run(self, operation: str, request: Document) -> Document:
        if operation not in self._operations:
            raise ApiError("UnknownOperationException", f"The local cloud does not support {operation}")
        shape = _MODEL.operation_model(operation).input_shape
        assert shape is not None  # every operation of this service has an input
        report = ParamValidator().validate(request, shape)
        if report.has_errors():
            raise ApiError("ValidationException", report.generate_report())
        if request.get("ServiceNamespace") not in (None, "sagemaker"):
            raise ApiError(
                "ValidationException",
                f"Unsupported service namespace here: {request['ServiceNamespace']}; use sagemaker",
            )
        return self._operations[operation](request)

    def _register(self, request: Document) -> Document:
        key = _key(request)
        known = self._store.get(_TARGET, key)
        if known is None and not {"MinCapacity", "MaxCapacity"} <= request.keys():
            raise ApiError("ValidationException", "MinCapacity and MaxCapacity are required to register a new target")
        target = {
            **(known or {"CreationTime": time.time(), "ScalableTargetARN": _ARN + uuid.uuid4().hex[:28]}),
            **{name: value for name, value in request.items() if name != "Tags"},
        }
        if target["MinCapacity"] > target["MaxCapacity"]:
            raise ApiError("ValidationException", "Maximum capacity cannot be less than minimum capacity")
        target.setdefault(
            "RoleARN",
            "arn:aws:iam::000000000000:role/aws-service-role/sagemaker.application-autoscaling.amazonaws.com/"
            "AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint",
        )
        target.setdefault(
            "SuspendedState",
            {
                "DynamicScalingInSuspended": False,
                "DynamicScalingOutSuspended": False,
                "ScheduledScalingSuspended": False,
            },
        )
        self._store.put(_TARGET, key, target)
        return {"ScalableTargetARN": target["ScalableTargetARN"]}

    def _describe_targets(self, request: Document) -> Document:
        wanted = request.get("ResourceIds")
        return {"ScalableTargets": [t for _, t in self._store.list(_TARGET) if not wanted or t["ResourceId"] in wanted]}

    def _deregister(self, request: Document) -> Document:
        key = _key(request)
        if not self._store.delete(_TARGET, key):
            raise ApiError("ObjectNotFoundException", f"No scalable target registered for {_sentence(request)}")
        for policy_key, policy in self._store.list(_POLICY, f"{key}|"):
            self._forget(policy_key, policy)
        return {}

    def _forget(self, key: str, policy: Document) -> None:
        for alarm in policy["Alarms"]:
            self._alarms.delete(alarm["AlarmName"])
        self._store.delete(_POLICY, key)

    def _put_policy(self, request: Document) -> Document:
        if self._store.get(_TARGET, _key(request)) is None:
            raise ApiError("ObjectNotFoundException", f"No scalable target registered for {_sentence(request)}")
        if request.get("PolicyType", "StepScaling") != "TargetTrackingScaling":
            raise ApiError(
                "ValidationException", "The local cloud supports policies of type TargetTrackingScaling only"
            )
        key = f"{_key(request)}|{request['PolicyName']}"
        known = self._store.get(_POLICY, key)
        arn = (
            f"arn:aws:autoscaling:us-east-1:000000000000:scalingPolicy:{uuid.uuid4()}:resource/"
            f"sagemaker/{request['ResourceId']}:policyName/{request['PolicyName']}"
        )
        policy = {**(known or {"CreationTime": time.time(), "PolicyARN": arn, "Alarms": []}), **request}
        policy["Alarms"] = self._make_alarms(policy)
        self._store.put(_POLICY, key, policy)
        return {"PolicyARN": policy["PolicyARN"], "Alarms": policy["Alarms"]}

    def _make_alarms(self, policy: Document) -> list[Document]:
        """Create the alarm above the target and the one below nine tenths of it; keep the names of existing ones."""
        tracking = policy.get("TargetTrackingScalingPolicyConfiguration") or {}
        metric = tracking.get("PredefinedMetricSpecification", {}).get("PredefinedMetricType")
        if metric != _INVOCATIONS:
            return list(policy["Alarms"])
        _, endpoint, _, variant = policy["ResourceId"].split("/")
        names = [alarm["AlarmName"] for alarm in policy["Alarms"]] or [
            f"TargetTracking-{policy['ResourceId']}-{side}-{uuid.uuid4()}" for side in ("AlarmHigh", "AlarmLow")
        ]
        target = float(tracking["TargetValue"])
        common = {
            "Namespace": "AWS/SageMaker",
            "MetricName": "InvocationsPerInstance",
            "Dimensions": [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": variant}],
            "Statistic": "Sum",
            "Period": 60,
            "AlarmDescription": "DO NOT EDIT OR DELETE. For TargetTrackingScaling policy " + policy["PolicyARN"],
            "AlarmActions": [policy["PolicyARN"]],
        }
        sides = (("GreaterThanThreshold", 3, target), ("LessThanThreshold", 15, 0.9 * target))
        return [
            {
                "AlarmName": name,
                "AlarmARN": self._alarms.put(
                    name,
                    {**common, "ComparisonOperator": operator, "EvaluationPeriods": periods, "Threshold": threshold},
                ),
            }
            for name, (operator, periods, threshold) in zip(names, sides, strict=True)
        ]

    def _describe_policies(self, request: Document) -> Document:
        def wanted(policy: Document) -> bool:
            names = request.get("PolicyNames")
            same = all(policy[m] == request[m] for m in ("ResourceId", "ScalableDimension") if m in request)
            return same and (not names or policy["PolicyName"] in names)

        return {"ScalingPolicies": [policy for _, policy in self._store.list(_POLICY) if wanted(policy)]}

    def _delete_policy(self, request: Document) -> Document:
        key = f"{_key(request)}|{request['PolicyName']}"
        policy = self._store.get(_POLICY, key)
        if policy is None:
            raise ApiError("ObjectNotFoundException", f"No scaling policy found for {_sentence(request)}")
        self._forget(key, policy)
        return {}


def _key(request: Mapping[str, Any]) -> str:
    return f"{request['ServiceNamespace']}|{request['ResourceId']}|{request['ScalableDimension']}"


def _sentence(request: Mapping[str, Any]) -> str:
    return (
        f"service namespace: {request['ServiceNamespace']}, resource ID: {request['ResourceId']}, "
        f"scalable dimension: {request['ScalableDimension']}"
    )


def _reply(status: int, document: Document) -> Reply:
    headers = {"Content-Type": "application/x-amz-json-1.1"}
    if status != 200:
        headers["x-amzn-errortype"] = str(document["__type"])
    return status, headers, json.dumps(document).encode()


_TARGET_IDENTITY = ("ServiceNamespace", "ResourceId", "ScalableDimension")
_TARGET_MEMBERS = (*_TARGET_IDENTITY, "MinCapacity", "MaxCapacity", "RoleARN", "SuspendedState")


def _put_target(context: CfnContext, properties: Properties) -> CfnResource:
    request = {name: properties[name] for name in _TARGET_MEMBERS if name in properties}
    for name in ("MinCapacity", "MaxCapacity"):
        request[name] = int(request[name])
    context.client("application-autoscaling").register_scalable_target(**request)
    physical_id = "|".join(str(request[name]) for name in ("ResourceId", "ScalableDimension", "ServiceNamespace"))
    return CfnResource(physical_id, {"Id": physical_id})


def _drop_target(context: CfnContext, physical_id: str, _properties: Properties) -> None:
    client = context.client("application-autoscaling")
    resource_id, dimension, namespace = physical_id.split("|")
    try:
        client.deregister_scalable_target(
            ServiceNamespace=namespace, ResourceId=resource_id, ScalableDimension=dimension
        )
    except client.exceptions.ObjectNotFoundException:
        return


def _policy_identity(properties: Properties) -> dict[str, str]:
    target = properties.get("ScalingTargetId")
    if target:
        resource_id, dimension, namespace = str(target).split("|")
        return {"ServiceNamespace": namespace, "ResourceId": resource_id, "ScalableDimension": dimension}
    return {name: str(properties[name]) for name in _TARGET_IDENTITY}


def _put_policy(context: CfnContext, properties: Properties) -> CfnResource:
    tracking = dict(properties.get("TargetTrackingScalingPolicyConfiguration") or {})
    tracking = _typed(tracking, _MODEL.shape_for("TargetTrackingScalingPolicyConfiguration"))
    reply = context.client("application-autoscaling").put_scaling_policy(
        **_policy_identity(properties),
        PolicyName=properties["PolicyName"],
        PolicyType=properties["PolicyType"],
        TargetTrackingScalingPolicyConfiguration=tracking,
    )
    return CfnResource(str(reply["PolicyARN"]), {"Arn": reply["PolicyARN"]})


def _drop_policy(context: CfnContext, _physical_id: str, properties: Properties) -> None:
    client = context.client("application-autoscaling")
    try:
        client.delete_scaling_policy(**_policy_identity(properties), PolicyName=properties["PolicyName"])
    except client.exceptions.ObjectNotFoundException:
        return


def _typed(value: Any, shape: Any) -> Any:
    """Convert a template's values, whose numbers and booleans may be strings, to the API's types."""
    if shape.type_name == "structure":
        return {name: _typed(inner, shape.members[name]) for name, inner in value.items()}
    if shape.type_name == "list":
        return [_typed(inner, shape.member) for inner in value]
    if shape.type_name == "integer":
        return int(value)
    if shape.type_name == "double":
        return float(value)
    if shape.type_name == "boolean":
        return value if isinstance(value, bool) else str(value).lower() == "true"
    return value


CFN_TYPES = {
    "AWS::ApplicationAutoScaling::ScalableTarget": CfnType(
        create=_put_target,
        delete=_drop_target,
        update=lambda context, _id, _old, new: _put_target(context, new),
        replace_on=frozenset(_TARGET_IDENTITY),
        tagged=False,
    ),
    "AWS::ApplicationAutoScaling::ScalingPolicy": CfnType(
        create=_put_policy,
        delete=_drop_policy,
        update=lambda context, _id, _old, new: _put_policy(context, new),
        replace_on=frozenset({"PolicyName", "ScalingTargetId", *_TARGET_IDENTITY}),
        tagged=False,
    ),
}
