"""ministack's CloudFormation engine with the local cloud's checks, in this process and without a gateway."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import pytest
from ministack.services.cloudformation import _exports, _stack_events, _stacks, handlers, provisioners

from localcloud.cloudformation.linter import linter
from localcloud.ministack_adapter import cfn_checks

Template = Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """The end of a CreateStack or UpdateStack: the stack's status, or the request's error code, and the reason."""

    status: str
    reason: str


Deploy = Callable[..., Outcome]


@pytest.fixture(scope="session")
def engine() -> Iterator[None]:
    """Install the checks once in this process, and end their linter with it."""
    cfn_checks.install()
    yield
    linter.stop()


@pytest.fixture
def deploy(engine: None) -> Iterator[Deploy]:
    """Return a function that creates a stack, or updates it, and waits for its end; forget afterwards what it made."""
    name = f"s{uuid.uuid4().hex[:8]}"

    def run(template: Template, parameters: Mapping[str, str] | None = None, *, role: str = "") -> Outcome:
        return asyncio.run(_operate(name, template, parameters or {}, role))

    yield run
    for record in _stacks.get(name, {}).get("_resources", {}).values():
        provisioners._RESOURCE_HANDLERS[record["ResourceType"]].get("delete", lambda *_: None)(
            record["PhysicalResourceId"], record["Properties"]
        )
    _stacks.pop(name, None)
    _exports.clear()


async def _operate(name: str, template: Template, parameters: Mapping[str, str], role: str) -> Outcome:
    request = {"StackName": [name], "TemplateBody": [json.dumps(template)]}
    for index, (key, value) in enumerate(parameters.items(), start=1):
        request[f"Parameters.member.{index}.ParameterKey"] = [key]
        request[f"Parameters.member.{index}.ParameterValue"] = [value]
    operation = "UpdateStack" if name in _stacks else "CreateStack"
    status, _, body = handlers._ACTION_HANDLERS[operation](request)
    if status != 200:
        error = ElementTree.fromstring(body)
        texts = {element.tag.rpartition("}")[2]: element.text or "" for element in error.iter()}
        return Outcome(texts["Code"], texts["Message"])
    stack = _stacks[name]
    if role:
        stack["_role_arn"] = role
    while stack["StackStatus"].endswith("IN_PROGRESS"):
        await asyncio.sleep(0.001)
    failures = [one for one in _stack_events[stack["StackId"]] if one["ResourceStatus"].endswith("_FAILED")]
    return Outcome(stack["StackStatus"], failures[0]["ResourceStatusReason"] if failures else "")
