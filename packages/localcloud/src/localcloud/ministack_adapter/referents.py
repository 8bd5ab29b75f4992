"""Whether what a resource names exists: CloudFormation's handlers call services, and these refuse what is not there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ministack.services import (
    cloudwatch_logs,
    dynamodb,
    eventbridge,
    iam,
    kms,
    lambda_svc,
    s3,
    scheduler,
    sns,
    sqs,
)

from localcloud.ministack_adapter import permissions
from localcloud.ministack_adapter.environment import ACCOUNT, REGION

Properties = Mapping[str, Any]


def problem(resource_type: str, properties: Properties) -> str | None:
    """Return the service's sentence about the first thing that does not exist, or None."""
    checks = _CHECKS.get(resource_type)
    return next(checks(properties), None) if checks else None


def conflict(resource_type: str, properties: Properties) -> str | None:
    """Return CloudFormation's sentence about a new resource whose given name is taken, or None."""
    member, known = _NAMED.get(resource_type, ("", {}))
    name = properties.get(member)
    if name is None or name not in known:
        return None
    return f"Resource of type '{resource_type}' with identifier '{name}' already exists."


_NAMED: Mapping[str, tuple[str, Any]] = {
    "AWS::DynamoDB::Table": ("TableName", dynamodb._tables),
    "AWS::IAM::Role": ("RoleName", iam._roles),
    "AWS::IAM::User": ("UserName", iam._users),
    "AWS::Lambda::Function": ("FunctionName", lambda_svc._functions),
    "AWS::Logs::LogGroup": ("LogGroupName", cloudwatch_logs._log_groups),
    "AWS::SQS::Queue": ("QueueName", sqs._queue_name_to_url),
}


def _principals(document: Any) -> Iterator[str]:
    """Yield the sentence about a principal of this account that does not exist."""
    statements = document.get("Statement", []) if isinstance(document, Mapping) else []
    for statement in statements if isinstance(statements, list) else [statements]:
        principal = statement.get("Principal")
        named = principal.get("AWS", []) if isinstance(principal, Mapping) else []
        for arn in named if isinstance(named, list) else [named]:
            kind, _, name = str(arn).removeprefix(f"arn:aws:iam::{ACCOUNT}:").partition("/")
            known = {"role": iam._roles, "user": iam._users}.get(kind)
            if known is not None and name.rpartition("/")[2] not in known:
                yield f'Invalid principal in policy: "AWS":"{arn}"'


def _role(properties: Properties) -> Iterator[str]:
    yield from _principals(properties.get("AssumeRolePolicyDocument"))
    yield from _identity(properties)


def _key(properties: Properties) -> Iterator[str]:
    yield from _principals(properties.get("KeyPolicy"))


def _bucket(properties: Properties) -> Iterator[str]:
    target = (properties.get("LoggingConfiguration") or {}).get("DestinationBucketName")
    if target and target not in s3._buckets:
        yield "The target bucket for logging does not exist"


def _mapping(properties: Properties) -> Iterator[str]:
    yield from _of_function(properties)
    source = str(properties.get("EventSourceArn", ""))
    if not source.startswith("arn:aws:sqs:"):
        return
    queue = sqs._queue_by_arn(source)
    function = lambda_svc._functions.get(_function_name(properties))
    if queue is None:
        yield (
            "Error occurred while ReceiveMessage. SQS Error Code: AWS.SimpleQueueService.NonExistentQueue. SQS Error "
            "Message: The specified queue does not exist."
        )
    elif function is not None:
        visible = int(queue["attributes"].get("VisibilityTimeout", 30))
        timeout = int(function["config"].get("Timeout", 3))
        if visible < timeout:
            yield f"Queue visibility timeout: {visible} seconds is less than Function timeout: {timeout} seconds"


def _function(properties: Properties) -> Iterator[str]:
    role = _role_of(properties.get("Role"))
    if role is None or not permissions._trusts(role, "lambda.amazonaws.com"):
        yield "The role defined for the function cannot be assumed by Lambda."
    code = properties.get("Code") or {}
    if "S3Bucket" in code:
        yield from _code(str(code["S3Bucket"]), str(code.get("S3Key", "")), code.get("S3ObjectVersion"))


def _code(bucket: str, key: str, version: str | None) -> Iterator[str]:
    failed = "Error occurred while GetObject. S3 Error Code: {}. S3 Error Message: {}"
    if bucket not in s3._buckets:
        yield failed.format("NoSuchBucket", "The specified bucket does not exist")
    elif s3._get_object_data(bucket, key, version) is None:
        yield failed.format("NoSuchKey", "The specified key does not exist.")


def _layer(properties: Properties) -> Iterator[str]:
    content = properties.get("Content") or {}
    yield from _code(str(content.get("S3Bucket", "")), str(content.get("S3Key", "")), content.get("S3ObjectVersion"))


def _role_of(arn: Any) -> Mapping[str, Any] | None:
    """Return the record of the role with this ARN, which holds its path."""
    record: Mapping[str, Any] | None = iam._roles.get(str(arn).rpartition("/")[2])
    return record if record is not None and record.get("Arn") == arn else None


def _identity(properties: Properties) -> Iterator[str]:
    attached = [*properties.get("ManagedPolicyArns", []), properties.get("PermissionsBoundary")]
    for arn in filter(None, attached):
        if arn not in iam._policies and arn not in iam._aws_managed_policies:
            yield f"Policy {arn} does not exist or is not attachable."
    yield from _missing(iam._groups, properties.get("Groups"), "group")


def _attachments(properties: Properties) -> Iterator[str]:
    yield from _missing(iam._roles, properties.get("Roles"), "role")
    yield from _missing(iam._users, properties.get("Users"), "user")
    yield from _missing(iam._groups, properties.get("Groups"), "group")


def _missing(known: Any, names: Any, noun: str) -> Iterator[str]:
    for name in names or []:
        if name not in known:
            yield f"The {noun} with name {name} cannot be found."


def _function_name(properties: Properties) -> str:
    reference = str(properties.get("FunctionName") or properties.get("TargetFunctionArn") or "")
    return (reference.split(":function:")[-1] if ":function:" in reference else reference).split(":")[0]


def _of_function(properties: Properties) -> Iterator[str]:
    name = _function_name(properties)
    if name not in lambda_svc._functions:
        yield f"Function not found: arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"


def _subscription(properties: Properties) -> Iterator[str]:
    if properties.get("TopicArn") not in sns._topics:
        yield "Topic does not exist"


def _topic_policy(properties: Properties) -> Iterator[str]:
    if any(arn not in sns._topics for arn in properties.get("Topics") or []):
        yield "Topic does not exist"


def _queue(properties: Properties) -> Iterator[str]:
    redrive = properties.get("RedrivePolicy")
    target = redrive.get("deadLetterTargetArn") if isinstance(redrive, Mapping) else None
    if target and sqs._queue_by_arn(target) is None:
        yield f"Value {target} for parameter RedrivePolicy is invalid. Reason: Dead letter target does not exist."


def _queue_policy(properties: Properties) -> Iterator[str]:
    if any(url not in sqs._queues for url in properties.get("Queues") or []):
        yield "The specified queue does not exist."


def _bucket_policy(properties: Properties) -> Iterator[str]:
    bucket, document = properties.get("Bucket"), properties.get("PolicyDocument")
    if bucket not in s3._buckets:
        yield "The specified bucket does not exist"
    yield from _principals(document)
    statements = document.get("Statement", []) if isinstance(document, Mapping) else []
    for statement in statements if isinstance(statements, list) else [statements]:
        resources = statement.get("Resource", [])
        for arn in resources if isinstance(resources, list) else [resources]:
            if str(arn).split(":::")[-1].split("/")[0] != bucket:
                yield "Policy has invalid resource"


def _rule(properties: Properties) -> Iterator[str]:
    bus = str(properties.get("EventBusName") or "default").rpartition("/")[2]
    if bus != "default" and bus not in eventbridge._event_buses:
        yield f"Event bus {bus} does not exist."
    for target in properties.get("Targets") or []:
        refused = eventbridge._validate_target_arn(target)
        if refused:
            yield str(json.loads(refused[2])["message"])


def _schedule(properties: Properties) -> Iterator[str]:
    role = _role_of((properties.get("Target") or {}).get("RoleArn"))
    if role is None or not permissions._trusts(role, "scheduler.amazonaws.com"):
        yield "The execution role you provide must allow AWS EventBridge Scheduler to assume the role."
    group = properties.get("GroupName", "default")
    if group != "default" and group not in scheduler._schedule_groups:
        yield f"Schedule group {group} does not exist."


def _of_log_group(properties: Properties) -> Iterator[str]:
    if properties.get("LogGroupName") not in cloudwatch_logs._log_groups:
        yield "The specified log group does not exist."


def _alias(properties: Properties) -> Iterator[str]:
    target = str(properties.get("TargetKeyId", ""))
    if target.rpartition("/")[2] not in kms._keys:
        yield f"Key '{target}' does not exist"


_CHECKS: Mapping[str, Callable[[Properties], Iterator[str]]] = {
    "AWS::Events::Rule": _rule,
    "AWS::IAM::Group": _identity,
    "AWS::IAM::GroupPolicy": _attachments,
    "AWS::IAM::InstanceProfile": _attachments,
    "AWS::IAM::ManagedPolicy": _attachments,
    "AWS::IAM::Policy": _attachments,
    "AWS::IAM::Role": _role,
    "AWS::IAM::User": _identity,
    "AWS::KMS::Alias": _alias,
    "AWS::KMS::Key": _key,
    "AWS::Lambda::Alias": _of_function,
    "AWS::Lambda::EventInvokeConfig": _of_function,
    "AWS::Lambda::EventSourceMapping": _mapping,
    "AWS::Lambda::Function": _function,
    "AWS::Lambda::LayerVersion": _layer,
    "AWS::Lambda::Permission": _of_function,
    "AWS::Lambda::Url": _of_function,
    "AWS::Lambda::Version": _of_function,
    "AWS::Logs::LogStream": _of_log_group,
    "AWS::Logs::MetricFilter": _of_log_group,
    "AWS::Logs::SubscriptionFilter": _of_log_group,
    "AWS::S3::Bucket": _bucket,
    "AWS::S3::BucketPolicy": _bucket_policy,
    "AWS::SNS::Subscription": _subscription,
    "AWS::SNS::TopicPolicy": _topic_policy,
    "AWS::SQS::Queue": _queue,
    "AWS::SQS::QueuePolicy": _queue_policy,
    "AWS::Scheduler::Schedule": _schedule,
}
