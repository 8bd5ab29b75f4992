"""Pipeline definitions: what SageMaker rejects is rejected at CreatePipeline, with the reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from localcloud.sagemaker.errors import AwsError
from localcloud.sagemaker.pipelines import cache, conditions
from localcloud.sagemaker.pipelines.definition import parse
from localcloud.sagemaker.pipelines.expressions import ResolutionError
from localcloud.sagemaker.pipelines.paths import PathError, look_up
from localcloud.sagemaker.pipelines.paths import parse as parse_path

_FILE = {"PropertyFile": {"Get": "Steps.A.PropertyFiles.R"}, "Path": "a"}
StepOf = Callable[..., dict[str, Any]]


def _get(path: str) -> dict[str, str]:
    return {"Get": path}


def _condition(name: str, test: Any, then: list[Any], otherwise: list[Any]) -> dict[str, Any]:
    return {
        "Name": name,
        "Type": "Condition",
        "Arguments": {"Conditions": [test], "IfSteps": then, "ElseSteps": otherwise},
    }


def _fails(definition: Any) -> str:
    with pytest.raises(AwsError) as caught:
        parse(json.dumps(definition))
    assert caught.value.code == "ValidationException"
    assert caught.value.message.startswith("Unable to parse pipeline definition. ")
    return caught.value.message


def test_dependencies_come_from_references_and_depends_on(step_of: StepOf) -> None:
    steps = [
        step_of("B", Arguments={"Environment": {"X": _get("Steps.A.ProcessingJobArn")}}),
        step_of("A"),
        step_of("C", DependsOn=["B"]),
    ]
    parsed = parse(json.dumps({"Version": "2020-12-01", "Steps": steps}))
    assert {name: set(step.needs) for name, step in parsed.steps.items()} == {"A": set(), "B": {"A"}, "C": {"B"}}


def test_null_members_are_ignored(step_of: StepOf) -> None:
    """The SDK's `Pipeline.definition()` writes null for each feature that a pipeline does not use."""
    step = step_of("A", CacheConfig=None, DependsOn=None, Arguments={"NetworkConfig": None})
    unsaid = {"PipelineExperimentConfig": None, "MlflowConfig": None}
    assert parse(json.dumps({"Version": "2020-12-01", "Metadata": {}, **unsaid, "Steps": [step]})).experiment == {}
    said = {"MlflowConfig": {"MlflowResourceArn": "arn:aws:sagemaker:us-east-1:000000000000:mlflow-app/a"}}
    assert "The field MlflowConfig is not supported" in _fails({"Version": "2020-12-01", **said, "Steps": [step]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Version": "2019-01-01"}, "The Version must be 2020-12-01, got '2019-01-01'"),
        ({"Steps": []}, "at least one step"),
        ({"Hooks": {}}, "The field Hooks is not supported"),
        ({"Parameters": [{"Name": "P", "Type": "Date"}]}, "has the type Date"),
        ({"Parameters": [{"Name": "P", "Type": "Integer", "DefaultValue": "x"}]}, "of type Integer"),
        ({"Parameters": [{"Name": "P", "Type": "Integer", "DefaultValue": True}]}, "of type Integer"),
        (
            {"Parameters": [{"Name": "P", "Type": "String", "DefaultValue": "c", "EnumValues": ["a", "b"]}]},
            "not among its EnumValues",
        ),
        ({"Parameters": [{"Name": "P", "Type": "String"}] * 2}, "P is not unique"),
    ],
)
def test_a_malformed_definition_is_rejected(step_of: StepOf, change: dict[str, Any], message: str) -> None:
    assert message in _fails({"Version": "2020-12-01", "Steps": [step_of("A")], **change})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda step: [step("A", DependsOn=["B"]), step("B", DependsOn=["A"])], "steps A, B depend on each other"),
        (lambda step: [step("A"), step("A")], "A is used more than once"),
        (lambda step: [step("A", DependsOn=["Z"])], "refers to the step Z, which does not exist"),
        (lambda step: [step("A", Arguments={"RoleArn": _get("Parameters.Nope")})], "Parameters.Nope is neither"),
        (lambda step: [step("A", Arguments={"RoleArn": _get("Execution.Nope")})], "Execution.Nope is neither"),
        (lambda step: [step("A", Arguments={"Colour": "red"})], "unknown field Colour"),
        (lambda step: [{**step("A"), "Arguments": {"RoleArn": "r"}}], "lacks the required field AppSpecification"),
        (lambda step: [step("A", Color="red")], "the field Color, which the type Processing does not support"),
        (lambda step: [{"Name": "T", "Type": "AutoML", "Arguments": {}}], "the type AutoML of the step T"),
        (lambda step: [{"Name": "C", "Type": "EMR"}], "does not support the type EMR"),
        (lambda step: [{"Name": "E", "Type": "EMR", "Arguments": {}}], "does not support the type EMR"),
        (
            lambda step: [step("A"), step("B", Arguments={"RoleArn": _get("Steps.A.ModelArtifacts.X")})],
            "'ModelArtifacts' is not a member of DescribeProcessingJobResponse",
        ),
        (lambda step: [step("A", CacheConfig={"Enabled": True, "ExpireAfter": "soon"})], "ISO 8601 duration"),
        (lambda step: [step("A", RetryPolicies=[{"ExceptionType": ["Nope"], "MaxAttempts": 1}])], "ExceptionType"),
        (lambda step: [step("A", RetryPolicies=[{"ExceptionType": ["Step.THROTTLING"]}])], "exactly one of"),
        (lambda step: [_condition("C", {"Type": "Like"}, [], [])], "the condition type 'Like' is not supported"),
        (lambda step: [_condition("C", {"Type": "Equals", "LeftValue": 1}, [], [])], "needs RightValue"),
        (
            lambda step: [
                _condition(
                    "C",
                    {"Type": "Equals", "LeftValue": {"Std:JsonGet": _FILE}, "RightValue": 1},
                    [], [],
                ),
                step("A"),
            ],
            "reads the property file R, which the step A does not declare",
        ),
        (
            lambda step: [_condition("C", {"Type": "In", "QueryValue": 1, "Values": [1]}, [step("A")], [step("A")])],
            "A is used more than once",
        ),
        (
            lambda step: [
                _condition("C", {"Type": "Equals", "LeftValue": _get("Steps.A.ProcessingJobStatus"), "RightValue": "x"},
                           [step("A")], []),
            ],
            "cycle",
        ),
        (lambda step: [{"Name": "L", "Type": "Lambda", "Arguments": {}}], "needs a FunctionArn"),
        (lambda step: [{"Name": "F", "Type": "Fail", "Arguments": {}}], "ErrorMessage"),
    ],
)  # fmt: skip
def test_a_definition_that_cannot_run_is_rejected(step_of: StepOf, make: Any, message: str) -> None:
    assert message in _fails({"Version": "2020-12-01", "Steps": make(step_of)})


class _Scope:
    def parameter(self, name: str) -> Any:
        return {"P": 3, "S": "0.5"}[name]

    def execution_variable(self, name: str) -> Any:
        raise ResolutionError(name)

    def step_properties(self, step_name: str) -> Any:
        return {"Outcome": "True"}

    def property_file(self, step_name: str, name: str) -> Any:
        return {"m": {"auc": [0.7]}}

    def json_object(self, s3_uri: str) -> Any:
        return {}


_REPORT = {"Std:JsonGet": {"PropertyFile": _get("Steps.E.PropertyFiles.R"), "Path": "m.auc[0]"}}


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"Type": "Equals", "LeftValue": _get("Parameters.P"), "RightValue": 3}, True),
        ({"Type": "Equals", "LeftValue": _get("Parameters.P"), "RightValue": "3"}, True),
        ({"Type": "Equals", "LeftValue": True, "RightValue": 1}, False),
        ({"Type": "GreaterThan", "LeftValue": _REPORT, "RightValue": 0.7}, False),
        ({"Type": "GreaterThanOrEqualTo", "LeftValue": _REPORT, "RightValue": 0.7}, True),
        ({"Type": "LessThan", "LeftValue": _get("Parameters.S"), "RightValue": 1}, True),
        ({"Type": "LessThanOrEqualTo", "LeftValue": "a", "RightValue": "b"}, True),
        ({"Type": "In", "QueryValue": _get("Parameters.P"), "Values": [1, 2, 3]}, True),
        ({"Type": "In", "QueryValue": "x", "Values": ["y"]}, False),
        ({"Type": "Not", "Condition": {"Type": "Equals", "LeftValue": 1, "RightValue": 2}}, True),
        ({"Type": "Not", "Expression": {"Type": "Equals", "LeftValue": 1, "RightValue": 1}}, False),
        (
            {"Type": "Or", "Conditions": [
                {"Type": "Equals", "LeftValue": 1, "RightValue": 2},
                {"Type": "And", "Conditions": [{"Type": "LessThan", "LeftValue": 1, "RightValue": 2}]},
            ]},
            True,
        ),
    ],
)  # fmt: skip
def test_conditions_are_evaluated(condition: dict[str, Any], holds: bool) -> None:
    assert conditions.problem(condition) is None
    assert conditions.holds(condition, _Scope()) is holds


def test_values_that_cannot_be_compared_fail_the_step() -> None:
    with pytest.raises(ResolutionError, match="cannot compare 'a' and 1"):
        conditions.holds({"Type": "LessThan", "LeftValue": "a", "RightValue": 1}, _Scope())


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("a.b[0].c", 1),
        ("$.a.b[0].c", 1),
        ("a['b'][0]['c']", 1),
        ('a["x.y"]', 2),
        ("a.binary:auc", 3),
        ("outputs['train'].S3Uri", "s3://t"),
        ("outputs[1].S3Uri", "s3://h"),
    ],
)
def test_paths_select_values(path: str, value: Any) -> None:
    outputs = [{"OutputName": "train", "S3Uri": "s3://t"}, {"OutputName": "holdout", "S3Uri": "s3://h"}]
    document = {"a": {"b": [{"c": 1}], "x.y": 2, "binary:auc": 3}, "outputs": outputs}
    assert look_up(document, parse_path(path)) == value
    with pytest.raises(PathError):
        look_up(document, parse_path(path + ".further"))


@pytest.mark.parametrize(
    ("text", "seconds"), [("P30D", 2592000), ("PT12H", 43200), ("30d", 2592000), ("P1DT1M", 86460), ("P1W", 604800)]
)
def test_cache_durations_are_iso_8601(text: str, seconds: int) -> None:
    config = cache.read({"Enabled": True, "ExpireAfter": text})
    assert config.expire_after is not None
    assert config.expire_after.total_seconds() == seconds
