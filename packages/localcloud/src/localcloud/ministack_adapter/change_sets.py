"""Change sets and parameters as AWS reports them: conditions count, SSM parameters show name and resolved value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from xml.etree import ElementTree

from defusedxml.ElementTree import fromstring
from ministack.services.cloudformation import _stacks, changesets, engine, handlers, helpers

from localcloud.ministack_adapter.patching import wrap

_NAMESPACE = "http://cloudformation.amazonaws.com/doc/2010-05-15/"
Params = Mapping[str, Any]
Handler = Callable[[Params], Any]


def install() -> None:
    """Replace the computation of differences and the descriptions of change sets and stacks."""
    wrap(changesets, "_resolve_props_for_diff", _without_absent)
    actions = handlers._ACTION_HANDLERS
    actions["DescribeChangeSet"] = _resolved_change_set(actions["DescribeChangeSet"])
    actions["DescribeStacks"] = _resolved_stacks(actions["DescribeStacks"])


def _without_absent(original: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Leave out resources whose condition is false: a change set adds or removes them accordingly."""

    def resolve(template: dict[str, Any], params: dict[str, Any], stack_name: str, stack_id: str) -> dict[str, Any]:
        resolved = original(template, params, stack_name, stack_id)
        conditions = engine._evaluate_conditions(template, params) if template else {}
        resources = resolved.get("Resources", {})
        return {
            **resolved,
            "Resources": {
                logical_id: definition
                for logical_id, definition in resources.items()
                if conditions.get(definition.get("Condition"), True)
            },
        }

    return resolve


def _resolved_change_set(original: Handler) -> Handler:
    def describe(params: Params) -> Any:
        status, headers, body = original(params)
        stack = handlers._resolve_stack(helpers._p(params, "StackName")) or {}
        _, change_set = changesets._find_change_set(helpers._p(params, "ChangeSetName"), stack.get("StackName", ""))
        if status != 200 or change_set is None or not _from_ssm(change_set):
            return status, headers, body
        root = fromstring(body)
        for parameters in root.iter(_tag("Parameters")):
            _resolve(parameters, change_set)
        return status, headers, _bytes(root)

    return describe


def _resolved_stacks(original: Handler) -> Handler:
    def describe(params: Params) -> Any:
        status, headers, body = original(params)
        by_id = {stack["StackId"]: stack for stack in _stacks.values() if _from_ssm(stack)}
        if status != 200 or not by_id:
            return status, headers, body
        root = fromstring(body)
        for member in root.iter(_tag("member")):
            stack = by_id.get(member.findtext(_tag("StackId")) or "")
            parameters = member.find(_tag("Parameters"))
            if stack is not None and parameters is not None:
                _resolve(parameters, stack)
        return status, headers, _bytes(root)

    return describe


def _from_ssm(record: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    resolved = record.get("_resolved_params") or {}
    return {name: value for name, value in resolved.items() if isinstance(value, Mapping) and "SsmName" in value}


def _resolve(parameters: ElementTree.Element, record: Mapping[str, Any]) -> None:
    from_ssm = _from_ssm(record)
    for member in parameters.findall(_tag("member")):
        value = from_ssm.get(member.findtext(_tag("ParameterKey")) or "")
        shown = member.find(_tag("ParameterValue"))
        if value is None or shown is None:
            continue
        shown.text = str(value["SsmName"])
        ElementTree.SubElement(member, _tag("ResolvedValue")).text = str(value["Value"])


def _tag(name: str) -> str:
    return f"{{{_NAMESPACE}}}{name}"


def _bytes(root: ElementTree.Element) -> bytes:
    ElementTree.register_namespace("", _NAMESPACE)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))
