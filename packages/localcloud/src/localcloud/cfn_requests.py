"""Conversion of a template's properties into an API request.

CloudFormation writes `BuildSpec` where the API has `buildspec`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape


def request_of(model: Shape, value: Any) -> Any:
    """Return the value with the shape's member names and scalar types, without members that the shape lacks.

    Numbers and flags may be strings in a template, and a string may be given as an object (a `Configuration`'s JSON).
    """
    if isinstance(model, StructureShape) and isinstance(value, Mapping):
        names = {name.lower(): name for name in model.members}
        known = {names[key.lower()]: item for key, item in value.items() if key.lower() in names and item is not None}
        return {name: request_of(model.members[name], item) for name, item in known.items()}
    if isinstance(model, ListShape) and isinstance(value, list):
        return [request_of(model.member, item) for item in value]
    if isinstance(model, MapShape) and isinstance(value, Mapping):
        return {key: request_of(model.value, item) for key, item in value.items()}
    if model.type_name == "string":
        return _text(value)
    if model.type_name in {"integer", "long"} and isinstance(value, str) and value.lstrip("-").isdecimal():
        return int(value)
    if model.type_name == "boolean" and isinstance(value, str) and value.lower() in {"true", "false"}:
        return value.lower() == "true"
    return value


def _text(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    return json.dumps(value) if isinstance(value, Mapping | list) else value
