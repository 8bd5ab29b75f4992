"""Pipeline parameters: their declarations, and the values of an execution."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from localcloud.sagemaker.errors import validation
from localcloud.sagemaker.pipelines.expressions import text


def _boolean(value: str) -> bool:
    if value.lower() not in {"true", "false"}:
        raise ValueError(value)
    return value.lower() == "true"


_READ: Mapping[str, Callable[[str], Any]] = {"String": str, "Integer": int, "Float": float, "Boolean": _boolean}
_JSON_TYPES: Mapping[str, tuple[type, ...]] = {
    "String": (str,),
    "Integer": (int,),
    "Float": (int, float),
    "Boolean": (bool,),
}
_MEMBERS = frozenset({"Name", "Type", "DefaultValue", "EnumValues", "Description", "DisplayName"})


@dataclass(frozen=True)
class Parameter:
    """A declared parameter; with `default` None an execution must give a value."""

    name: str
    type: str
    default: Any = None
    enum_values: tuple[Any, ...] = ()

    def read(self, value: str) -> Any:
        """Convert the string that the API carries to the parameter's type.

        Raises:
            AwsError: ValidationException for a value of another type, or not among the allowed ones.
        """
        try:
            typed = _READ[self.type](value)
        except ValueError as error:
            raise validation(f"Parameter [{self.name}] must be of type {self.type}, got [{value}].") from error
        if self.enum_values and typed not in self.enum_values:
            allowed = ", ".join(text(one) for one in self.enum_values)
            raise validation(f"Parameter [{self.name}] must be one of [{allowed}], got [{value}].")
        return typed


def declared(raw: Any) -> dict[str, Parameter]:
    """Read the definition's `Parameters`; raise ValueError where they are not valid."""
    if not isinstance(raw, list):
        raise ValueError("Parameters must be a list")
    found: dict[str, Parameter] = {}
    for one in raw:
        parameter = _declaration(one)
        if parameter.name in found:
            raise ValueError(f"the parameter name {parameter.name} is not unique")
        found[parameter.name] = parameter
    return found


def _declaration(raw: Any) -> Parameter:
    if not isinstance(raw, dict) or not isinstance(raw.get("Name"), str) or not raw["Name"]:
        raise ValueError(f"a parameter needs a Name, got {raw!r}")
    name = raw["Name"]
    unknown = sorted(set(raw) - _MEMBERS)
    if unknown:
        raise ValueError(f"the parameter {name} has the unknown field {unknown[0]}")
    kind = str(raw.get("Type"))
    if kind not in _READ:
        raise ValueError(f"the parameter {name} has the type {kind}; it must be one of {', '.join(_READ)}")
    default, allowed = raw.get("DefaultValue"), raw.get("EnumValues") or []
    for value in [*allowed, *([] if default is None else [default])]:
        if not isinstance(value, _JSON_TYPES[kind]) or (isinstance(value, bool) and kind != "Boolean"):
            raise ValueError(f"the parameter {name} is of type {kind}, but has the value {value!r}")
    if allowed and default is not None and default not in allowed:
        raise ValueError(f"the default {default!r} of the parameter {name} is not among its EnumValues")
    return Parameter(name, kind, default, tuple(allowed))


def values(parameters: Mapping[str, Parameter], given: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Return the typed value of each parameter of an execution.

    Raises:
        AwsError: ValidationException for an unknown, a mistyped or a missing parameter.
    """
    names = [one["Name"] for one in given]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise validation(f"Parameter names must be unique, [{', '.join(repeated)}] is given more than once.")
    unknown = sorted(set(names) - set(parameters))
    if unknown:
        raise validation(f"Unknown pipeline parameters: [{', '.join(unknown)}] are not declared in the definition.")
    found = {one["Name"]: parameters[one["Name"]].read(one["Value"]) for one in given}
    missing = [name for name, parameter in parameters.items() if name not in found and parameter.default is None]
    if missing:
        raise validation(f"Parameters [{', '.join(missing)}] have no default value and were not given.")
    return {name: found.get(name, parameter.default) for name, parameter in parameters.items()}
