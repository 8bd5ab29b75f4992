"""Expressions in a pipeline definition: `Get`, `Std:Join` and `Std:JsonGet`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from localcloud.sagemaker.pipelines.paths import PathError, look_up, parse

_FUNCTIONS = frozenset({"Get", "Std:Join", "Std:JsonGet"})
EXECUTION_VARIABLES = frozenset(
    {
        "StartDateTime",
        "CurrentDateTime",
        "PipelineName",
        "PipelineArn",
        "PipelineExecutionId",
        "PipelineExecutionArn",
        "TrainingJobName",
        "ProcessingJobName",
    }
)


class ResolutionError(Exception):
    """A variable could not be resolved at run time; the message is the step's failure reason."""


class Scope(Protocol):
    """The source of variables' values."""

    def parameter(self, name: str) -> Any:
        """Return the value of a pipeline parameter."""

    def execution_variable(self, name: str) -> Any:
        """Return the value of `Execution.<name>`."""

    def step_properties(self, step_name: str) -> Mapping[str, Any]:
        """Return the properties of a step that has succeeded."""

    def property_file(self, step_name: str, name: str) -> Any:
        """Return the content of a step's property file."""

    def json_object(self, s3_uri: str) -> Any:
        """Return the content of a JSON object in S3."""


def is_expression(value: Any) -> bool:
    """Return whether the value is an expression."""
    return isinstance(value, dict) and len(value) == 1 and next(iter(value)) in _FUNCTIONS


def expressions(value: Any) -> Iterator[dict[str, Any]]:
    """Yield all expressions within `value`, outer ones before the ones that they contain."""
    if is_expression(value):
        yield value
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for child in children:
        yield from expressions(child)


def text(value: Any) -> str:
    """Format a scalar as AWS does where a string is wanted."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def property_file_of(reference: Any) -> tuple[str, str] | None:
    """Return (step, property file) of `{"Get": "Steps.<step>.PropertyFiles.<name>"}` or of that plain string."""
    path = reference.get("Get") if isinstance(reference, dict) else reference
    if not isinstance(path, str):
        return None
    parts = path.split(".")
    if len(parts) < 4 or parts[0] != "Steps" or parts[2] != "PropertyFiles":
        return None
    return parts[1], ".".join(parts[3:])


def resolve(value: Any, scope: Scope) -> Any:
    """Return `value` with every expression replaced by its value.

    Raises:
        ResolutionError: a property is missing, a file is not readable, or a path does not exist.
    """
    if is_expression(value):
        function, argument = next(iter(value.items()))
        if function == "Get":
            return _get(argument, scope)
        if function == "Std:Join":
            return argument.get("On", "").join(text(resolve(one, scope)) for one in argument["Values"])
        return _json_get(argument, scope)
    if isinstance(value, dict):
        return {key: resolve(item, scope) for key, item in value.items()}
    if isinstance(value, list):
        return [resolve(item, scope) for item in value]
    return value


def _get(reference: str, scope: Scope) -> Any:
    root, _, rest = reference.partition(".")
    if root == "Parameters":
        return scope.parameter(rest)
    if root == "Execution":
        return scope.execution_variable(rest)
    step, *path = parse(rest)
    try:
        return look_up(scope.step_properties(str(step)), tuple(path))
    except PathError as error:
        raise ResolutionError(f"Could not resolve the property reference {reference}: {error}") from error


def _json_get(argument: Mapping[str, Any], scope: Scope) -> Any:
    path = argument["Path"]
    if "S3Uri" in argument:
        source = text(resolve(argument["S3Uri"], scope))
        document = scope.json_object(source)
    else:
        step, name = property_file_of(argument["PropertyFile"]) or ("", "")
        source = f"{name} of step {step}"
        document = scope.property_file(step, name)
    try:
        found = look_up(document, parse(path))
    except PathError as error:
        raise ResolutionError(f"Could not read the JSON path {path} of the property file {source}: {error}") from error
    if isinstance(found, dict | list):
        raise ResolutionError(f"The JSON path {path} of the property file {source} is not a scalar value")
    return found
