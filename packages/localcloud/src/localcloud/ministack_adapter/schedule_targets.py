"""Calls of EventBridge Scheduler's targets with the schedule's own role, as on AWS; ministack checks no permission.

Source: "Managing targets in EventBridge Scheduler", templated and universal targets, and "Configuring a dead-letter
queue for EventBridge Scheduler".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from botocore import xform_name
from botocore.exceptions import ClientError

from localcloud.cloud import RoleError
from localcloud.ministack_adapter.deliveries import DeliveryError

ClientFor = Callable[[str, str], Any]
_UNIVERSAL = re.compile(r"arn:aws:scheduler:::aws-sdk:([a-z0-9]+):([A-Za-z]+)")
_RETRIED = frozenset({"ThrottlingException", "TooManyRequestsException", "ServiceUnavailable", "InternalFailure"})


def call(client_for: ClientFor, target: Mapping[str, Any], payload: str) -> None:
    """Call a schedule's target.

    Args:
        client_for: (service, role ARN) → a client with the role's rights, assumed as scheduler.amazonaws.com.
        target: The schedule's target.
        payload: The target's input.

    Raises:
        DeliveryError: The target did not accept it, or the role may not call it.
    """
    arn, role = str(target.get("Arn", "")), str(target.get("RoleArn", ""))
    try:
        _call(lambda service: client_for(service, role), arn, target, payload)
    except RoleError as error:
        raise DeliveryError("NO_PERMISSIONS", str(error), lasting=True) from error
    except ClientError as error:
        code = error.response["Error"].get("Code", "INTERNAL_ERROR")
        raise DeliveryError(code, str(error), lasting=code not in _RETRIED) from error


def send_dead_letter(
    client_for: ClientFor,
    target: Mapping[str, Any],
    payload: str,
    schedule_arn: str,
    error: DeliveryError,
    attempts: int,
) -> None:
    """Put a refused payload into the schedule's dead-letter queue, with Scheduler's attributes."""
    queue = (target.get("DeadLetterConfig") or {}).get("Arn")
    if not queue:
        return
    values = {
        "X-Amz-Scheduler-Error-Code": error.code,
        "X-Amz-Scheduler-Error-Message": str(error),
        "X-Amz-Scheduler-Retry-Attempts": str(attempts),
        "X-Amz-Scheduler-Schedule-Arn": schedule_arn,
        "X-Amz-Scheduler-Target-Arn": str(target.get("Arn", "")),
    }
    attributes = {name: {"DataType": "String", "StringValue": value} for name, value in values.items()}
    client = client_for("sqs", str(target.get("RoleArn", "")))
    client.send_message(QueueUrl=_queue_url(client, queue), MessageBody=payload, MessageAttributes=attributes)


def _call(client: Callable[[str], Any], arn: str, target: Mapping[str, Any], payload: str) -> None:
    if universal := _UNIVERSAL.fullmatch(arn):
        service, operation = universal.groups()
        method = getattr(client(service), xform_name(operation[:1].upper() + operation[1:]), None)
        if method is None:
            raise DeliveryError("INVALID_PARAMETER", f"{arn}: {service} has no {operation}", lasting=True)
        method(**json.loads(payload or "{}"))
        return
    service = arn.split(":")[2] if arn.count(":") >= 5 else ""
    if service == "lambda":
        client("lambda").invoke(FunctionName=arn, InvocationType="Event", Payload=payload.encode())
    elif service == "sagemaker" and ":pipeline/" in arn:
        given = (target.get("SageMakerPipelineParameters") or {}).get("PipelineParameterList") or []
        client("sagemaker").start_pipeline_execution(PipelineName=arn.rpartition("/")[2], PipelineParameters=given)
    elif service == "sqs":
        queue = client("sqs")
        group = (target.get("SqsParameters") or {}).get("MessageGroupId")
        more = {"MessageGroupId": group} if group else {}
        queue.send_message(QueueUrl=_queue_url(queue, arn), MessageBody=payload, **more)
    elif service == "sns":
        client("sns").publish(TopicArn=arn, Message=payload)
    else:
        raise DeliveryError("INVALID_PARAMETER", f"schedule targets of the form {arn} are not run here", lasting=True)


def _queue_url(client: Any, arn: str) -> str:
    account, name = arn.split(":")[4:6]
    return f"{client.meta.endpoint_url}/{account}/{name}"
