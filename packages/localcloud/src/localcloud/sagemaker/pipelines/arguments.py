"""Validation and conversion of a step's arguments by the request shape of the operation that the step calls."""

from __future__ import annotations

from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

from localcloud.sagemaker.pipelines.expressions import is_expression, text


def problem(model: Shape, value: Any, optional: frozenset[str], path: str = "Arguments") -> str | None:
    """Return what is wrong with the form of arguments that may hold expressions, or None.

    Args:
        model: the request shape.
        value: the arguments.
        optional: top-level members that the pipeline fills in where they are absent (the job's name).
        path: where `value` stands in the arguments.
    """
    if is_expression(value):
        return None
    if isinstance(model, StructureShape):
        if not isinstance(value, dict):
            return f"{path} must be an object, got {value!r}"
        value = {name: item for name, item in value.items() if item is not None}
        unknown = sorted(set(value) - set(model.members))
        if unknown:
            return f"{path} has the unknown field {unknown[0]}"
        missing = sorted(set(model.required_members) - set(value) - optional)
        if missing:
            return f"{path} lacks the required field {missing[0]}"
        parts = ((model.members[name], item, f"{path}.{name}") for name, item in value.items())
    elif isinstance(model, ListShape):
        if not isinstance(value, list):
            return f"{path} must be a list, got {value!r}"
        parts = ((model.member, item, f"{path}[{index}]") for index, item in enumerate(value))
    elif isinstance(model, MapShape):
        if not isinstance(value, dict):
            return f"{path} must be an object, got {value!r}"
        parts = ((model.value, item, f"{path}.{name}") for name, item in value.items())
    else:
        return f"{path} must be a {model.type_name}, got {value!r}" if isinstance(value, dict | list) else None
    return next(filter(None, (problem(shape, item, frozenset(), where) for shape, item, where in parts)), None)


def coerced(model: Shape, value: Any) -> Any:
    """Convert the scalars of resolved arguments to the types that the operation wants.

    Parameters and property files give numbers where `HyperParameters` and `Environment` want strings, and vice versa;
    SageMaker converts both.
    """
    if isinstance(model, StructureShape) and isinstance(value, dict):
        known = {name: item for name, item in value.items() if item is not None}
        return {
            name: coerced(model.members[name], item) if name in model.members else item for name, item in known.items()
        }
    if isinstance(model, ListShape) and isinstance(value, list):
        return [coerced(model.member, item) for item in value]
    if isinstance(model, MapShape) and isinstance(value, dict):
        return {name: coerced(model.value, item) for name, item in value.items()}
    return _scalar(model.type_name, value)


def _scalar(kind: str, value: Any) -> Any:
    if kind == "string" and isinstance(value, int | float | bool):
        return text(value)
    if isinstance(value, str):
        try:
            if kind in {"integer", "long"}:
                return int(value)
            if kind in {"float", "double"}:
                return float(value)
        except ValueError:
            return value  # the operation rejects it with its own message
        if kind == "boolean" and value.lower() in {"true", "false"}:
            return value.lower() == "true"
    return value
