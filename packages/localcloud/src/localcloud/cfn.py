"""CloudFormation resource types that the local cloud's own services offer.

A service exports `CFN_TYPES: dict[str, CfnType]`; the adapter registers them with ministack. Handlers run on a worker
thread, so they may block (wait for an endpoint, for example) and may call the gateway over HTTP. A handler that fails
raises; the text of its exception is the resource's `ResourceStatusReason`, and the stack rolls back as on AWS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Properties = Mapping[str, Any]
# (Describe operation, request) → the response, in process: a read during a request must not call the gateway.
Describe = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True)
class CfnContext:
    """The stack, the resource and the rights of a handler.

    Attributes:
        client: Makes a boto3 client (`client("sagemaker")`) with the rights of the stack's service role, or of the
            account's root where the stack has none: CloudFormation may not do more than its role.
        physical_name: The name CloudFormation makes for a resource without one, `<stack>-<logical id>-<suffix>`; stable
            for one resource, new for its replacement, and at most `CfnType.max_name_length` characters.
    """

    stack_name: str
    logical_id: str
    physical_name: str
    client: Callable[[str], Any]


@dataclass(frozen=True)
class CfnResource:
    """The values of `Ref` (physical_id) and `Fn::GetAtt` (attributes)."""

    physical_id: str
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CfnType:
    """The handlers of one resource type.

    Properties come resolved (no intrinsic is left), without `AWS::NoValue` members, and with the stack's tags and
    CloudFormation's own three (`aws:cloudformation:stack-name`, `-id`, `logical-id`) merged into `Tags`.

    Attributes:
        create: (context, properties) → the resource.
        delete: (context, physical id, properties) → nothing; succeeds where the resource is already gone.
        update: (context, physical id, old, new) → the resource, for changes that touch no property of `replace_on`.
        replace_on: Properties whose change makes a new resource (`create`) and deletes the old one once the whole
            update succeeded (`delete`; not under `UpdateReplacePolicy: Retain`).
        name_property: The property that names the resource. Given and unchanged, it forbids replacement, as on AWS.
        read: (describe, name) → the resource of that name, or None; `ImportExistingResources` adopts the result.
        sent_back: A failed update may have changed something, so the stack's rollback updates the resource back.
    """

    create: Callable[[CfnContext, Properties], CfnResource]
    delete: Callable[[CfnContext, str, Properties], None]
    update: Callable[[CfnContext, str, Properties, Properties], CfnResource]
    replace_on: frozenset[str]
    name_property: str | None = None
    read: Callable[[Describe, str], CfnResource | None] | None = None
    max_name_length: int = 63
    tagged: bool = True
    sent_back: bool = False
