"""Permissions, each wildcard beside its reason."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

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

    def role(self, scope: Construct, construct_id: str, *, service: str, description: str) -> iam.Role:
        """Make a role of a service that has all of it from its first moment, as an inline policy."""
        return self._role(scope, construct_id, iam.ServicePrincipal(service), description, None)

    def named_role(
        self, scope: Construct, construct_id: str, *, name: str, principal: iam.IPrincipal, description: str
    ) -> iam.Role:
        """Make a role under a name by which other accounts, or people, know it."""
        return self._role(scope, construct_id, principal, description, name)

    def _role(
        self, scope: Construct, construct_id: str, principal: iam.IPrincipal, description: str, name: str | None
    ) -> iam.Role:
        document = iam.PolicyDocument.from_json({"Version": "2012-10-17", "Statement": self._statements})
        role = iam.Role(
            scope,
            construct_id,
            role_name=name,
            assumed_by=principal,
            description=description,
            inline_policies={"Permissions": document},
        )
        self._argue(role)
        return role

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


def argue_for_wildcards(policy: iam.Policy, reasons: Sequence[tuple[str, str]]) -> None:
    """Acknowledge the wildcards of a policy that CDK wrote, each with the reason that fits it.

    Args:
        policy: When nothing is added to it any more.
        reasons: Patterns of what is found, as `Action::s3:List*` or `Resource::<Bucket.Arn>/*`, and why it is right;
            the first that fits counts.

    Raises:
        ValueError: If CDK wrote a wildcard that none of them fits: somebody should look at it.
    """
    stack = _stack_of(policy)
    document: Mapping[str, Any] = stack.resolve(policy.document.to_json())
    argued: dict[str, str] = {}
    for statement in document["Statement"]:
        for kind in ("Action", "Resource"):
            values = statement[kind] if isinstance(statement[kind], list) else [statement[kind]]
            for finding in (f"{kind}::{_flat(value)}" for value in values):
                if "*" in finding:
                    argued[f"IAM5[{finding}]"] = _reason(finding, reasons, policy)
    if argued:
        _acknowledge(policy, argued)


def _reason(finding: str, reasons: Sequence[tuple[str, str]], policy: iam.Policy) -> str:
    for pattern, reason in reasons:
        if re.search(pattern, finding):
            return reason
    raise ValueError(f"{policy.node.path} has a wildcard that nobody argued for: {finding}")


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


def arn(scope: Construct, service: str, resource: str, *, region: bool = True, account: str = "") -> str:
    """An ARN of the scope's account or another, for example `arn(self, "sagemaker", "endpoint/evergreen-*")`."""
    partition, own_region, own_account = _place_of(_stack_of(scope))
    return f"arn:{partition}:{service}:{own_region if region else ''}:{account or own_account}:{resource}"


def _as_nag_writes_it(stack: cdk.Stack, resource: str) -> str:
    """cdk-nag reads the finished template, where a reference to another stack has become an import by name."""
    return _TOKEN.sub(lambda token: _token_as_nag_writes_it(stack, token[0]), resource)


# Each question to CDK is a round trip to another process, and every policy asks the same few; a synth of many models
# spends most of its time so.
@cache
def _stack_of(construct: Construct) -> cdk.Stack:
    return cdk.Stack.of(construct)


@cache
def _place_of(stack: cdk.Stack) -> tuple[str, str, str]:
    """Partition, region and account."""
    return stack.partition, stack.region, stack.account


def _token_as_nag_writes_it(stack: cdk.Stack, token: str) -> str:
    owner = _owner_of(token)
    if owner is None or owner is stack:
        return _as_resolved(stack, token)
    return _as_imported(owner, token)


@cache
def _owner_of(token: str) -> cdk.Stack | None:
    """The stack of the resource that a token stands for; pseudo parameters have none."""
    reference = cdk.Tokenization.reverse_string(token).first_token
    return cdk.Stack.of(reference.target) if isinstance(reference, cdk.Reference) else None


@cache
def _as_imported(owner: cdk.Stack, token: str) -> str:
    return _flat(owner.resolve(owner.export_value(token)))


@cache
def _as_resolved(stack: cdk.Stack, token: str) -> str:
    return _flat(stack.resolve(token))


def _flat(node: object) -> str:
    """As cdk-nag's `flattenCfnReference`."""
    match node:
        case str():
            return node.replace("${", "<").replace("}", ">")
        case {"Fn::Join": [delimiter, list(items)]}:
            return str(delimiter).join(map(_flat, items))
        case {"Fn::Sub": str(text)}:
            return _flat(text)
        case {"Fn::GetAtt": [resource, attribute]}:
            return f"<{resource}.{attribute}>"
        case {"Fn::ImportValue": name}:
            return _flat(name)
        case {"Ref": name}:
            return f"<{name}>"
    raise ValueError(f"no rule how cdk-nag writes {node}")
