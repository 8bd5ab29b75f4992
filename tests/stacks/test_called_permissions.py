"""A function's role allows what its code calls, and nothing that no code calls."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore import xform_name

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("cloudformation", "dynamodb", "sagemaker", "sns", "ssm")
# Calls that AWS makes with the caller's permissions.
BY_AWS = {
    "sagemaker:AddTags": "CreateProcessingJob adds tags",
    "ssm:GetParameters": "CreateChangeSet resolves the stack's parameters",
}


@cache
def operations(service: str) -> dict[str, str]:
    """Return a service's operations by the name of boto3's method."""
    client: Any = boto3.client
    names = client(service, region_name="us-east-1").meta.service_model.operation_names
    return {xform_name(name): f"{service}:{name}" for name in names}


def called(*folders: str) -> set[str]:
    """Return the names of all methods and paginators that the modules of folders of `lambda/` call."""
    text = "\n".join(path.read_text() for folder in folders for path in (ROOT / "lambda" / folder).glob("*.py"))
    return set(re.findall(r"\.(\w+)\(", text)) | set(re.findall(r'get_paginator\("(\w+)"\)', text))


def allowed(template: dict[str, Any], role: str) -> set[str]:
    """Return the actions that a role's policies allow."""
    policies = list(template["Resources"][role]["Properties"].get("Policies", []))
    policies += [
        one["Properties"]
        for one in template["Resources"].values()
        if one["Type"] == "AWS::IAM::Policy" and {"Ref": role} in one["Properties"]["Roles"]
    ]
    found: set[str] = set()
    for policy in policies:
        for statement in policy["PolicyDocument"]["Statement"]:
            actions = statement["Action"]
            found.update([actions] if isinstance(actions, str) else actions)
    return {action for action in found if action.partition(":")[0] in SERVICES}


@pytest.fixture(scope="module")
def functions(template: Callable[[str], dict[str, object]]) -> dict[str, set[str]]:
    """Return the allowed actions of each handler of the platform."""
    platform: Any = template("evergreen-platform-prod")
    return {
        one["Properties"]["Handler"]: allowed(platform, one["Properties"]["Role"]["Fn::GetAtt"][0])
        for one in platform["Resources"].values()
        if one["Type"] == "AWS::Lambda::Function"
    }


def test_no_function_may_do_what_its_code_never_calls(functions: dict[str, set[str]]) -> None:
    unused = {}
    for handler, actions in functions.items():
        names = called(handler.partition(".")[0], "shared")
        made = {action for service in SERVICES for name, action in operations(service).items() if name in names}
        unused[handler] = actions - made - set(BY_AWS)
    assert {handler: actions for handler, actions in unused.items() if actions} == {}


def test_every_call_of_a_package_is_allowed_to_one_of_its_functions(functions: dict[str, set[str]]) -> None:
    assert len(functions) >= 6
    for package in {handler.partition(".")[0] for handler in functions}:
        may = set[str]().union(*(actions for handler, actions in functions.items() if handler.startswith(package)))
        names = called(package)
        made = {operations(service)[name] for service in ("cloudformation", "sagemaker") for name in names
                if name in operations(service) and "_" in name}  # fmt: skip
        assert made - may == set(), package
