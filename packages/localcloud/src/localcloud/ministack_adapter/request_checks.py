"""Permissions that a request needs besides its own action: passed roles, tags at creation, keys, further resources.

Source: Service Authorization Reference, "Dependent actions" of each service.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import ministack.app as ministack_app
from ministack.core import iam_actions, iam_evaluator, responses

from localcloud.ministack_adapter import developer_tools, encryption, permissions, volume_keys
from localcloud.ministack_adapter.environment import ACCOUNT, REGION

Reply = tuple[int, dict[str, Any], bytes]

# Services that are given roles → the value of `iam:PassedToService`.
_PASS_ROLE_TO = {
    "cloudformation": "cloudformation.amazonaws.com",
    "sagemaker": "sagemaker.amazonaws.com",
    "events": "events.amazonaws.com",
    "application-autoscaling": "application-autoscaling.amazonaws.com",
    "codebuild": "codebuild.amazonaws.com",
    "codepipeline": "codepipeline.amazonaws.com",
    "lambda": "lambda.amazonaws.com",
    "logs": "logs.amazonaws.com",
    "s3": "s3.amazonaws.com",
    "scheduler": "scheduler.amazonaws.com",
    "sns": "sns.amazonaws.com",
}
_CHANGES = ("Create", "Update", "Put", "Register", "Start", "Set", "Publish")
# Service → its action for tags; a service that is not named needs none for tags at creation.
_TAG_ACTIONS = {
    "application-autoscaling": "TagResource",
    "codecommit": "TagResource",
    "codeconnections": "TagResource",
    "codepipeline": "TagResource",
    "codestar-connections": "TagResource",
    "dynamodb": "TagResource",
    "ecr": "TagResource",
    "events": "TagResource",
    "kms": "TagResource",
    "lambda": "TagResource",
    "logs": "TagResource",
    "monitoring": "TagResource",
    "sagemaker": "AddTags",
    "scheduler": "TagResource",
    "sns": "TagResource",
    "sqs": "TagQueue",
    "ssm": "AddTagsToResource",
}
_CREATIONS = ("Create", "Put", "Register")


@dataclass(frozen=True)
class Request:
    """One request to a service, as its handler gets it."""

    service: str
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    query: Mapping[str, Any]
    access_key: str

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """The query and a form-encoded body."""
        found: dict[str, Any] = ministack_app._routing_params(
            self.method, self.path, dict(self.headers), self.body, dict(self.query)
        )
        return found

    @cached_property
    def members(self) -> dict[str, Any]:
        """The members of a JSON body."""
        return {} if self.service == "s3" else permissions.json_object(self.body)

    @cached_property
    def action(self) -> str:
        """The IAM action, or an empty text."""
        return str(
            iam_actions.extract_iam_action(
                self.service, self.method, self.path, dict(self.headers), self.body, self.parameters
            )
            or ""
        )

    @property
    def operation(self) -> str:
        """The action without its service."""
        return self.action.partition(":")[2]

    @cached_property
    def resource(self) -> str:
        """The ARN on which the action is checked."""
        return str(
            iam_actions.extract_resource_arn(
                self.service, self.method, self.path, dict(self.headers), self.body, self.parameters, REGION, ACCOUNT
            )
        )

    def denied(self, action: str, resource: str, context: Mapping[str, Any] | None = None) -> str | None:
        """Return AWS's sentence if the caller may not perform the action, otherwise None."""
        refused = iam_evaluator.enforce(
            self.access_key,
            action,
            action.partition(":")[0],
            REGION,
            resource_arn=resource,
            service_context=dict(context or {}),
        )
        if refused is None:
            return None
        caller = getattr(refused, "principal_arn", "") or "the caller"
        return (
            f"User: {caller} is not authorized to perform: {action} on resource: {resource} "
            f"because no identity-based policy allows the {action} action"
        )


def refusal(request: Request) -> Reply | None:
    """Return the answer to a request that lacks a further permission, or None."""
    message = _denied_role(request) or _denied_tags(request) or _denied_further(request)
    if message is None and request.service == "dynamodb":
        message = encryption.table_refusal(request.operation, request.members)
    if message is None and request.service == "sagemaker":
        message = volume_keys.refusal(request.operation, request.members, request.access_key)
    if message is not None:
        return _denial(request, message)
    if request.service == "lambda" and request.operation in ("CreateFunction", "UpdateFunctionConfiguration"):
        name = next(iter(request.path.partition("/functions/")[2].split("/")), "")
        sentence = encryption.function_refusal(request.operation, request.members, name)
        if sentence is not None:
            code = "InvalidParameterValueException"
            reply: Reply = responses.error_response_json(code, sentence, 400)
            return reply
    return None


def _denied_role(request: Request) -> str | None:
    principal = _PASS_ROLE_TO.get(request.service)
    if principal is None or not request.operation.startswith(_CHANGES):
        return None
    for role in _passed_roles(request):
        message = permissions.may_pass_role(request.access_key, role, principal)
        if message is not None:
            return message
    return None


def _passed_roles(request: Request) -> Iterator[str]:
    """Return the roles that a request gives to the service."""
    service, members = request.service, request.members
    if service in ("sagemaker", "events", "application-autoscaling"):
        yield from permissions.passed_roles(members)
    elif service in developer_tools.TARGETS:
        yield from filter(None, [developer_tools.passed_role(service, members)])
    elif service == "cloudformation":
        yield from filter(None, [iam_actions._query_param(request.parameters, "RoleARN")])
    elif service == "lambda":
        yield from filter(None, [members.get("Role")])
    elif service == "logs":
        yield from filter(None, [members.get("roleArn")])
    elif service == "scheduler":
        yield from filter(None, [(members.get("Target") or {}).get("RoleArn")])
    elif service == "sns" and "FeedbackRoleArn" in iam_actions._query_param(request.parameters, "AttributeName"):
        yield from filter(None, [iam_actions._query_param(request.parameters, "AttributeValue")])
    elif service == "s3" and "replication" in request.query:
        yield from (role.decode() for role in re.findall(rb"<Role>([^<]+)</Role>", request.body))


def _denied_tags(request: Request) -> str | None:
    """Return why a resource cannot be created with tags, which needs the service's action for tags."""
    if request.service == "s3":
        tagged = request.headers.get("x-amz-tagging") and request.operation == "PutObject"
        return request.denied("s3:PutObjectTagging", request.resource) if tagged else None
    action = _tag_action(request)
    if action is None or not request.operation.startswith(_CREATIONS):
        return None
    # ministack reads tags by botocore's name of the service.
    service = {"monitoring": "cloudwatch"}.get(request.service, request.service)
    context = iam_actions.request_tag_context(service, request.action, request.body, request.parameters)
    if not context.get("aws:TagKeys"):
        return None
    return request.denied(action, request.resource, context)


def _tag_action(request: Request) -> str | None:
    if request.service == "iam":
        return f"iam:Tag{request.operation.removeprefix('Create')}" if request.operation.startswith("Create") else None
    action = _TAG_ACTIONS.get(request.service)
    return None if action is None else f"{request.action.partition(':')[0]}:{action}"


def _denied_further(request: Request) -> str | None:
    if request.service not in ("monitoring", "ssm", "sagemaker"):
        return None
    return permissions.denied_additional(request.access_key, request.service, request.operation, request.members)


def _denial(request: Request, message: str) -> Reply:
    if request.service in ("ssm", "logs"):  # ministack would replace the message
        body = json.dumps({"__type": "AccessDeniedException", "Message": message}).encode()
        return 400, {"Content-Type": "application/x-amz-json-1.1"}, body
    reply: Reply = iam_actions.access_denied_response(
        request.service, request.action, "", "", message=message, headers=dict(request.headers)
    )
    return reply
