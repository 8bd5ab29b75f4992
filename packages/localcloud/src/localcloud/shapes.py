"""Validation of requests by botocore's service models, as on AWS, and of responses by their output shape."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any

import botocore.session
from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StructureShape

from localcloud.errors import AwsError, validation
from localcloud.patterns import compiled

_JSON_NAMES = {str: "STRING_VALUE", bool: "TRUE_VALUE", int: "NUMBER_VALUE", float: "DECIMAL_VALUE"}


@cache
def service_model(service: str) -> ServiceModel:
    """Return botocore's model of a service."""
    return botocore.session.get_session().get_service_model(service)


@cache
def operation_model(service: str, operation: str) -> OperationModel:
    """Return botocore's model of an operation."""
    return service_model(service).operation_model(operation)


def validated(service: str, operation: str, request: Any) -> dict[str, Any]:
    """Return the request with the input shape's types (timestamps as epoch seconds).

    Raises:
        AwsError: SerializationException for a wrong JSON type, ValidationException that lists every broken constraint.
    """
    model = operation_model(service, operation).input_shape
    if model is None:
        return {}
    problems: list[str] = []
    value = _check(model, request, "", problems)
    if problems:
        count = len(problems)
        noun = "error" if count == 1 else "errors"
        raise validation(f"{count} validation {noun} detected: {'; '.join(problems)}")
    return dict(value)


def serialised(service: str, operation: str, response: Mapping[str, Any]) -> dict[str, Any]:
    """Return the response's members that the output shape has, without absent ones."""
    model = operation_model(service, operation).output_shape
    return {} if model is None else dict(_filtered(model, response))


def _lower(name: str) -> str:
    return name[:1].lower() + name[1:]


def _wrong_type(value: Any, wanted: str) -> AwsError:
    if isinstance(value, dict):
        return AwsError("SerializationException", f"Start of structure or map found where not expected ({wanted}).")
    if isinstance(value, list):
        return AwsError("SerializationException", f"Start of list found where not expected ({wanted}).")
    found = "FALSE_VALUE" if value is False else _JSON_NAMES.get(type(value), type(value).__name__)
    return AwsError("SerializationException", f"{found} can not be converted to {wanted}")


def _check(model: Shape, value: Any, path: str, problems: list[str]) -> Any:
    if isinstance(model, StructureShape):
        return _check_structure(model, value, path, problems)
    if isinstance(model, ListShape):
        if not isinstance(value, list):
            raise _wrong_type(value, "a list")
        _check_size(model, value, len(value), path, problems)
        return [_check(model.member, item, f"{path}.{i}.member", problems) for i, item in enumerate(value, start=1)]
    if isinstance(model, MapShape):
        if not isinstance(value, dict):
            raise _wrong_type(value, "a map")
        _check_size(model, value, len(value), path, problems)
        return {
            _check(model.key, key, f"{path}.key", problems): _check(model.value, item, f"{path}.{key}.member", problems)
            for key, item in value.items()
        }
    return _check_scalar(model, value, path, problems)


def _check_structure(model: StructureShape, value: Any, path: str, problems: list[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong_type(value, f"a structure {model.name}")
    unknown = sorted(set(value) - set(model.members))
    if unknown:
        known = ", ".join(model.members)
        where = f" at '{path}'" if path else ""
        raise validation(f'Unknown parameter in input{where}: "{unknown[0]}", must be one of: {known}')
    prefix = f"{path}." if path else ""
    checked: dict[str, Any] = {}
    for name, member in model.members.items():
        given = value.get(name)
        if given is None:
            if name in model.required_members:
                problems.append(
                    f"Value null at '{prefix}{_lower(name)}' failed to satisfy constraint: Member must not be null"
                )
            continue
        checked[name] = _check(member, given, prefix + _lower(name), problems)
    if getattr(model, "is_tagged_union", False) and len(checked) != 1:
        problems.append(f"Value at '{path}' failed to satisfy constraint: exactly one member must be set")
    return checked


def _check_scalar(model: Shape, value: Any, path: str, problems: list[str]) -> Any:
    kind = model.type_name
    if kind == "string":
        if not isinstance(value, str):
            raise _wrong_type(value, "a String")
        _check_string(model, value, path, problems)
        return value
    if kind == "boolean":
        if not isinstance(value, bool):
            raise _wrong_type(value, "a Boolean")
        return value
    if kind == "timestamp":
        return _timestamp(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _wrong_type(value, "a Number")
    if kind in {"integer", "long"}:
        if value != int(value):
            raise _wrong_type(value, "an Integer")
        value = int(value)
    _check_range(model, value, path, problems)
    return value


def _timestamp(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    try:
        return datetime.fromisoformat(str(value).replace("Z", "+00:00")).timestamp()
    except ValueError as error:
        raise _wrong_type(value, "a Timestamp") from error


def _problem(value: Any, path: str, constraint: str) -> str:
    return f"Value '{value}' at '{path}' failed to satisfy constraint: Member must {constraint}"


def _check_string(model: Shape, value: str, path: str, problems: list[str]) -> None:
    _check_size(model, value, len(value), path, problems)
    allowed = getattr(model, "enum", None)
    if allowed and value not in allowed:
        problems.append(_problem(value, path, f"satisfy enum value set: [{', '.join(allowed)}]"))
    pattern = model.metadata.get("pattern")
    if pattern and compiled(pattern).fullmatch(value) is None:
        problems.append(_problem(value, path, f"satisfy regular expression pattern: {pattern}"))


def _check_size(model: Shape, value: Any, size: int, path: str, problems: list[str]) -> None:
    low, high = model.metadata.get("min"), model.metadata.get("max")
    if low is not None and size < low:
        problems.append(_problem(value, path, f"have length greater than or equal to {low}"))
    if high is not None and size > high:
        problems.append(_problem(value, path, f"have length less than or equal to {high}"))


def _check_range(model: Shape, value: float, path: str, problems: list[str]) -> None:
    low, high = model.metadata.get("min"), model.metadata.get("max")
    if low is not None and value < low:
        problems.append(_problem(value, path, f"have value greater than or equal to {low}"))
    if high is not None and value > high:
        problems.append(_problem(value, path, f"have value less than or equal to {high}"))


def _filtered(model: Shape, value: Any) -> Any:
    if isinstance(model, StructureShape):
        return {
            name: _filtered(member, value[name])
            for name, member in model.members.items()
            if value.get(name) is not None
        }
    if isinstance(model, ListShape):
        return [_filtered(model.member, item) for item in value]
    if isinstance(model, MapShape):
        return {key: _filtered(model.value, item) for key, item in value.items()}
    if model.type_name == "timestamp":
        return round(float(value), 3)
    return value
