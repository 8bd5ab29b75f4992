"""What services refuse that no schema says: names, patterns, and members that depend on each other."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

Properties = Mapping[str, Any]
_QUEUE_NAME = re.compile(r"[A-Za-z0-9_-]{1,75}\.fifo|[A-Za-z0-9_-]{1,80}")
_HOUR = 3600
_TABLE_NAME = re.compile(r"[A-Za-z0-9_.-]{3,255}")
_PROTOCOLS = frozenset(
    {"application", "email", "email-json", "firehose", "http", "https", "lambda", "sms", "sqs"},
)
_AT = re.compile(r"at\(\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d\)")


def problem(
    resource_type: str,
    properties: Properties,
    *,
    pattern_error: Callable[[str], str | None],
    is_schedule: Callable[[str], bool],
) -> str | None:
    """Return the service's sentence about resolved properties that the schema allows, or None.

    Args:
        resource_type: The resource's type.
        properties: The resolved properties.
        pattern_error: Returns what is wrong with an event pattern's JSON.
        is_schedule: Returns whether a `rate` or `cron` expression is valid.
    """
    found = next(_policies(properties), None)
    if found:
        return found
    match resource_type:
        case "AWS::CloudWatch::Alarm":
            return next(_alarm(properties), None)
        case "AWS::KMS::Key" if not _leaves_its_policy_open(properties):
            return "The new key policy will not allow you to update the key policy in the future."
        case "AWS::SNS::Topic" if not _is_topic_name(properties):
            return "Invalid parameter: Topic Name"
        case "AWS::SSM::Parameter" if len(str(properties.get("Value", ""))) > _longest_value(properties):
            return (
                "Standard tier parameters support a maximum parameter value of 4096 characters. To create a larger "
                "parameter value, upgrade the parameter to use the advanced-parameter tier."
            )
        case "AWS::SQS::Queue":
            return next(_queue(properties), None)
        case "AWS::SNS::Subscription" if properties.get("Protocol") not in _PROTOCOLS:
            return "Invalid parameter: Does not support this protocol string: " + str(properties.get("Protocol"))
        case "AWS::DynamoDB::Table" if not _TABLE_NAME.fullmatch(str(properties.get("TableName", "any"))):
            return (
                "Invalid table/index name. TableName must be at least 3 characters long and at most 255 characters "
                "long, and may contain only the characters a-z, A-Z, 0-9, '_', '-', and '.'"
            )
        case "AWS::Lambda::Function":
            return next(_function(properties), None)
        case "AWS::Events::Rule":
            pattern = properties.get("EventPattern")
            if pattern:
                error = pattern_error(pattern if isinstance(pattern, str) else json.dumps(pattern))
                if error:
                    return f"Event pattern is not valid. Reason: {error}"
            schedule = properties.get("ScheduleExpression")
            if schedule and not is_schedule(str(schedule)):
                return "Parameter ScheduleExpression is not valid."
        case "AWS::Scheduler::Schedule":
            schedule = str(properties.get("ScheduleExpression", ""))
            if not _AT.fullmatch(schedule) and not (schedule and is_schedule(schedule)):
                return f"Invalid Schedule Expression {schedule}."
    return None


def _statements(document: Any) -> list[Mapping[str, Any]]:
    found = document.get("Statement", []) if isinstance(document, Mapping) else []
    return [one for one in (found if isinstance(found, list) else [found]) if isinstance(one, Mapping)]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _policies(properties: Properties) -> Iterator[str]:
    """Yield the sentence about an action without a service, in a policy of the resource."""
    documents = [properties.get(name) for name in ("PolicyDocument", "AssumeRolePolicyDocument", "KeyPolicy")]
    inline = properties.get("Policies")
    documents += (
        [one.get("PolicyDocument") for one in inline if isinstance(one, Mapping)] if isinstance(inline, list) else []
    )
    for document in documents:
        for statement in _statements(document):
            for action in _listed(statement.get("Action", "*")):
                if str(action) != "*" and ":" not in str(action):
                    yield "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."


def _leaves_its_policy_open(properties: Properties) -> bool:
    """Return whether a key's policy lets somebody in the account change it, which KMS demands."""
    if "KeyPolicy" not in properties or str(properties.get("BypassPolicyLockoutSafetyCheck", "")).lower() == "true":
        return True
    return any(
        statement.get("Effect") == "Allow"
        and any(
            fnmatchcase("kms:putkeypolicy", str(action).lower()) for action in _listed(statement.get("Action", "*"))
        )
        and (statement.get("Principal") == "*" or "AWS" in dict(statement.get("Principal") or {}))
        for statement in _statements(properties["KeyPolicy"])
    )


def _is_topic_name(properties: Properties) -> bool:
    name = str(properties.get("TopicName", "any"))
    fifo = str(properties.get("FifoTopic", "")).lower() == "true"
    if "TopicName" in properties and fifo != name.endswith(".fifo"):
        return False
    return re.fullmatch(r"[A-Za-z0-9_-]{1,256}", name.removesuffix(".fifo")) is not None


def _longest_value(properties: Properties) -> int:
    return 8192 if properties.get("Tier") in ("Advanced", "Intelligent-Tiering") else 4096


def _alarm(properties: Properties) -> Iterator[str]:
    seconds = int(properties.get("EvaluationPeriods", 1)) * int(properties.get("Period", 0))
    days = 7 if int(properties.get("Period", 0)) >= _HOUR else 1
    if seconds > days * 24 * _HOUR:
        yield f"Metrics cannot be checked across more than {days * 24 * _HOUR} seconds (EvaluationPeriods * Period)"


def _queue(properties: Properties) -> Iterator[str]:
    name = properties.get("QueueName")
    if name is not None and not _QUEUE_NAME.fullmatch(str(name)):
        yield (
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length "
            f"(QueueName has {len(str(name))} characters)"
        )
    if name is not None and str(name).endswith(".fifo") and str(properties.get("FifoQueue", "")).lower() != "true":
        yield "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length"


def _function(properties: Properties) -> Iterator[str]:
    if properties.get("PackageType") == "Image" or "ImageUri" in (properties.get("Code") or {}):
        return
    if not {"ZipFile", "S3Bucket"} & set(properties.get("Code") or {}):
        yield "Please provide a source for function code."
    for member in ("Handler", "Runtime"):
        if not properties.get(member):
            yield f"{member} is a required parameter for creating a Function with a .zip file archive"
