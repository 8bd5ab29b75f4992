"""IAM that ministack lacks: SageMaker, Application Auto Scaling, `iam:PassRole`, role sessions of services.

Sources: the Service Authorization Reference's pages on Amazon SageMaker, Application Auto Scaling and IAM.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

from ministack.core import iam_actions, iam_evaluator, responses, router
from ministack.services import iam, sts

from localcloud.cloud import RoleError
from localcloud.ministack_adapter import developer_tools, keys
from localcloud.ministack_adapter.environment import ACCOUNT, REGION, ROOT_KEY
from localcloud.ministack_adapter.patching import wrap
from localcloud.ministack_adapter.principals import role_arn_of

_PER_PROCESS = secrets.token_bytes(32)
_VERB = re.compile(r"^(Create|Describe|Update|Delete|Stop|Start|Retry|Register|Send)([A-Z]\w*)$")

# Operations whose resource differs from the noun in their name → its type and the request member that names it.
_RESOURCE_MEMBER = {
    "StartPipelineExecution": ("pipeline", "PipelineName"),
    "ListModelPackages": ("model-package-group", "ModelPackageGroupName"),
    "ListPipelineExecutions": ("pipeline", "PipelineName"),
    "ListPipelineVersions": ("pipeline", "PipelineName"),
    "ListPipelineExecutionSteps": ("pipeline", "PipelineExecutionArn"),
    "ListPipelineParametersForExecution": ("pipeline", "PipelineExecutionArn"),
    "DescribePipelineDefinitionForExecution": ("pipeline", "PipelineExecutionArn"),
    "UpdateEndpointWeightsAndCapacities": ("endpoint", "EndpointName"),
    "AddTags": ("", "ResourceArn"),
    "DeleteTags": ("", "ResourceArn"),
    "ListTags": ("", "ResourceArn"),
}

# Request members (at any depth) → their condition keys; a member may occur several times in a request.
_CONDITION_KEYS = {
    "ModelApprovalStatus": "sagemaker:ModelApprovalStatus",
    "InstanceType": "sagemaker:InstanceTypes",
    "EnableNetworkIsolation": "sagemaker:NetworkIsolation",
    "EnableInterContainerTrafficEncryption": "sagemaker:InterContainerTrafficEncryption",
    "MaxRuntimeInSeconds": "sagemaker:MaxRuntimeInSeconds",
    "VolumeKmsKeyId": "sagemaker:VolumeKmsKey",
    "SecurityGroupIds": "sagemaker:VpcSecurityGroupIds",
    "Subnets": "sagemaker:VpcSubnets",
    "MaxConcurrency": "sagemaker:ServerlessMaxConcurrency",
    "MemorySizeInMB": "sagemaker:ServerlessMemorySize",
}
# Request members → CloudFormation's own condition keys.
_STACK_CONDITION_KEYS = {
    "RoleARN": "cloudformation:RoleArn",
    "TemplateURL": "cloudformation:TemplateUrl",
    "ChangeSetName": "cloudformation:ChangeSetName",
    "StackPolicyURL": "cloudformation:StackPolicyUrl",
}
# SQS authorises a batch by the permission for one message (SQS Developer Guide, "Amazon SQS API permissions").
_OF_A_BATCH = {
    "sqs:SendMessageBatch": "sqs:SendMessage",
    "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
    "sqs:ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
}
_ROLE_MEMBERS = frozenset({"RoleArn", "ExecutionRoleArn"})


def install() -> None:
    """Add the services to ministack's evaluator; the rules of its own services stay."""
    iam_actions.SERVICE_TO_IAM_NAMESPACE.update(
        {
            "sagemaker": "sagemaker",
            "application-autoscaling": "application-autoscaling",
            "servicequotas": "servicequotas",
        }
    )
    iam_actions._BOTOCORE_SERVICE_MAP.update(
        {
            "sagemaker": ["sagemaker", "sagemaker-runtime"],
            "application-autoscaling": ["application-autoscaling"],
            "servicequotas": ["service-quotas"],
        }
    )
    iam_actions.SERVICE_TO_IAM_NAMESPACE.update({service: service for service in developer_tools.TARGETS})
    iam_actions._BOTOCORE_SERVICE_MAP.update({service: [service] for service in developer_tools.TARGETS})
    wrap(iam_actions, "extract_resource_arn", _resource_arn)
    wrap(iam_actions, "extract_iam_action", _iam_action)
    wrap(iam_actions, "request_tag_context", _condition_context)
    wrap(iam_evaluator, "_resolve_condition_key", _with_role_principal)
    # What services do outside of a request, such as the actions of an alarm, counts as TLS too.
    iam_evaluator._request_origin = ContextVar("localcloud_request_origin", default=("127.0.0.1", True))
    keys.install()


def _with_role_principal(original: Callable[..., Any]) -> Callable[..., Any]:
    """Resolve `aws:PrincipalArn` of a role session to the role's ARN.

    Source: IAM User Guide, "Global condition context keys".
    """

    def resolve(key: str, ctx: Any) -> Any:
        value = original(key, ctx)
        return role_arn_of(str(value)) if key.lower() == "aws:principalarn" else value

    return resolve


def _iam_action(original: Callable[..., str | None]) -> Callable[..., str | None]:
    def extract(*request: Any, **rest: Any) -> str | None:
        action = original(*request, **rest)
        return _OF_A_BATCH.get(action, action) if action else action

    return extract


def _resource_arn(original: Callable[..., str]) -> Callable[..., str]:
    def extract(
        service: str,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        query: Mapping[str, Any],
        region: str,
        account: str,
    ) -> str:
        if service == "sagemaker":
            operation = headers.get("x-amz-target", "").rpartition(".")[2]
            return sagemaker_resource(operation, path, json_object(body), region, account)
        if service in developer_tools.TARGETS:
            operation = headers.get("x-amz-target", "").rpartition(".")[2]
            return developer_tools.resource(service, operation, json_object(body), region, account)
        if service == "ssm":
            names = parameter_names(json_object(body))
            if names:
                return parameter_arn(names[0], region, account)
        if service == "monitoring":
            alarms = json_object(body).get("AlarmNames")
            if alarms:
                return f"arn:aws:cloudwatch:{region}:{account}:alarm:{alarms[0]}"
        if service == "kms":
            return keys.arn_of(original(service, method, path, headers, body, query, region, account))
        if service == "application-autoscaling":
            return f"arn:aws:application-autoscaling:{region}:{account}:scalable-target/*"
        return original(service, method, path, headers, body, query, region, account)

    return extract


def sagemaker_resource(operation: str, path: str, request: Mapping[str, Any], region: str, account: str) -> str:
    """Return the ARN that a policy must allow for a SageMaker request; `*` for a request without a resource."""
    prefix = f"arn:aws:sagemaker:{region}:{account}:"
    if invoked := re.match(r"^/endpoints/([^/]+)/", path):
        return f"{prefix}endpoint/{invoked[1]}"
    if operation == "CreateModelPackage" and "ModelPackageGroupName" in request:
        return f"{prefix}model-package/{_name(request['ModelPackageGroupName'])}/*"
    special = _RESOURCE_MEMBER.get(operation)
    if special is None:
        verb = _VERB.match(operation)
        if verb is None:
            return "*"
        noun = verb[2]
        members = ("JobDefinitionName",) if noun.endswith("JobDefinition") else (f"{noun}Name", f"{noun}Arn")
        special = next(((_kebab(noun), member) for member in members if member in request), ("", ""))
    kind, member = special
    value = str(request.get(member, ""))
    if not value:
        return "*"
    return value if value.startswith("arn:") else f"{prefix}{kind}/{value}"


def _condition_context(original: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def context(service: str, action: str, body: bytes, params: Mapping[str, Any]) -> dict[str, Any]:
        found = original(service, action, body, params)
        if (
            service == "sagemaker" and action != "sagemaker:InvokeEndpoint"
        ):  # the body of an invocation is the model's input
            found.update(sagemaker_conditions(json_object(body)))
        if action == "cloudwatch:PutMetricData":
            namespace = iam_actions._param(body, dict(params), "Namespace")
            found.update({"cloudwatch:namespace": namespace} if namespace else {})
        if service == "kms":
            found.update(keys.request_conditions(action, json_object(body)))
        if action == "sts:AssumeRole":
            found.update(_role_tags(iam_actions._param(body, dict(params), "RoleArn")))
        if service == "cloudformation":
            given = {member: iam_actions._query_param(dict(params), member) for member in _STACK_CONDITION_KEYS}
            found.update({_STACK_CONDITION_KEYS[member]: value for member, value in given.items() if value})
        return found

    return context


def _role_tags(role_arn: str) -> dict[str, str]:
    """Return `iam:ResourceTag/…` of the assumed role: the CDK's self-mutation selects its bootstrap roles by a tag."""
    with responses.request_scope(ACCOUNT, REGION):
        role = iam._roles.get(role_arn.rpartition("/")[2]) or {}
    tags = {tag["Key"]: tag["Value"] for tag in role.get("Tags") or []}
    return {f"{prefix}:ResourceTag/{key}": value for key, value in tags.items() for prefix in ("iam", "aws")}


def parameter_names(request: Mapping[str, Any]) -> list[str]:
    """Return the parameters that a request reads by path or by several names; ministack evaluates `*` for them."""
    if "Path" in request:
        return [str(request["Path"])]
    return [str(name) for name in request.get("Names") or []]


def parameter_arn(name: str, region: str, account: str) -> str:
    """Return the ARN of a parameter."""
    if name.startswith("arn:"):
        return name
    return f"arn:aws:ssm:{region}:{account}:parameter/{name.lstrip('/')}"


def additional_resources(service: str, operation: str, request: Mapping[str, Any]) -> list[str]:
    """Return the resources besides the first one on which the same action must be allowed."""
    if service == "ssm":
        return [parameter_arn(name, REGION, ACCOUNT) for name in parameter_names(request)[1:]]
    if service == "monitoring":
        alarms = list(request.get("AlarmNames") or [])
        return [f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{name}" for name in alarms[1:]]
    if service == "sagemaker" and operation in ("CreateEndpoint", "UpdateEndpoint"):
        name = str(request.get("EndpointConfigName", ""))
        return [f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint-config/{name}"]
    return []


def denied_additional(access_key: str, service: str, operation: str, request: Mapping[str, Any]) -> str | None:
    """Return None if the pinned request's caller may act on every additional resource, otherwise AWS's sentence."""
    action = f"{'cloudwatch' if service == 'monitoring' else service}:{operation}"
    for resource in additional_resources(service, operation, request):
        denied = iam_evaluator.enforce(access_key, action, service, REGION, resource_arn=resource)
        if denied is not None:
            caller = getattr(denied, "principal_arn", "") or "the caller"
            return (
                f"User: {caller} is not authorized to perform: {action} on resource: {resource} "
                f"because no identity-based policy allows the {action} action"
            )
    return None


def sagemaker_conditions(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return SageMaker's condition keys of a request."""
    values: dict[str, list[str]] = {}
    for member, value in _members(request):
        key = _CONDITION_KEYS.get(member)
        if key and not isinstance(value, Mapping):
            texts = value if isinstance(value, list) else [value]
            values.setdefault(key, []).extend(_text(text) for text in texts)
    life_cycle = request.get("ModelLifeCycle")
    if isinstance(life_cycle, Mapping):
        for member, key in (("Stage", "stage"), ("StageStatus", "stageStatus")):
            if member in life_cycle:
                values[f"sagemaker:ModelLifeCycle:{key}"] = [str(life_cycle[member])]
    for name, value in dict(request.get("CustomerMetadataProperties") or {}).items():
        values[f"sagemaker:CustomerMetadataProperties/{name}"] = [str(value)]
    return {key: found if len(found) > 1 else found[0] for key, found in values.items()}


def passed_roles(request: Mapping[str, Any]) -> list[str]:
    """Return the roles that a request passes to a service, each of which needs `iam:PassRole`."""
    return [str(value) for member, value in _members(request) if member in _ROLE_MEMBERS and isinstance(value, str)]


def denied(credentials: Mapping[str, str], action: str, resource: str) -> str | None:
    """Return None if the role session may perform an action without an API of its own, otherwise AWS's sentence."""
    with responses.request_scope(ACCOUNT, REGION):
        refused = iam_evaluator.enforce(
            credentials["AWS_ACCESS_KEY_ID"], action, action.partition(":")[0], REGION, resource_arn=resource
        )
    if refused is None:
        return None
    caller = getattr(refused, "principal_arn", "") or "the caller"
    return f"User: {caller} is not authorized to perform: {action} on resource: {resource}"


def denied_to_caller(action: str, resource: str) -> str | None:
    """Return None if the pinned request's caller may perform an action, or there is none, otherwise AWS's sentence."""
    access_key = keys.pinned_caller()
    if access_key is None:
        return None
    refused = iam_evaluator.enforce(access_key, action, action.partition(":")[0], REGION, resource_arn=resource)
    if refused is None:
        return None
    caller = getattr(refused, "principal_arn", "") or "the caller"
    return (
        f"User: {caller} is not authorized to perform: {action} on resource: {resource} "
        f"because no identity-based policy allows the {action} action"
    )


def may_pass_role(access_key: str, role_arn: str, service_principal: str) -> str | None:
    """Return None if the pinned request's caller may pass the role, otherwise AWS's sentence."""
    denied = iam_evaluator.enforce(
        access_key,
        "iam:PassRole",
        "iam",
        REGION,
        resource_arn=role_arn,
        service_context={"iam:PassedToService": service_principal},
    )
    if denied is None:
        return None
    caller = getattr(denied, "principal_arn", "") or "the caller"
    return (
        f"User: {caller} is not authorized to perform: iam:PassRole on resource: {role_arn} "
        "because no identity-based policy allows the iam:PassRole action"
    )


def role_credentials(role_arn: str, service_principal: str | None, session_name: str) -> dict[str, str]:
    """Return AWS_* credentials of a role's session in ministack's STS, assumed by the service (None: by the account).

    Raises:
        RoleError: The role does not exist, or its trust policy does not admit the service.
    """
    name = role_arn.rpartition("/")[2]
    with responses.request_scope(ACCOUNT, REGION):
        role = iam._roles.get(name)
    if role is None or role.get("Arn") != role_arn:
        raise RoleError(role_arn, service_principal)
    if service_principal is not None and not _trusts(role, service_principal):
        raise RoleError(role_arn, service_principal)
    return session_credentials(role_arn, session_name, role.get("RoleId", name))


def session_credentials(role_arn: str, session_name: str, of: str) -> dict[str, str]:
    """Return AWS_* credentials of a role's session, the same for the same arguments while this process lives.

    Args:
        role_arn: The role.
        session_name: The session's name.
        of: What the session is for; another one has other credentials.
    """
    name = role_arn.rpartition("/")[2]

    def derived(what: str) -> str:
        text = f"{what}:{role_arn}:{session_name}:{of}"
        return hmac.new(_PER_PROCESS, text.encode(), hashlib.sha256).hexdigest()

    key, secret, token = f"ASIA{derived('key')[:16].upper()}", derived("secret"), derived("token")
    with responses.request_scope(ACCOUNT, REGION):
        sts.register_session(
            key,
            {
                "Arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/{name}/{session_name}",
                "UserId": f"{_role_id(name)}:{session_name}",
                "SecretAccessKey": secret,
                "SessionToken": token,
            },
        )
    return {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": token}


def _role_id(name: str) -> str:
    with responses.request_scope(ACCOUNT, REGION):
        return str((iam._roles.get(name) or {}).get("RoleId", name))


def identify(headers: Mapping[str, str]) -> tuple[str, str]:
    """Return the ARN and the principal id of the caller who signed a request."""
    with responses.request_scope(ACCOUNT, REGION):
        caller = iam_evaluator.resolve_caller_identity(router.extract_access_key_id(dict(headers))) or {}
    return str(caller.get("userArn", f"arn:aws:iam::{ACCOUNT}:root")), str(caller.get("userId", ACCOUNT))


def root_credentials() -> dict[str, str]:
    """Return the AWS_* credentials of the account root."""
    return {"AWS_ACCESS_KEY_ID": ROOT_KEY, "AWS_SECRET_ACCESS_KEY": os.environ["AWS_SECRET_ACCESS_KEY"]}


def _trusts(role: Mapping[str, Any], service_principal: str) -> bool:
    """Return whether the trust policy lets the service assume the role for this account."""
    document = role.get("AssumeRolePolicyDocument") or {}
    context = iam_evaluator.EvalContext(
        principal_arn=service_principal,
        principal_type="Service",
        principal_account=ACCOUNT,
        action="sts:AssumeRole",
        resource_arn="*",
        region=REGION,
        source_ip="127.0.0.1",
        secure_transport=True,
        service_context={
            "aws:sourceaccount": ACCOUNT,
            "aws:sourcearn": f"arn:aws:{service_principal.split('.')[0]}:{REGION}:{ACCOUNT}:",
        },
    )
    return bool(iam_evaluator.evaluate_resource_policy(document, context, service_principal).decision == "Allow")


def _members(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for member, inner in value.items():
            yield member, inner
            yield from _members(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _members(inner)


def json_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body; empty if it holds none."""
    try:
        parsed = json.loads(body or b"{}")
    except (json.JSONDecodeError, UnicodeDecodeError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _kebab(noun: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", noun).lower()


def _name(reference: Any) -> str:
    return str(reference).rpartition("/")[2]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
