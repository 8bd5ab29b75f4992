"""CloudFormation's checks in ministack's engine: templates, properties, what they name, and the stack's role."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

from ministack.core import iam_evaluator
from ministack.core.responses import new_uuid
from ministack.services import eventbridge
from ministack.services.cloudformation import _exports, _stacks, engine, provisioners, stacks
from ministack.services.cloudformation import handlers as actions

from localcloud.cloudformation import handlers, properties, schemas, services, template
from localcloud.cloudformation.linter import linter
from localcloud.ministack_adapter import referents
from localcloud.ministack_adapter.environment import ACCOUNT
from localcloud.ministack_adapter.patching import wrap

Properties = Mapping[str, Any]
_is_updating: ContextVar[bool] = ContextVar("is_updating", default=False)
_DYNAMIC_SECRETS = "{{resolve:secretsmanager:"
# The services behind resource types, whose types are made as far as there is a handler.
SERVICES = tuple(
    f"AWS::{name}"
    for name in (
        *(
            "ApplicationAutoScaling",
            "CDK",
            "CloudFormation",
            "CloudWatch",
            "CodeBuild",
            "CodeCommit",
            "CodeConnections",
        ),
        *("CodePipeline", "CodeStarConnections", "DynamoDB", "ECR", "Events", "IAM", "KMS", "Lambda", "Logs", "S3"),
        *("SNS", "SQS", "SSM", "SageMaker", "Scheduler"),
    )
)


def install() -> None:
    """Check every template that is created or changed, and every resource that is made; forget what is not run."""
    for name in list(provisioners._RESOURCE_HANDLERS):
        if _service(name) not in SERVICES:
            del provisioners._RESOURCE_HANDLERS[name]
    wrap(engine, "validate_template_support", _checked)
    wrap(engine, "_resolve_parameters", _with_values)
    wrap(stacks, "_resolve_stack_outputs", _with_own_exports)
    wrap(stacks, "_deploy_stack_async", _with_linter)
    wrap(provisioners, "_provision_resource", _creating)
    wrap(provisioners, "_update_resource", _updating)
    wrap(provisioners, "_delete_resource", _deleting)
    for name, action in list(actions._ACTION_HANDLERS.items()):
        actions._ACTION_HANDLERS[name] = _warming(action)


def _warming(action: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def run(params: Any) -> Any:
        linter.warm_up()
        return action(params)

    return run


def _service(resource_type: str) -> str:
    return resource_type.rpartition("::")[0]


def _checked(original: Callable[..., None]) -> Callable[..., None]:
    def validate(document: dict[str, Any], conditions: dict[str, Any], params: dict[str, Any] | None = None) -> None:
        if not document.get("Transform"):
            found = template.problem(document) or _unsupported(document, conditions)
            if found:
                raise ValueError(found)
        original(document, conditions, params)

    return validate


def _with_values(original: Callable[..., Any]) -> Callable[..., Any]:
    def resolve(document: dict[str, Any], provided: list[dict[str, Any]], previous: Any = None) -> Any:
        found = template.parameters_problem(document, [one["Key"] for one in provided if "Key" in one])
        if found:
            raise ValueError(found)
        return original(document, provided, previous)

    return resolve


def _with_linter(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wait on a thread until the linter's process has started: its imports must not hold the event loop."""

    async def deploy(stack_name: str, stack_id: str, document: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        kinds = {one["Type"] for one in document.get("Resources", {}).values()}
        if not all(kind.startswith(properties.WITHOUT_SCHEMA) for kind in kinds):
            await asyncio.to_thread(linter.attributes, "AWS::CloudFormation::WaitConditionHandle")
        await original(stack_name, stack_id, document, *args, **kwargs)

    return deploy


def _with_own_exports(original: Callable[..., Any]) -> Callable[..., Any]:
    def resolve(*args: Any) -> Any:
        outputs, exports = original(*args)
        names = [one["ExportName"] for one in outputs if "ExportName" in one]
        for name, export in exports.items():
            holder = str(_exports.get(name, export)["StackId"])
            if holder != export["StackId"] or names.count(name) > 1:
                raise ValueError(f"Export with name {name} is already exported by stack {holder.split('/')[1]}")
        return outputs, exports

    return resolve


def _unsupported(document: Mapping[str, Any], conditions: Mapping[str, Any]) -> str | None:
    """Return which types AWS does not have, or the local cloud does not make."""
    resources = document["Resources"].values()
    unknown = sorted({one["Type"] for one in resources if not schemas.exists(one["Type"])})
    if unknown:
        return f"Template format error: Unrecognized resource types: [{', '.join(unknown)}]"
    wanted = {one["Type"] for one in resources if conditions.get(one.get("Condition"), True)}
    refused = sorted(
        name for name in wanted if name not in provisioners._RESOURCE_HANDLERS and not name.startswith("Custom::")
    )
    if refused:
        return f"Template format error: Unrecognized resource types: [{', '.join(refused)}]. {_why(refused)}"
    if _DYNAMIC_SECRETS in str(document):
        return (
            "Template format error: dynamic reference to secretsmanager refused. "
            "The local cloud does not run AWS::SecretsManager, so the secret would be empty."
        )
    return None


def _why(refused: list[str]) -> str:
    absent = sorted({_service(name) for name in refused} - set(SERVICES))
    if absent:
        return f"The local cloud does not run {', '.join(absent)}. It runs: {', '.join(SERVICES)}."
    return "The local cloud runs these services, but does not make these types; its README lists those that it makes."


def _creating(original: Callable[..., Any]) -> Callable[..., Any]:
    def create(resource_type: str, logical_id: str, props: dict[str, Any], stack_name: str) -> Any:
        if not _is_updating.get():  # a type without an update handler is made anew under its name
            _check_properties(resource_type, logical_id, props)
            _check_role(resource_type, "create", props, stack_name, logical_id)
            taken = referents.conflict(resource_type, props)
            if taken:
                raise ValueError(_answered(taken, "AlreadyExists"))
            _check_service(resource_type, props)
        return original(resource_type, logical_id, props, stack_name)

    return create


def _updating(original: Callable[..., Any]) -> Callable[..., Any]:
    def update(
        resource_type: str,
        physical_id: str,
        old_props: dict[str, Any],
        new_props: dict[str, Any],
        stack_name: str,
        logical_id: str | None = None,
        old_attrs: dict[str, Any] | None = None,
    ) -> Any:
        if old_props != new_props:
            _check_properties(resource_type, logical_id or physical_id, new_props)
            if _without_tags(old_props) != _without_tags(new_props):
                _check_role(resource_type, "update", new_props, stack_name, physical_id)
            _check_service(resource_type, new_props)
        token = _is_updating.set(True)
        try:
            return original(resource_type, physical_id, old_props, new_props, stack_name, logical_id, old_attrs)
        finally:
            _is_updating.reset(token)

    return update


def _deleting(original: Callable[..., Any]) -> Callable[..., Any]:
    def delete(
        resource_type: str,
        physical_id: str,
        props: dict[str, Any],
        stack_name: str | None = None,
        logical_id: str | None = None,
    ) -> Any:
        _check_role(resource_type, "delete", props, stack_name or "", physical_id)
        return original(resource_type, physical_id, props, stack_name, logical_id)

    return delete


def _without_tags(props: Properties) -> dict[str, Any]:
    return {name: value for name, value in props.items() if not name.endswith("Tags")}


def _check_properties(resource_type: str, logical_id: str, props: Properties) -> None:
    """Refuse what CloudFormation's schema of the type refuses.

    Raises:
        ValueError: The text is the resource's status reason.
    """
    found = properties.problem(resource_type, logical_id, props)
    if found:
        raise ValueError(found)


def _check_service(resource_type: str, props: Properties) -> None:
    """Refuse what the service behind the handler refuses.

    Raises:
        ValueError: The text is the resource's status reason.
    """
    refused = services.problem(
        resource_type,
        props,
        pattern_error=eventbridge._event_pattern_error,
        is_schedule=eventbridge._validate_schedule_expression,
    ) or referents.problem(resource_type, props)
    if refused:
        raise ValueError(_answered(refused, "InvalidRequest"))


def _answered(message: str, code: str) -> str:
    return f'Resource handler returned message: "{message}" (RequestToken: {new_uuid()}, HandlerErrorCode: {code})'


def _check_role(resource_type: str, verb: handlers.Verb, props: Properties, stack_name: str, name: str) -> None:
    """Refuse what the stack's role may not do. Without one CloudFormation acts with the caller's rights.

    Raises:
        ValueError: The text is the resource's status reason.
    """
    role_arn = (_stacks.get(stack_name) or {}).get("_role_arn")
    if not role_arn:
        return
    role_name = str(role_arn).rpartition("/")[2]
    physical = provisioners._physical_name(stack_name, name, max_len=63) if verb == "create" else name
    statements = [one for policy in iam_evaluator._gather_role_policies(role_name, ACCOUNT) for one in policy]
    for action, arn in handlers.calls(resource_type, verb, props, physical):
        if not _allowed(statements, action, arn):
            principal = f"arn:aws:sts::{ACCOUNT}:assumed-role/{role_name}/AWSCloudFormation"
            raise ValueError(
                _answered(
                    f"User: {principal} is not authorized to perform: {action} on resource: {arn or '*'} because no "
                    f"identity-based policy allows the {action} action",
                    "AccessDenied",
                )
            )


def _allowed(statements: list[Any], action: str, arn: str | None) -> bool:
    """Return whether a policy allows an action on a resource, or on some resource if its ARN is not known.

    Conditions are left to the call itself: what they compare is in the request that a handler makes.
    """
    matching = [one for one in statements if _names(one, action, arn)]
    denied = any(one.effect == "Deny" and not one.conditions for one in matching) if arn else False
    return any(one.effect == "Allow" for one in matching) and not denied


def _names(statement: Any, action: str, arn: str | None) -> bool:
    if not iam_evaluator._action_matches(action, statement.actions, statement.not_actions):
        return False
    # A log group's policy may name the group, or its streams.
    forms = [] if arn is None else [arn, arn.removesuffix(":*")]
    return arn is None or any(
        iam_evaluator._resource_matches(form, statement.resources, statement.not_resources) for form in forms
    )
