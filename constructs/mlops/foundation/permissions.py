"""IAM permissions, with a reason beside each wildcard."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Protocol

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from constructs import Construct

_TOKEN = re.compile(r"\$\{Token\[[^]]+\]\}")


def acknowledge(construct: Construct, *rules: str, reason: str, pack: str = "AwsSolutions") -> None:
    """Accept findings of a cdk-nag pack on a construct and what is below it.

    Args:
        construct: The construct that has the findings.
        rules: For example `SQS3`, or `IAM5[Resource::…]`.
        reason: Why the findings are acceptable.
        pack: The pack's name: cdk-nag's, or `SecurityHub` (stacks/security_hub.py).

    Raises:
        ValueError: The reason is empty; cdk-nag would accept that.
    """
    if not reason.strip():
        raise ValueError(f"acknowledging {', '.join(rules)} on {construct.node.path} needs a reason")
    _acknowledge(construct, dict.fromkeys(rules, reason), pack)


def _acknowledge(construct: Construct, reasons: Mapping[str, str], pack: str = "AwsSolutions") -> None:
    cdk.Validations.of(construct).acknowledge(
        *(cdk.Acknowledgment(id=f"{pack}::{pack}-{rule}", reason=why) for rule, why in reasons.items())
    )


class Grantee(Protocol):
    """What receives permissions: a construct with a role, or permissions that become a role's policy."""

    def allow(
        self,
        actions: Sequence[str],
        on: Sequence[str],
        *,
        conditions: Mapping[str, Mapping[str, object]] | None = None,
        because: str = "",
    ) -> None:
        """Allow actions on resources; see `Permissions.allow`."""


class RoleOwner:
    """A base of constructs that have a role and receive permissions for it."""

    role: iam.Role

    def allow(
        self,
        actions: Sequence[str],
        on: Sequence[str],
        *,
        conditions: Mapping[str, Mapping[str, object]] | None = None,
        because: str = "",
    ) -> None:
        """Allow the role actions on resources; see `Permissions.allow`."""
        permissions = Permissions()
        permissions.allow(actions, on, conditions=conditions, because=because)
        permissions.add_to(self.role)


class Permissions:
    """Permissions that become a role's inline policy.

    They are collected first and passed to CDK as one document. CDK runs in another process, and each statement by
    itself costs several round trips; with many models these would dominate the synth.
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
        """Allow actions on resources.

        Args:
            actions: IAM actions without wildcards.
            on: ARNs of the resources.
            conditions: As in a policy statement.
            because: Why a resource contains a wildcard; required if one does.

        Raises:
            ValueError: An action contains a wildcard, or a resource does and no reason is given.
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
        """Define a role that a service assumes, with these permissions as its inline policy."""
        return self._role(scope, construct_id, iam.ServicePrincipal(service), description, None)

    def named_role(
        self, scope: Construct, construct_id: str, *, name: str, principal: iam.IPrincipal, description: str
    ) -> iam.Role:
        """Define a role with a fixed name that other accounts or people refer to."""
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
        self._acknowledge_wildcards(role)
        return role

    def add_to(self, role: iam.Role) -> None:
        """Add these permissions to the default policy of an existing role."""
        for statement in self._statements:
            role.add_to_policy(iam.PolicyStatement.from_json(statement))
        self._acknowledge_wildcards(role)

    def _acknowledge_wildcards(self, role: iam.Role) -> None:
        if self._reasons:
            stack = _stack_of(role)
            _acknowledge(
                role,
                {f"IAM5[Resource::{_as_in_finding(stack, one)}]": why for one, why in self._reasons.items()},
            )


def acknowledge_wildcards(policy: iam.Policy, reasons: Sequence[tuple[str, str]]) -> None:
    """Acknowledge the wildcards of a policy that CDK wrote, each with the first reason that matches it.

    Args:
        policy: A policy to which nothing is added any more.
        reasons: Regular expressions over findings, such as `Action::s3:List*` or `Resource::<Bucket.Arn>/*`, each with
            the reason why the finding is acceptable.

    Raises:
        ValueError: No reason matches a wildcard that CDK wrote.
    """
    stack = _stack_of(policy)
    document: Mapping[str, Any] = stack.resolve(policy.document.to_json())
    acknowledged: dict[str, str] = {}
    for statement in document["Statement"]:
        for kind in ("Action", "Resource"):
            values = statement[kind] if isinstance(statement[kind], list) else [statement[kind]]
            for finding in (f"{kind}::{_flat(value)}" for value in values):
                if "*" in finding:
                    acknowledged[f"IAM5[{finding}]"] = _reason(finding, reasons, policy)
    if acknowledged:
        _acknowledge(policy, acknowledged)


def _reason(finding: str, reasons: Sequence[tuple[str, str]], policy: iam.Policy) -> str:
    for pattern, reason in reasons:
        if re.search(pattern, finding):
            return reason
    raise ValueError(f"{policy.node.path} has a wildcard without a reason: {finding}")


def arn(scope: Construct, service: str, resource: str, *, region: bool = True, account: str = "") -> str:
    """Return an ARN of the scope's account or another one.

    Args:
        scope: A construct of the stack whose partition, region and account the ARN has.
        service: For example `sagemaker`.
        resource: For example `endpoint/evergreen-*`.
        region: Whether the ARN has a region.
        account: Another account than the stack's.
    """
    partition, own_region, own_account = _place_of(_stack_of(scope))
    return f"arn:{partition}:{service}:{own_region if region else ''}:{account or own_account}:{resource}"


def _as_in_finding(stack: cdk.Stack, resource: str) -> str:
    """Return a resource as cdk-nag writes it: from the template, where other stacks' values are imports by name."""
    return _TOKEN.sub(lambda token: _token_as_in_finding(stack, token[0]), resource)


# Cached: each call is a round trip to CDK's process, and every policy needs the same few values.
@cache
def _stack_of(construct: Construct) -> cdk.Stack:
    return cdk.Stack.of(construct)


@cache
def _place_of(stack: cdk.Stack) -> tuple[str, str, str]:
    """Return partition, region and account."""
    return stack.partition, stack.region, stack.account


def _token_as_in_finding(stack: cdk.Stack, token: str) -> str:
    owner = _owner_of(token)
    if owner is None or owner is stack:
        return _as_resolved(stack, token)
    return _as_imported(owner, token)


@cache
def _owner_of(token: str) -> cdk.Stack | None:
    """Return the stack of the resource that a token refers to; None for pseudo parameters."""
    reference = cdk.Tokenization.reverse_string(token).first_token
    return cdk.Stack.of(reference.target) if isinstance(reference, cdk.Reference) else None


@cache
def _as_imported(owner: cdk.Stack, token: str) -> str:
    return _flat(owner.resolve(owner.export_value(token)))


@cache
def _as_resolved(stack: cdk.Stack, token: str) -> str:
    return _flat(stack.resolve(token))


def _flat(node: object) -> str:
    """Return a node as text, as cdk-nag's `flattenCfnReference` does."""
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
    raise ValueError(f"cannot write {node} as cdk-nag does")


def qualifier_of(scope: Construct) -> str:
    """Return the qualifier of CDK's bootstrap that a stack is synthesised for, which its roles and parameters carry."""
    return cdk.Stack.of(scope).synthesizer.bootstrap_qualifier or cdk.DefaultStackSynthesizer.DEFAULT_QUALIFIER
