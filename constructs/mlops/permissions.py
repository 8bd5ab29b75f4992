"""Permissions, each wildcard beside its reason."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from constructs import Construct

_TOKEN = re.compile(r"\$\{Token\[[^]]+\]\}")


def acknowledge(construct: Construct, *rules: str, reason: str) -> None:
    """Accept findings of cdk-nag's AwsSolutions pack on a construct and what is below it.

    Args:
        construct: Where the findings are.
        rules: For example `SQS3`, or `IAM5[Resource::…]`.
        reason: Why they are right to be there.

    Raises:
        ValueError: If there is no reason; cdk-nag takes an empty one without a word.
    """
    if not reason.strip():
        raise ValueError(f"acknowledging {', '.join(rules)} on {construct.node.path} needs a reason")
    _acknowledge(construct, dict.fromkeys(rules, reason))


def _acknowledge(construct: Construct, reasons: Mapping[str, str]) -> None:
    cdk.Validations.of(construct).acknowledge(
        *(cdk.Acknowledgment(id=f"AwsSolutions::AwsSolutions-{rule}", reason=why) for rule, why in reasons.items())
    )


class Permissions:
    """What a role may do, handed to CDK as one policy.

    Gathered first, because CDK runs in another process and each statement by itself costs several round trips: with
    many models a synth would spend most of its time so.
    """

    def __init__(self) -> None:
        self._statements: list[dict[str, object]] = []
        self._reasons: dict[str, str] = {}

    def allow(
        self,
        actions: Sequence[str],
        on: Sequence[str],
        *,
        conditions: Mapping[str, Mapping[str, object]] | None = None,
        because: str = "",
    ) -> None:
        """Let the role do something on some resources.

        Args:
            actions: Without wildcards.
            on: ARNs.
            conditions: As in a policy statement.
            because: Why the resources hold a wildcard; needed when one does.

        Raises:
            ValueError: If an action holds a wildcard, or a resource does and there is no reason.
        """
        if starred := [action for action in actions if "*" in action]:
            raise ValueError(f"name each action, got {starred}")
        wildcards = [resource for resource in on if "*" in resource]
        if wildcards and not because.strip():
            raise ValueError(f"a wildcard needs a reason, got none for {wildcards}")
        self._reasons.update(dict.fromkeys(wildcards, because))
        statement: dict[str, object] = {"Effect": "Allow", "Action": list(actions), "Resource": list(on)}
        self._statements.append({**statement, "Condition": conditions} if conditions else statement)

    def attach_to(self, role: iam.Role) -> None:
        """Give the role a policy of its own with all of it."""
        document = iam.PolicyDocument.from_json({"Version": "2012-10-17", "Statement": self._statements})
        iam.Policy(role, "Permissions", document=document, roles=[role])
        self._argue(role)

    def add_to(self, role: iam.Role) -> None:
        """Add it to the role's default policy."""
        for statement in self._statements:
            role.add_to_policy(iam.PolicyStatement.from_json(statement))
        self._argue(role)

    def _argue(self, role: iam.Role) -> None:
        """Acknowledge each wildcard with its reason."""
        if self._reasons:
            stack = _stack_of(role)
            _acknowledge(
                role,
                {f"IAM5[Resource::{_as_nag_writes_it(stack, one)}]": why for one, why in self._reasons.items()},
            )


def allow(
    role: iam.Role,
    actions: Sequence[str],
    on: Sequence[str],
    *,
    conditions: Mapping[str, Mapping[str, object]] | None = None,
    because: str = "",
) -> None:
    """Let a role do one more thing; see `Permissions.allow`."""
    permissions = Permissions()
    permissions.allow(actions, on, conditions=conditions, because=because)
    permissions.add_to(role)


def arn(scope: Construct, service: str, resource: str, *, region: bool = True) -> str:
    """An ARN of the scope's account, for example `arn(self, "sagemaker", "endpoint/evergreen-*")`."""
    stack = _stack_of(scope)
    kind, separator, name = resource.partition("/")
    return stack.format_arn(
        service=service,
        region=None if region else "",
        resource=kind,
        resource_name=name if separator else None,
        arn_format=cdk.ArnFormat.SLASH_RESOURCE_NAME if separator else cdk.ArnFormat.NO_RESOURCE_NAME,
    )


def _as_nag_writes_it(stack: cdk.Stack, resource: str) -> str:
    """cdk-nag reads the finished template, where a reference to another stack has become an import by name."""
    return _TOKEN.sub(lambda token: _token_as_nag_writes_it(stack, token[0]), resource)


# Each question to CDK is a round trip to another process, and every policy asks the same few; a synth of many models
# spends most of its time so.
@cache
def _stack_of(construct: Construct) -> cdk.Stack:
    return cdk.Stack.of(construct)


@cache
def _token_as_nag_writes_it(stack: cdk.Stack, token: str) -> str:
    reference = cdk.Tokenization.reverse_string(token).first_token
    if isinstance(reference, cdk.Reference):
        owner = cdk.Stack.of(reference.target)
        if owner.stack_name != stack.stack_name:
            return _flat(stack.resolve(owner.export_value(reference)))
    return _flat(stack.resolve(token))


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
