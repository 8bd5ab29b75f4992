"""The operations that start, stop, retry and roll back executions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localcloud.codepipeline.engine import Engine
from localcloud.codepipeline.records import Records
from localcloud.codepipeline.structure import sources
from localcloud.errors import validation
from localcloud.json_api import Document, Operations


class Control:
    """The operations that change executions."""

    def __init__(self, records: Records, engine: Engine) -> None:
        self._records, self._engine = records, engine
        self.operations: Operations = {
            "StartPipelineExecution": self._start,
            "StopPipelineExecution": self._stop,
            "RetryStageExecution": self._retry,
            "RollbackStage": self._roll_back,
        }

    def _start(self, request: Mapping[str, Any], caller: str) -> Document:
        name = request["name"]
        structure = self._records.pipeline(name)["pipeline"]
        token = request.get("clientRequestToken")
        if token:
            known = [one for one in self._records.executions(name) if one.get("clientRequestToken") == token]
            if known:
                return {"pipelineExecutionId": known[0]["pipelineExecutionId"]}
        execution = self._engine.start(
            name,
            {"triggerType": "StartPipelineExecution", "triggerDetail": caller},
            variables=_variables(structure, request.get("variables", [])),
            sourceOverrides=_overrides(structure, request.get("sourceRevisions", [])),
            clientRequestToken=token,
        )
        return {"pipelineExecutionId": execution["pipelineExecutionId"]}

    def _stop(self, request: Mapping[str, Any], _caller: str) -> Document:
        self._engine.stop(
            request["pipelineName"],
            request["pipelineExecutionId"],
            request.get("reason", ""),
            abandon=request.get("abandon", False),
        )
        return {"pipelineExecutionId": request["pipelineExecutionId"]}

    def _retry(self, request: Mapping[str, Any], _caller: str) -> Document:
        self._engine.retry(
            request["pipelineName"],
            request["stageName"],
            request["pipelineExecutionId"],
            everything=request["retryMode"] == "ALL_ACTIONS",
        )
        return {"pipelineExecutionId": request["pipelineExecutionId"]}

    def _roll_back(self, request: Mapping[str, Any], caller: str) -> Document:
        trigger = {"triggerType": "ManualRollback", "triggerDetail": caller}
        execution = self._engine.roll_back(
            request["pipelineName"], request["stageName"], request["targetPipelineExecutionId"], trigger
        )
        return {"pipelineExecutionId": execution["pipelineExecutionId"]}


def defaults(structure: Mapping[str, Any]) -> dict[str, str]:
    """Return the default values of the pipeline's variables."""
    return {one["name"]: one["defaultValue"] for one in structure.get("variables", []) if "defaultValue" in one}


def _variables(structure: Mapping[str, Any], given: list[Mapping[str, str]]) -> dict[str, str]:
    known = {one["name"] for one in structure.get("variables", [])}
    unknown = sorted({one["name"] for one in given} - known)
    if unknown:
        raise validation(f"The pipeline declares no variable {unknown[0]}")
    values = {**defaults(structure), **{one["name"]: one["value"] for one in given}}
    missing = sorted(known - set(values))
    if missing:
        raise validation(f"The variable {missing[0]} has no default value and was not given")
    return values


def _overrides(structure: Mapping[str, Any], given: list[Mapping[str, str]]) -> dict[str, str]:
    names = {action["name"] for action in sources(structure)}
    for one in given:
        if one["revisionType"] != "COMMIT_ID":
            raise validation(f"The local cloud supports revisions of the type COMMIT_ID, not {one['revisionType']}")
        if one["actionName"] not in names:
            raise validation(f"The pipeline has no source action {one['actionName']}")
    return {one["actionName"]: one["revisionValue"] for one in given}
