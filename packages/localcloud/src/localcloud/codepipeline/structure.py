"""Validation of a pipeline's structure; unsupported features are rejected by name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from localcloud.errors import AwsError
from localcloud.json_api import Document

PROVIDERS = frozenset(
    {
        ("Source", "CodeStarSourceConnection"),
        ("Source", "CodeCommit"),
        ("Build", "CodeBuild"),
        ("Test", "CodeBuild"),
        ("Deploy", "CloudFormation"),
        ("Approval", "Manual"),
        ("Invoke", "Lambda"),
    }
)
ACTION_MODES = frozenset(
    {"CHANGE_SET_REPLACE", "CHANGE_SET_EXECUTE", "CREATE_UPDATE", "DELETE_ONLY", "REPLACE_ON_FAILURE"}
)
_STAGE_CONDITIONS = ("beforeEntry", "onSuccess")
_REFERENCE = re.compile(r"#\{([A-Za-z0-9@\-_]+)\.([A-Za-z0-9@\-_]+)\}")
Action = Mapping[str, Any]


def actions(structure: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Action]]:
    """Yield every (stage, action) in order."""
    for stage in structure["stages"]:
        for action in stage["actions"]:
            yield stage, action


def sources(structure: Mapping[str, Any]) -> list[Action]:
    """Return the source actions."""
    return [action for _, action in actions(structure) if action["actionTypeId"]["category"] == "Source"]


def groups(stage: Mapping[str, Any]) -> list[list[Action]]:
    """Return the stage's actions grouped by run order; the actions of a group run in parallel."""
    orders = sorted({action.get("runOrder", 1) for action in stage["actions"]})
    return [[action for action in stage["actions"] if action.get("runOrder", 1) == order] for order in orders]


def checked(structure: Mapping[str, Any]) -> Document:
    """Return the structure with AWS's defaults.

    Raises:
        AwsError: InvalidStructureException, or InvalidActionDeclarationException for unsupported features.
    """
    pipeline: Document = {"executionMode": "SUPERSEDED", "pipelineType": "V1", **structure}
    names = [stage["name"] for stage in pipeline["stages"]]
    if len(names) < 2:
        raise _invalid("Pipeline should have at least 2 stages")
    if len(set(names)) < len(names):
        raise _invalid("Stage names must be unique within a pipeline")
    if pipeline["pipelineType"] == "V1" and (
        pipeline["executionMode"] != "SUPERSEDED" or pipeline.get("triggers") or pipeline.get("variables")
    ):
        raise _invalid("Execution modes, triggers and variables need the pipeline type V2")
    outputs: set[str] = set()
    for index, stage in enumerate(pipeline["stages"]):
        _check_stage(stage, is_first=index == 0)
        for group in groups(stage):
            for action in group:
                _check_action(action, outputs)
            for action in group:
                outputs |= {artifact["name"] for artifact in action.get("outputArtifacts", [])}
    return pipeline


def _check_stage(stage: Mapping[str, Any], *, is_first: bool) -> None:
    for member in _STAGE_CONDITIONS:
        if stage.get(member):
            raise _unsupported(f"{member} of a stage ({stage['name']})")
    failure = stage.get("onFailure") or {}
    if failure.get("conditions"):
        raise _unsupported(f"conditions of onFailure ({stage['name']})")
    if failure.get("result", "FAIL") == "SKIP":
        raise _unsupported(f"onFailure SKIP ({stage['name']})")
    names = [action["name"] for action in stage["actions"]]
    if len(set(names)) < len(names):
        raise _invalid(f"Action names must be unique within the stage {stage['name']}")
    for action in stage["actions"]:
        if (action["actionTypeId"]["category"] == "Source") != is_first:
            raise _invalid(
                "Source actions belong in the first stage, other actions in later ones: "
                f"{stage['name']}/{action['name']}"
            )


def _check_action(action: Action, outputs: set[str]) -> None:
    kind = action["actionTypeId"]
    name = action["name"]
    if kind["owner"] != "AWS" or (kind["category"], kind["provider"]) not in PROVIDERS:
        raise _unsupported(f"the action type {kind['category']}/{kind['owner']}/{kind['provider']} ({name})")
    configuration = action.get("configuration", {})
    if configuration.get("BatchEnabled", "false").lower() == "true":
        raise _unsupported(f"batch builds (BatchEnabled of {name})")
    mode = configuration.get("ActionMode")
    if kind["provider"] == "CloudFormation" and mode not in ACTION_MODES:
        raise _unsupported(f"the ActionMode {mode} ({name})")
    missing = [one["name"] for one in action.get("inputArtifacts", []) if one["name"] not in outputs]
    if missing:
        raise _invalid(f"The input artifact {missing[0]} of action {name} is not an output of an earlier action")


def resolved(configuration: Mapping[str, str], variables: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return the configuration with `#{namespace.variable}` replaced by values.

    Raises:
        LookupError: a variable has no value; the message names it.
    """

    def value(found: re.Match[str]) -> str:
        try:
            return variables[found[1]][found[2]]
        except KeyError:
            raise LookupError(f"The action configuration refers to a variable without a value: {found[0]}") from None

    return {key: _REFERENCE.sub(value, text) for key, text in configuration.items()}


def _invalid(message: str) -> AwsError:
    return AwsError("InvalidStructureException", message)


def _unsupported(what: str) -> AwsError:
    return AwsError("InvalidActionDeclarationException", f"The local cloud's CodePipeline does not support {what}")
