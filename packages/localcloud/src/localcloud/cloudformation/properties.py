"""cfn-lint on one resource whose references are resolved, in the words of CloudFormation's resource handlers.

CloudFormation checks a resource's properties against its schema when it makes the resource, with the values that
parameters, conditions and references have given by then. cfn-lint does the same here, so a value that only a parameter
gives is checked, and a branch that no condition takes is not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from localcloud.cloudformation.linter import linter

WITHOUT_SCHEMA = ("Custom::", "AWS::CDK::", "AWS::CloudFormation::")
"""Prefixes of the types whose properties are not checked."""

_OWN_TAGS = "aws:cloudformation:"
_remembered: dict[str, str | None] = {}


def problem(resource_type: str, logical_id: str, properties: Mapping[str, Any]) -> str | None:
    """Return why CloudFormation's handler refuses the resolved properties of a resource, or None."""
    if resource_type.startswith(WITHOUT_SCHEMA):
        return None
    given = _without_own_tags(properties)
    text = json.dumps([resource_type, given], sort_keys=True, default=str)
    key = hashlib.sha256(text.encode()).hexdigest()
    if key not in _remembered:
        found = [_sentence(*one) for one in linter.findings(resource_type, given)]
        _remembered[key] = ", ".join(dict.fromkeys(found)) or None
    message = _remembered[key]
    if message is None:
        return None
    return f"Properties validation failed for resource {logical_id} with message:\n[{message}]"


def _without_own_tags(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the tags that CloudFormation adds, whose prefix templates may not use."""

    def own(tag: Any) -> bool:
        return isinstance(tag, Mapping) and str(tag.get("Key", "")).startswith(_OWN_TAGS)

    kept = {}
    for name, value in properties.items():
        if name.endswith("Tags") and isinstance(value, list):
            value = [tag for tag in value if not own(tag)]
        elif name.endswith("Tags") and isinstance(value, Mapping):
            value = {key: item for key, item in value.items() if not str(key).startswith(_OWN_TAGS)}
        kept[name] = value
    return kept


_CONSTRAINTS = (
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "uniqueItems",
)


def _sentence(path: Sequence[Any], keyword: str, message: str) -> str:
    if keyword == "additionalProperties" and path:
        return f"{_pointer(path[:-1])}: extraneous key [{path[-1]}] is not permitted"
    if keyword == "required":
        return f"{_pointer(path)}: required key [{message.split(chr(39))[1]}] not found"
    if keyword in _CONSTRAINTS:
        return f"{_pointer(path)}: failed validation constraint for keyword [{keyword}] ({message})"
    if keyword == "type":
        return f"{_pointer(path)}: expected type: {message}"
    return f"{_pointer(path)}: {message}"


def _pointer(path: Sequence[Any]) -> str:
    return "/".join(["#", *map(str, path)])
