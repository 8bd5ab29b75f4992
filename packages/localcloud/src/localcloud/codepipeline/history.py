"""The operations that read executions, actions and the state of stages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localcloud.codepipeline.records import ACTIVE, Records
from localcloud.json_api import Document, Operations, page


class History:
    """The operations that read executions and their state."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self.operations: Operations = {
            "GetPipelineExecution": self._get,
            "ListPipelineExecutions": self._list,
            "ListActionExecutions": self._list_actions,
            "GetPipelineState": self._state,
        }

    def _get(self, request: Mapping[str, Any], _caller: str) -> Document:
        self._records.pipeline(request["pipelineName"])
        execution = self._records.execution(request["pipelineName"], request["pipelineExecutionId"])
        variables = [{"name": name, "resolvedValue": value} for name, value in execution["variables"].items()]
        return {"pipelineExecution": {**execution, "variables": variables}}

    def _list(self, request: Mapping[str, Any], _caller: str) -> Document:
        name = request["pipelineName"]
        self._records.pipeline(name)
        wanted = request.get("filter", {}).get("succeededInStage", {}).get("stageName")
        executions = [
            execution
            for execution in reversed(self._records.executions(name))
            if wanted is None
            or any(stage["name"] == wanted and stage["status"] == "Succeeded" for stage in execution["stages"])
        ]
        items, token = page(executions, request)
        summaries = [{**one, "sourceRevisions": one["artifactRevisions"]} for one in items]
        return {"pipelineExecutionSummaries": summaries, "nextToken": token}

    def _list_actions(self, request: Mapping[str, Any], _caller: str) -> Document:
        name, chosen = request["pipelineName"], request.get("filter", {})
        self._records.pipeline(name)
        execution_id = chosen.get("pipelineExecutionId", "")
        latest = chosen.get("latestInPipelineExecution")
        if latest:
            execution_id = latest["pipelineExecutionId"]
        if execution_id:
            self._records.execution(name, execution_id)
        actions = self._records.actions(name, execution_id)
        if latest:
            newest = {(one["stageName"], one["actionName"]): one for one in actions}
            actions = list(newest.values())
        items, token = page(actions[::-1], request)
        return {"actionExecutionDetails": items, "nextToken": token}

    def _state(self, request: Mapping[str, Any], _caller: str) -> Document:
        document = self._records.pipeline(request["name"])
        structure = document["pipeline"]
        executions = self._records.executions(structure["name"])
        return {
            "pipelineName": structure["name"],
            "pipelineVersion": structure["version"],
            "stageStates": [self._stage_state(stage, document, executions) for stage in structure["stages"]],
            **{member: document["metadata"][member] for member in ("created", "updated")},
        }

    def _stage_state(self, stage: Document, document: Document, executions: list[Document]) -> Document:
        name = stage["name"]
        entered = [(one, seen) for one in executions if (seen := _entered(one, name)) is not None]
        latest = max(entered, key=lambda pair: float(pair[1]["lastUpdateTime"]), default=None)
        waiting = [
            {"pipelineExecutionId": one["pipelineExecutionId"], "status": "InProgress", "type": one["executionType"]}
            for one in executions
            if one["status"] in ACTIVE
            and one["at"] <= one["until"]
            and one["stages"][one["at"]]["name"] == name
            and one["stages"][one["at"]]["status"] is None
        ]
        disabled = document["transitions"].get(name, {}).get("Inbound")
        transition: Document = {"enabled": not disabled}
        if disabled:
            transition |= {
                "lastChangedBy": disabled["by"],
                "lastChangedAt": disabled["at"],
                "disabledReason": disabled["reason"],
            }
        state: Document = {
            "stageName": name,
            "inboundTransitionState": transition,
            "inboundExecutions": waiting or None,
            "inboundExecution": waiting[0] if waiting else None,
            "actionStates": [self._action_state(action, latest) for action in stage["actions"]],
        }
        if latest is not None:
            execution, seen = latest
            state["latestExecution"] = {
                "pipelineExecutionId": execution["pipelineExecutionId"],
                "status": seen["status"],
                "type": execution["executionType"],
            }
            state["retryStageMetadata"] = seen.get("retries")
        return state

    def _action_state(self, declaration: Document, latest: tuple[Document, Document] | None) -> Document:
        state: Document = {"actionName": declaration["name"]}
        if latest is None:
            return state
        execution, stage = latest
        action_id = stage["actions"].get(declaration["name"])
        if action_id is None:
            return state
        action = self._records.action(execution["pipelineName"], execution["pipelineExecutionId"], action_id) or {}
        notes, result = action.get("notes", {}), action.get("output", {}).get("executionResult", {})
        running = action.get("status") == "InProgress"
        state["latestExecution"] = {
            "actionExecutionId": action_id,
            "status": action.get("status"),
            "lastStatusChange": action.get("lastUpdateTime"),
            "lastUpdatedBy": action.get("updatedBy"),
            "token": notes.get("token") if running else None,
            "summary": result.get("externalExecutionSummary"),
            "externalExecutionId": result.get("externalExecutionId") or notes.get("externalExecutionId"),
            "externalExecutionUrl": result.get("externalExecutionUrl"),
            "errorDetails": result.get("errorDetails"),
            "logStreamARN": result.get("logStreamARN"),
        }
        revision = notes.get("revision")
        if revision:
            state["currentRevision"] = {
                "revisionId": revision["revisionId"],
                "revisionChangeId": revision["revisionId"],
                "created": revision["created"],
            }
        return state


def _entered(execution: Document, stage_name: str) -> Document | None:
    return next((one for one in execution["stages"] if one["name"] == stage_name and one["status"]), None)
