"""Permissions, each wildcard beside its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from constructs import IConstruct


def acknowledge(construct: IConstruct, rule: str, reason: str) -> None:
    """Accept one finding of cdk-nag's AwsSolutions pack on a construct and what is below it.

    Args:
        construct: Where the finding is.
        rule: For example `S1`, or `IAM5[Resource::…]`.
        reason: Why the finding is right to be there.

    Raises:
        ValueError: If there is no reason; cdk-nag takes an empty one without a word.
    """
    if not reason.strip():
        raise ValueError(f"acknowledging {rule} on {construct.node.path} needs a reason")
    cdk.Validations.of(construct).acknowledge(
        cdk.Acknowledgment(id=f"AwsSolutions::AwsSolutions-{rule}", reason=reason)
    )


def allow(
    role: iam.Role,
    actions: Sequence[str],
    on: Sequence[str],
    *,
    conditions: Mapping[str, Mapping[str, object]] | None = None,
    because: str = "",
) -> None:
    """Let a role do something on some resources.

    Args:
        role: Who may.
        actions: Without wildcards.
        on: ARNs.
        conditions: As in a policy statement.
        because: Why the resources hold a wildcard; needed when one does.

    Raises:
        ValueError: If an action holds a wildcard, or a resource does and there is no reason.
    """
    if starred := [action for action in actions if "*" in action]:
        raise ValueError(f"name each action, got {starred}")
    role.add_to_policy(iam.PolicyStatement(actions=list(actions), resources=list(on), conditions=conditions))
    for resource in on:
        if "*" in resource:
            acknowledge(role, f"IAM5[Resource::{_as_nag_writes_it(role, resource)}]", because)


def arn(scope: IConstruct, service: str, resource: str, *, region: bool = True) -> str:
    """An ARN of the scope's account, for example `arn(self, "sagemaker", "endpoint/evergreen-*")`."""
    stack = cdk.Stack.of(scope)
    kind, separator, name = resource.partition("/")
    return stack.format_arn(
        service=service,
        region=None if region else "",
        resource=kind,
        resource_name=name if separator else None,
        arn_format=cdk.ArnFormat.SLASH_RESOURCE_NAME if separator else cdk.ArnFormat.NO_RESOURCE_NAME,
    )


def _as_nag_writes_it(role: iam.Role, resource: str) -> str:
    """cdk-nag reads the finished template, where a reference to another stack has become an import by name."""
    stack = cdk.Stack.of(role)
    parts = []
    for fragment in _fragments(resource):
        if isinstance(fragment, cdk.Reference):
            owner = cdk.Stack.of(fragment.target)
            if owner.stack_name != stack.stack_name:
                parts.append(_flat(stack.resolve(owner.export_value(fragment))))
                continue
        parts.append(_flat(stack.resolve(fragment)))
    return "".join(parts)


def _fragments(text: str) -> Sequence[object]:
    fragments = cdk.Tokenization.reverse_string(text)
    if fragments.length == 0:
        return [text]
    return [*_in_order(text, fragments)]


def _in_order(text: str, fragments: cdk.TokenizedStringFragments) -> Sequence[object]:
    tokens = list(fragments.tokens)
    parts: list[object] = []
    while text:
        literal, marker, rest = text.partition("${Token[")
        if literal:
            parts.append(literal)
        if marker:
            parts.append(tokens.pop(0))
            text = rest.partition("]}")[2]
        else:
            text = ""
    return parts


def _flat(node: object) -> str:
    """As cdk-nag's `flattenCfnReference`."""
    match node:
        case str():
            return node.replace("${", "<").replace("}", ">")
        case {"Fn::Join": [delimiter, list(items)]}:
            return str(delimiter).join(map(_flat, items))
        case {"Fn::GetAtt": [resource, attribute]}:
            return f"<{resource}.{attribute}>"
        case {"Fn::ImportValue": name}:
            return _flat(name)
        case {"Ref": name}:
            return f"<{name}>"
    raise ValueError(f"no rule how cdk-nag writes {node}")
