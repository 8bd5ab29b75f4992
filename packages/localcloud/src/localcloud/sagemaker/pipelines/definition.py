"""Parser and validator of pipeline definitions (JSON, version 2020-12-01).

Source: "Amazon SageMaker AI Model Building Pipeline Definition JSON Schema".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from botocore.model import StructureShape

from localcloud.sagemaker.errors import validation
from localcloud.sagemaker.pipelines import arguments, cache, checks, conditions, parameters, paths, retries
from localcloud.sagemaker.pipelines.expressions import EXECUTION_VARIABLES, expressions, property_file_of
from localcloud.sagemaker.pipelines.step_types import STEP_TYPES, StepType, known_fields
from localcloud.sagemaker.shapes import operation_model

VERSION = "2020-12-01"
_TOP_LEVEL = frozenset({"Version", "Metadata", "Parameters", "PipelineExperimentConfig", "Steps"})
_STEP_NAME = re.compile(r"[A-Za-z0-9\-_]{1,64}")
_BRANCHES = {"IfSteps": True, "ElseSteps": False}


@dataclass(frozen=True)
class PropertyFile:
    """A JSON file among a job's outputs that later steps read."""

    output_name: str
    file_path: str


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        needs: the steps that must succeed first, from `DependsOn` and from references.
        branch: the condition step and the outcome with which this step runs, or None.
        arguments: as written, with expressions; for a condition step only its conditions.
    """

    name: str
    type: StepType
    arguments: Mapping[str, Any]
    needs: frozenset[str]
    branch: tuple[str, bool] | None
    display_name: str | None
    description: str | None
    retry_policies: tuple[retries.RetryPolicy, ...]
    cache: cache.CacheConfig | None
    property_files: Mapping[str, PropertyFile]
    function_arn: Any = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    output_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Definition:
    """A valid definition; steps are in document order, the steps of branches after their condition step."""

    parameters: Mapping[str, parameters.Parameter]
    steps: Mapping[str, Step]
    experiment: Mapping[str, Any]


class _Invalid(Exception):
    """The definition is not valid; the message says why."""


@lru_cache(maxsize=256)
def parse(text: str) -> Definition:
    """Parse a definition.

    Raises:
        AwsError: ValidationException, worded as SageMaker's "Unable to parse pipeline definition".
    """
    try:
        return _definition(json.loads(text))
    except json.JSONDecodeError as error:
        raise validation(f"Unable to parse pipeline definition. It is not valid JSON: {error}") from error
    except (_Invalid, ValueError) as error:
        raise validation(f"Unable to parse pipeline definition. {_sentence(str(error))}") from error


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _definition(raw: Any) -> Definition:
    if not isinstance(raw, dict):
        raise _Invalid("it must be a JSON object")
    if raw.get("Version") != VERSION:
        raise _Invalid(f"the Version must be {VERSION}, got {raw.get('Version')!r}")
    raw = _given(raw)
    unknown = sorted(set(raw) - _TOP_LEVEL)
    if unknown:
        raise _Invalid(f"the field {unknown[0]} is not supported")
    declared = parameters.declared(raw.get("Parameters", []))
    written = list(_written_steps(raw.get("Steps"), None))
    names = [step["Name"] for step, _ in written]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise _Invalid(f"step names must be unique, {', '.join(repeated)} is used more than once")
    steps = {step["Name"]: _step(step, branch) for step, branch in written}
    definition = Definition(declared, steps, raw.get("PipelineExperimentConfig", {}))
    for expression in expressions(definition.experiment):
        _check_expression("PipelineExperimentConfig", expression, definition)
    for step in steps.values():
        _check_references(step, definition)
    _check_order(steps)
    return definition


def _given(members: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members that are not null: the SDK writes `null` for each feature that a pipeline does not use."""
    return {name: value for name, value in members.items() if value is not None}


def _written_steps(
    raw: Any, branch: tuple[str, bool] | None
) -> Iterator[tuple[dict[str, Any], tuple[str, bool] | None]]:
    """Yield all steps with their branches, the steps of branches after their condition step."""
    if not isinstance(raw, list) or (branch is None and not raw):
        raise _Invalid("Steps must be a list with at least one step" if branch is None else "a branch must be a list")
    for step in raw:
        if not isinstance(step, dict) or not isinstance(step.get("Name"), str):
            raise _Invalid(f"a step needs a Name, got {step!r}")
        if not _STEP_NAME.fullmatch(step["Name"]):
            raise _Invalid(f"the step name {step['Name']!r} must match {_STEP_NAME.pattern}")
        yield _given(step), branch
        if step.get("Type") == "Condition" and isinstance(step.get("Arguments"), dict):
            for member, outcome in _BRANCHES.items():
                yield from _written_steps(step["Arguments"].get(member) or [], (step["Name"], outcome))


def _step(raw: Mapping[str, Any], branch: tuple[str, bool] | None) -> Step:
    name, kind = raw["Name"], raw.get("Type")
    step_type = STEP_TYPES.get(str(kind))
    if step_type is None:
        supported = ", ".join(STEP_TYPES)
        raise _Invalid(f"the local cloud does not support the type {kind} of the step {name}; it supports {supported}")
    unknown = sorted(set(raw) - known_fields(step_type))
    if unknown:
        raise _Invalid(f"the step {name} has the field {unknown[0]}, which the type {kind} does not support")
    given = _arguments(name, step_type, raw.get("Arguments"))
    depends = raw.get("DependsOn", [])
    if not isinstance(depends, list) or not all(isinstance(one, str) for one in depends):
        raise _Invalid(f"DependsOn of the step {name} must be a list of step names")
    settings = {member: raw[member] for member in sorted(step_type.settings) if member in raw}
    try:
        return Step(
            name=name,
            type=step_type,
            arguments=given,
            needs=frozenset(depends) | _referenced([given, raw.get("FunctionArn"), settings]),
            branch=branch,
            display_name=raw.get("DisplayName"),
            description=raw.get("Description"),
            retry_policies=retries.read(raw.get("RetryPolicies", [])),
            cache=cache.read(raw["CacheConfig"]) if "CacheConfig" in raw else None,
            property_files=_property_files(raw.get("PropertyFiles", [])),
            function_arn=raw.get("FunctionArn"),
            settings=settings,
            output_names=_output_names(step_type, raw),
        )
    except ValueError as error:
        raise _Invalid(f"the step {name}: {error}") from error


def _arguments(name: str, step_type: StepType, raw: Any) -> Mapping[str, Any]:
    if step_type.name in ("Lambda", "Callback") and raw is None:
        return {}
    if not isinstance(raw, dict):
        raise _Invalid(f"Arguments of the step {name} must be an object")
    checked: Mapping[str, Any] = raw
    if step_type.operation is not None:
        model = operation_model(step_type.operation).input_shape
        optional = frozenset({step_type.name_member} if step_type.name_member else ())
        wrong = arguments.problem(model, raw, optional) if model is not None else None
    elif step_type.name == "Condition":
        unknown = set(raw) - {"Conditions", *_BRANCHES}
        listed = raw.get("Conditions")
        if unknown or not isinstance(listed, list) or not listed:
            wrong = "Arguments of a condition step are Conditions, IfSteps and ElseSteps"
        else:
            wrong = next(filter(None, map(conditions.problem, listed)), None)
        checked = {"Conditions": listed}
    elif step_type.name == "Fail":
        wrong = None if set(raw) == {"ErrorMessage"} else "Arguments of a fail step are its ErrorMessage"
    else:
        wrong = None
    if wrong:
        raise _Invalid(f"the step {name}: {wrong}")
    return checked


def _property_files(raw: Any) -> dict[str, PropertyFile]:
    found: dict[str, PropertyFile] = {}
    for one in raw:
        if not isinstance(one, dict) or set(one) != {"PropertyFileName", "OutputName", "FilePath"}:
            raise ValueError(f"a property file has PropertyFileName, OutputName and FilePath, got {one!r}")
        if one["PropertyFileName"] in found:
            raise ValueError(f"the property file name {one['PropertyFileName']} is not unique")
        found[one["PropertyFileName"]] = PropertyFile(one["OutputName"], one["FilePath"])
    return found


def _output_names(step_type: StepType, raw: Mapping[str, Any]) -> tuple[str, ...]:
    needed = {"Lambda": "FunctionArn", "Callback": "SqsQueueUrl"}.get(step_type.name)
    if needed is None:
        return ()
    if not raw.get(needed):
        raise ValueError(f"a {step_type.name} step needs a {needed}")
    outputs = raw.get("OutputParameters", [])
    if not isinstance(outputs, list) or not all(isinstance(one, dict) and "OutputName" in one for one in outputs):
        raise ValueError(f"OutputParameters of a {step_type.name} step are a list of OutputName and OutputType")
    return tuple(one["OutputName"] for one in outputs)


def _referenced(value: Any) -> frozenset[str]:
    """Return the steps that the expressions within `value` refer to."""
    found = set()
    for expression in expressions(value):
        function, argument = next(iter(expression.items()))
        if function == "Get" and isinstance(argument, str) and argument.startswith("Steps."):
            found.add(argument.split(".")[1].split("[")[0])
        elif function == "Std:JsonGet" and isinstance(argument, dict):
            file = property_file_of(argument.get("PropertyFile"))
            if file:
                found.add(file[0])
    return frozenset(found)


def _check_references(step: Step, definition: Definition) -> None:
    missing = sorted(step.needs - set(definition.steps))
    if missing:
        raise _Invalid(f"the step {step.name} refers to the step {missing[0]}, which does not exist")
    for expression in expressions([dict(step.arguments), step.function_arn, dict(step.settings)]):
        _check_expression(f"the step {step.name}", expression, definition)


def _check_expression(where: str, expression: Mapping[str, Any], definition: Definition) -> None:
    function, argument = next(iter(expression.items()))
    if function == "Get":
        _check_get(where, argument, definition)
    elif function == "Std:Join":
        if (
            not isinstance(argument, dict)
            or set(argument) - {"On", "Values"}
            or not isinstance(argument.get("Values"), list)
        ):
            raise _Invalid(f"{where}: Std:Join needs On and a list of Values, got {argument!r}")
    else:
        _check_json_get(where, argument, definition)


def _check_get(where: str, reference: Any, definition: Definition) -> None:
    if not isinstance(reference, str):
        raise _Invalid(f"{where}: Get needs a string, got {reference!r}")
    root, _, rest = reference.partition(".")
    if root == "Parameters" and rest in definition.parameters:
        return
    if root == "Execution" and rest in EXECUTION_VARIABLES:
        return
    if root != "Steps" or not rest:
        raise _Invalid(f"{where}: the reference {reference} is neither a parameter, a step nor an execution variable")
    name, *path = paths.parse(rest)
    step = definition.steps.get(str(name))
    if step is None:
        raise _Invalid(f"{where} refers to the step {name}, which does not exist")
    if path[:1] == ["PropertyFiles"]:
        _check_property_file(where, step, ".".join(map(str, path[1:])))
        return
    try:
        _check_property(step, tuple(path))
    except paths.PathError as error:
        raise _Invalid(f"{where}: the property reference {reference} is not valid: {error}") from error


def _check_property(step: Step, path: paths.Path) -> None:
    if not path:
        raise paths.PathError("it names no property")
    if step.type.describe is not None:
        listed = step.type.name == "Tuning" and path[0] == "TrainingJobSummaries"
        operation = "ListTrainingJobsForHyperParameterTuningJob" if listed else step.type.describe
        model = operation_model(operation).output_shape
        if isinstance(model, StructureShape):
            paths.check_against(model, path)
    elif step.type.name in ("Lambda", "Callback"):
        if path[0] != "OutputParameters" or len(path) != 2 or path[1] not in step.output_names:
            raise paths.PathError(f"the {step.type.name} step has the OutputParameters {', '.join(step.output_names)}")
    elif step.type.settings:
        if len(path) != 1 or path[0] not in checks.PROPERTIES:
            raise paths.PathError(f"'{path[0]}' is not a property of a {step.type.name} step")
    elif path != (("Outcome",) if step.type.name == "Condition" else ("ErrorMessage",)):
        raise paths.PathError(f"'{path[0]}' is not a property of a {step.type.name} step")


def _check_json_get(where: str, argument: Any, definition: Definition) -> None:
    if not isinstance(argument, dict) or not isinstance(argument.get("Path"), str):
        raise _Invalid(f"{where}: Std:JsonGet needs a Path, got {argument!r}")
    paths.parse(argument["Path"])
    if set(argument) == {"S3Uri", "Path"}:
        return
    file = property_file_of(argument.get("PropertyFile"))
    if set(argument) != {"PropertyFile", "Path"} or file is None:
        raise _Invalid(f"{where}: Std:JsonGet needs a PropertyFile 'Steps.<step>.PropertyFiles.<name>' or an S3Uri")
    step = definition.steps.get(file[0])
    if step is None:
        raise _Invalid(f"{where} refers to the step {file[0]}, which does not exist")
    _check_property_file(where, step, file[1])


def _check_property_file(where: str, step: Step, name: str) -> None:
    if name not in step.property_files:
        raise _Invalid(f"{where} reads the property file {name}, which the step {step.name} does not declare")
    outputs = step.arguments.get("ProcessingOutputConfig", {}).get("Outputs", [])
    wanted = step.property_files[name].output_name
    if isinstance(outputs, list) and wanted not in [one.get("OutputName") for one in outputs if isinstance(one, dict)]:
        raise _Invalid(f"the property file {name} is in the output {wanted}, which the step {step.name} does not have")


def _check_order(steps: Mapping[str, Step]) -> None:
    """Reject cycles; the steps of a branch depend on their condition step."""
    waiting = {name: set(step.needs) | ({step.branch[0]} if step.branch else set()) for name, step in steps.items()}
    while waiting:
        free = [name for name, needs in waiting.items() if not needs & set(waiting)]
        if not free:
            raise _Invalid(f"the steps {', '.join(sorted(waiting))} depend on each other in a cycle")
        for name in free:
            del waiting[name]
