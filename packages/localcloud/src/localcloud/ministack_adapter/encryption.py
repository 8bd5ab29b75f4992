"""Encryption with KMS keys by S3, SQS, SNS, DynamoDB, CloudWatch Logs, Lambda and Systems Manager.

Each service calls KMS with the rights of its caller (`kms:ViaService`), or as itself where it delivers something.
Sources: the pages on key management in the developer guide of each service.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ministack.services import cloudwatch, cloudwatch_logs, dynamodb, lambda_svc, sns, sqs, ssm
from ministack.services.cloudformation import provisioners

from localcloud.ministack_adapter import keys
from localcloud.ministack_adapter.environment import ACCOUNT, REGION
from localcloud.ministack_adapter.keys import Refusal, Use
from localcloud.ministack_adapter.patching import wrap

_log = logging.getLogger(__name__)
_TABLE_USE = ("CreateGrant", "DescribeKey", "Encrypt", "Decrypt", "GenerateDataKey")
_ITEM_OPERATIONS = ("GetItem", "PutItem", "UpdateItem", "DeleteItem", "Query", "Scan")
_CODES = {"denied": "AccessDenied", "disabled": "Disabled", "state": "InvalidState", "missing": "NotFound"}
_SEVERAL_ITEMS = ("BatchGetItem", "BatchWriteItem", "TransactGetItems", "TransactWriteItems")
_SQS_CODES = {
    "denied": "KmsAccessDenied",
    "disabled": "KmsDisabled",
    "state": "KmsInvalidState",
    "missing": "KmsNotFound",
}
_SNS_CODES = {
    "denied": "KMSAccessDenied",
    "disabled": "KMSDisabled",
    "state": "KMSInvalidState",
    "missing": "KMSNotFound",
}


def install() -> None:
    """Ask KMS before each use of a key by ministack's services, except S3's."""
    wrap(sqs, "_dispatch", _queue_operations)
    # Source: Amazon SQS API Reference, SendMessage, "Errors": the codes of the query protocol.
    sqs._QUERY_COMPAT_CODES.update(
        KmsAccessDenied="KMS.AccessDeniedException",
        KmsDisabled="KMS.DisabledException",
        KmsInvalidState="KMS.InvalidStateException",
        KmsNotFound="KMS.NotFoundException",
    )
    for name in ("_publish", "_publish_batch"):
        wrap(sns, name, _publishing)
    wrap(sns, "_deliver_to_sqs", _topic_to_queue)
    wrap(cloudwatch, "_dispatch_alarm_actions", _alarm_actions)
    wrap(cloudwatch_logs, "_create_log_group", _group_key)
    groups = provisioners._RESOURCE_HANDLERS["AWS::Logs::LogGroup"]
    groups["create"], groups["update"] = _group_of_template(groups["create"]), _updated_group(groups["update"])
    for name in ("_get_parameter", "_get_parameters", "_get_parameters_by_path", "_get_parameter_history"):
        wrap(ssm, name, _reading_parameters)
    wrap(ssm, "_put_parameter", _writing_parameter)
    wrap(lambda_svc, "_invoke", _invoking)


def queue_refusal(queue_arn: str, principal: str, source: Mapping[str, str]) -> Refusal | None:
    """Return why a service may not encrypt a message for a queue."""
    queue = sqs._queue_by_arn(queue_arn) or {}
    return _delivery(_queue_use(queue, queue_arn), principal, source)


def topic_refusal(topic_arn: str, principal: str, source: Mapping[str, str]) -> Refusal | None:
    """Return why a service may not encrypt a message for a topic."""
    return _delivery(_topic_use(topic_arn), principal, source)


def table_refusal(operation: str, request: Mapping[str, Any]) -> str | None:
    """Return why the caller may not do this with a table of DynamoDB because of its key."""
    if operation in ("CreateTable", "UpdateTable"):
        specification = request.get("SSESpecification") or {}
        if specification.get("Enabled") and specification.get("KMSMasterKeyId"):
            name = str(request.get("TableName", ""))
            use = Use(
                str(specification["KMSMasterKeyId"]), _TABLE_USE, "dynamodb", _table_context(name), for_grant=True
            )
            return _message(keys.refused_to_caller(use))
        return None
    if operation not in _ITEM_OPERATIONS + _SEVERAL_ITEMS:
        return None
    for name in sorted(_tables(request)):
        description = (dynamodb._tables.get(name) or {}).get("SSEDescription") or {}
        if description.get("KMSMasterKeyArn"):
            use = Use(str(description["KMSMasterKeyArn"]), ("Decrypt",), "dynamodb", _table_context(name))
            refusal = keys.refused_to_caller(use)
            if refusal is not None:
                return refusal.message
    return None


def function_refusal(operation: str, request: Mapping[str, Any], name: str) -> str | None:
    """Return why Lambda cannot encrypt a function's variables with the caller's rights."""
    variables = (request.get("Environment") or {}).get("Variables")
    key = request.get("KMSKeyArn")
    if operation not in ("CreateFunction", "UpdateFunctionConfiguration") or not key or not variables:
        return None
    arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name or request.get('FunctionName', '')}"
    context = {"aws:lambda:FunctionArn": arn}
    for action in ("CreateGrant", "Encrypt"):
        refusal = keys.refused_to_caller(Use(str(key), (action,), "lambda", context, for_grant=action == "CreateGrant"))
        if refusal is not None:
            return (
                f"Lambda was unable to configure access to your environment variables because the KMS key is invalid "
                f"for {action}. Please check your KMS key settings. KMS Exception: "
                f"{_CODES[refusal.kind]}Exception KMS Message: {refusal.message}"
            )
    return None


def _queue_use(queue: Mapping[str, Any], arn: str, *actions: str) -> Use | None:
    key = (queue.get("attributes") or {}).get("KmsMasterKeyId")
    return Use(str(key), actions or ("GenerateDataKey", "Decrypt"), "sqs", {"aws:sqs:arn": arn}) if key else None


def _topic_use(arn: str) -> Use | None:
    key = ((sns._topic_by_arn_any_scope(arn) or {}).get("attributes") or {}).get("KmsMasterKeyId")
    return Use(str(key), ("GenerateDataKey", "Decrypt"), "sns", {"aws:sns:topicArn": arn}) if key else None


def _delivery(use: Use | None, principal: str, source: Mapping[str, str]) -> Refusal | None:
    return None if use is None else keys.refused_to_service(principal, use, source)


def _queue_operations(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    needed = {
        "SendMessage": ("GenerateDataKey", "Decrypt"),
        "SendMessageBatch": ("GenerateDataKey", "Decrypt"),
        "ReceiveMessage": ("Decrypt",),
    }

    async def dispatch(action: str, data: dict[str, Any], url: str) -> Any:
        if action in needed:
            queue = sqs._get_q(url)
            use = _queue_use(queue, queue["attributes"]["QueueArn"], *needed[action])
            refusal = keys.refused_to_caller(use) if use else None
            if refusal is not None:
                raise sqs._Err(f"Kms{_CODES[refusal.kind]}", refusal.message)
        return await original(action, data, url)

    return dispatch


def _publishing(original: Callable[..., Any]) -> Callable[..., Any]:
    def publish(parameters: Mapping[str, Any]) -> Any:
        arn = sns._p(parameters, "TopicArn") or sns._p(parameters, "TargetArn")
        use = _topic_use(arn) if arn else None
        refusal = keys.refused_to_caller(use) if use else None
        if refusal is not None:
            return sns._error(f"KMS{_CODES[refusal.kind]}", refusal.message, 400)
        return original(parameters)

    return publish


def _topic_to_queue(original: Callable[..., None]) -> Callable[..., None]:
    def deliver(endpoint: str, *args: Any, topic_arn: str = "", **kwargs: Any) -> None:
        source = {"aws:sourcearn": topic_arn, "aws:sourceaccount": ACCOUNT}
        refusal = queue_refusal(endpoint, "sns.amazonaws.com", source)
        if refusal is not None:
            _log.warning("%s could not deliver to %s: %s", topic_arn, endpoint, refusal.message)
            return
        original(endpoint, *args, topic_arn=topic_arn, **kwargs)

    return deliver


def _alarm_actions(original: Callable[..., None]) -> Callable[..., None]:
    """Send alarms only to the topics whose policy and key admit CloudWatch."""

    def dispatch(alarm: dict[str, Any], old: str, new: str, reason: str) -> None:
        arn = f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{alarm.get('AlarmName', '')}"

        def admitted(action: str) -> bool:
            if not cloudwatch._is_sns_action_arn(action):
                return True
            source = {"aws:sourcearn": arn, "aws:sourceaccount": ACCOUNT}
            refusal = topic_refusal(action, "cloudwatch.amazonaws.com", source)
            if refusal is None and sns.topic_policy_allows(action, "cloudwatch.amazonaws.com", arn, ACCOUNT):
                return True
            why = refusal.message if refusal else "the topic's policy does not admit cloudwatch.amazonaws.com"
            _log.warning("alarm %s could not execute action %s: %s", arn, action, why)
            return False

        members = ("AlarmActions", "OKActions", "InsufficientDataActions")
        chosen = {name: [one for one in alarm.get(name) or [] if admitted(one)] for name in members}
        original({**alarm, **chosen}, old, new, reason)

    return dispatch


def group_key_problem(key: str, group: str) -> str | None:
    """Return CloudWatch Logs' sentence for a key that it may not use for a log group."""
    arn = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{group}"
    use = Use(key, ("Encrypt", "Decrypt", "ReEncryptTo", "GenerateDataKey", "DescribeKey"), "", {"aws:logs:arn": arn})
    source = {"aws:sourcearn": arn, "aws:sourceaccount": ACCOUNT}
    if keys.refused_to_service(f"logs.{REGION}.amazonaws.com", use, source) is None:
        return None
    return f"The specified KMS key does not exist or is not allowed to be used with LogGroup '{arn}'"


def _group_key(original: Callable[..., Any]) -> Callable[..., Any]:
    def create(data: dict[str, Any]) -> Any:
        key = data.get("kmsKeyId")
        problem = group_key_problem(str(key), str(data.get("logGroupName", ""))) if key else None
        if problem is not None:
            return cloudwatch_logs.error_response_json("InvalidParameterException", problem, 400)
        return original(data)

    return create


def _group_of_template(original: Callable[..., Any]) -> Callable[..., Any]:
    """Name a group as CloudFormation does, because key policies name log groups; ministack has names of its own."""

    def create(logical_id: str, properties: Mapping[str, Any], stack_name: str) -> Any:
        named = _named_group(properties, provisioners._physical_name(stack_name, logical_id, max_len=512))
        return original(logical_id, named, stack_name)

    return create


def _updated_group(original: Callable[..., Any]) -> Callable[..., Any]:
    def update(
        physical_id: str, old: Mapping[str, Any], new: Mapping[str, Any], stack_name: str, logical_id: str
    ) -> Any:
        generated = provisioners._physical_name(stack_name, logical_id, max_len=512)
        named = _named_group(new, generated if "LogGroupName" in old else physical_id)
        return original(physical_id, {"LogGroupName": physical_id, **old}, named, stack_name, logical_id)

    return update


def _named_group(properties: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the properties with a name.

    Raises:
        ValueError: CloudWatch Logs may not use the key for a group of this name.
    """
    named = {"LogGroupName": name, **properties}
    key = properties.get("KmsKeyId")
    problem = group_key_problem(str(key), str(named["LogGroupName"])) if key else None
    if problem is not None:
        raise ValueError(problem)
    return named


def _reading_parameters(original: Callable[..., Any]) -> Callable[..., Any]:
    def read(data: Mapping[str, Any]) -> Any:
        status, headers, body = original(data)
        if status != 200 or not data.get("WithDecryption"):
            return status, headers, body
        for parameter in _parameters(body):
            refusal = _parameter_refusal(str(parameter["Name"]), str(parameter.get("KeyId", "")), "Decrypt")
            if refusal is not None:
                return ssm.error_response_json("AccessDeniedException", refusal.message, 400)
        return status, headers, body

    return read


def _parameters(body: bytes | str) -> list[Mapping[str, Any]]:
    answer = json.loads(body)
    found = [answer["Parameter"]] if "Parameter" in answer else answer.get("Parameters", [])
    return [one for one in found if one.get("Type") == "SecureString"]


def _writing_parameter(original: Callable[..., Any]) -> Callable[..., Any]:
    def write(data: Mapping[str, Any]) -> Any:
        if data.get("Type") == "SecureString" and data.get("KeyId"):
            refusal = _parameter_refusal(str(data.get("Name", "")), str(data["KeyId"]), "Encrypt")
            if refusal is not None:
                return ssm.error_response_json("AccessDeniedException", refusal.message, 400)
        return original(data)

    return write


def _parameter_refusal(name: str, key: str, action: str) -> Refusal | None:
    key = key or str((ssm._parameters.get(name) or {}).get("KeyId") or "")
    if not key:
        return None
    arn = f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/{name.lstrip('/')}"
    return keys.refused_to_caller(Use(key, (action,), "ssm", {"PARAMETER_ARN": arn}))


def _invoking(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Refuse to run a function whose variables cannot be decrypted.

    The function's role has a grant, which Lambda made with the rights of the function's creator.
    """

    async def invoke(name: str, *args: Any, **kwargs: Any) -> Any:
        _, config, _ = lambda_svc._get_func_record_for_ref(name)
        key = str((config or {}).get("KMSKeyArn") or "")
        refusal = keys.unusable(key) if key and ((config or {}).get("Environment") or {}).get("Variables") else None
        if refusal is not None:
            code = f"KMS{_CODES[refusal.kind]}Exception"
            message = (
                "Lambda was unable to decrypt the environment variables because the KMS key used is "
                f"{'disabled' if refusal.kind == 'disabled' else 'not usable'}. Please check the function's KMS key "
                f"settings. KMS Message: {refusal.message}"
            )
            return lambda_svc.error_response_json(code, message, 502)
        return await original(name, *args, **kwargs)

    return invoke


def _tables(request: Mapping[str, Any]) -> set[str]:
    found = {str(request["TableName"])} if "TableName" in request else set()
    found |= {str(name) for name in request.get("RequestItems") or {}}
    for item in request.get("TransactItems") or []:
        found |= {str(part["TableName"]) for part in item.values() if isinstance(part, Mapping) and "TableName" in part}
    return {name.rpartition("/")[2] for name in found}


def _table_context(name: str) -> dict[str, str]:
    return {"aws:dynamodb:tableName": name, "aws:dynamodb:subscriberId": ACCOUNT}


def _message(refusal: Refusal | None) -> str | None:
    return None if refusal is None else refusal.message
