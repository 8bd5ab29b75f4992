"""Documents of pipelines, executions and action executions, and the events of their changes.

The whole state of an execution is in its document, so that it survives a restart.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from localcloud.cloud import Cloud
from localcloud.errors import AwsError
from localcloud.json_api import Document

PIPELINE, EXECUTION, ACTION = "CodePipeline", "CodePipelineExecution", "CodePipelineAction"
_STRUCTURE = "CodePipelineStructure"  # one document for each version of a pipeline
ACTIVE = frozenset({"InProgress", "Stopping"})
_EVENT_STATES = {
    "InProgress": "STARTED",
    "Succeeded": "SUCCEEDED",
    "Failed": "FAILED",
    "Stopping": "STOPPING",
    "Stopped": "STOPPED",
    "Superseded": "SUPERSEDED",
    "Cancelled": "CANCELED",
    "Abandoned": "ABANDONED",
}


class Records:
    """Reads and writes the documents; events are published after the commit."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud, self._store = cloud, cloud.store
        self._events: list[tuple[str, Document]] = []

    def now(self) -> float:
        """Return the cloud's time (epoch seconds)."""
        return self._cloud.clock.now().timestamp()

    def arn(self, pipeline: str) -> str:
        """Return a pipeline's ARN."""
        return f"arn:aws:codepipeline:{self._cloud.region}:{self._cloud.account}:{pipeline}"

    @property
    def revision(self) -> int:
        """Number that increases with each change of any document."""
        return self._store.revision

    @contextmanager
    def change(self) -> Iterator[None]:
        """Group changes in one commit, and publish their events after it; only one thread may hold this."""
        with self._store.transaction():
            yield
            events, self._events = self._events, []
        for detail_type, detail in events:
            resources = [self.arn(detail["pipeline"])]
            self._cloud.emit("aws.codepipeline", f"CodePipeline {detail_type} State Change", resources, detail)

    def pipeline(self, name: str) -> Document:
        """Return a pipeline's document.

        Raises:
            AwsError: PipelineNotFoundException.
        """
        found = self._store.get(PIPELINE, name)
        if found is None:
            raise AwsError(
                "PipelineNotFoundException", f"Account '{self._cloud.account}' does not have a pipeline named '{name}'"
            )
        return found

    def pipelines(self) -> list[Document]:
        """Return all pipelines."""
        return [one for _, one in self._store.list(PIPELINE)]

    def put_pipeline(self, document: Document) -> None:
        """Store a pipeline and its structure."""
        structure = document["pipeline"]
        with self._store.transaction():
            self._store.put(PIPELINE, structure["name"], document)
            self._store.put(_STRUCTURE, f"{structure['name']}/{structure['version']}", structure)

    def structure(self, execution: Mapping[str, Any]) -> Document:
        """Return the structure that an execution follows; the pipeline's may be newer."""
        found = self._store.get(_STRUCTURE, f"{execution['pipelineName']}/{execution['pipelineVersion']}")
        assert found is not None  # stored before any execution starts
        return found

    def delete_pipeline(self, name: str) -> None:
        """Delete a pipeline with its executions."""
        with self._store.transaction():
            self._store.delete(PIPELINE, name)
            for kind in (EXECUTION, ACTION, _STRUCTURE):
                for key, _ in self._store.list(kind, f"{name}/"):
                    self._store.delete(kind, key)

    def execution(self, pipeline: str, execution_id: str) -> Document:
        """Return an execution.

        Raises:
            AwsError: PipelineExecutionNotFoundException.
        """
        found = self._store.get(EXECUTION, f"{pipeline}/{execution_id}")
        if found is None:
            raise AwsError(
                "PipelineExecutionNotFoundException",
                f"The pipeline {pipeline} has no execution with the id {execution_id}",
            )
        return found

    def executions(self, pipeline: str) -> list[Document]:
        """Return the pipeline's executions in the order of their start."""
        found = [one for _, one in self._store.list(EXECUTION, f"{pipeline}/")]
        return sorted(found, key=lambda one: int(one["sequence"]))

    def new_execution(self, pipeline: Document, trigger: Document, **members: Any) -> Document:
        """Create an execution with the pipeline's current structure; call this within `change`."""
        structure, now = pipeline["pipeline"], self.now()
        earlier = self.executions(structure["name"])
        execution: Document = {
            "pipelineName": structure["name"],
            "pipelineExecutionId": str(uuid.uuid4()),
            "sequence": earlier[-1]["sequence"] + 1 if earlier else 1,
            "startTime": now,
            "trigger": trigger,
            "executionType": "STANDARD",
            "variables": {},
            "sourceOverrides": {},
            "artifacts": {},
            "artifactRevisions": [],
            "outputVariables": {},
            "at": 0,
            "until": len(structure["stages"]) - 1,
            **members,
        }
        follow_structure(execution, structure)
        self.set_status(execution, "InProgress")
        return execution

    def put(self, execution: Document) -> None:
        """Store an execution."""
        execution["lastUpdateTime"] = self.now()
        self._store.put(EXECUTION, f"{execution['pipelineName']}/{execution['pipelineExecutionId']}", execution)

    def set_status(self, execution: Document, status: str, summary: str = "", event: str = "") -> None:
        """Set an execution's status and add its event; call this within `change`."""
        execution["status"] = status
        execution["statusSummary"] = summary
        self.put(execution)
        kind, detail = execution["trigger"].get("triggerType"), execution["trigger"].get("triggerDetail")
        self._add_event(
            "Pipeline Execution",
            execution,
            event or _EVENT_STATES[status],
            {"execution-trigger": {"trigger-type": kind, "trigger-detail": detail}},
        )

    def set_stage(self, execution: Document, stage: Document, status: str, event: str = "") -> None:
        """Set a stage's status and add its event; call this within `change`."""
        stage["status"] = status
        stage["lastUpdateTime"] = self.now()
        self.put(execution)
        self._add_event("Stage Execution", execution, event or _EVENT_STATES[status], {"stage": stage["name"]})

    def new_action(self, execution: Document, stage: Document, declaration: Mapping[str, Any]) -> Document:
        """Create the execution of an action; call this within `change`."""
        now = self.now()
        action: Document = {
            "pipelineName": execution["pipelineName"],
            "pipelineExecutionId": execution["pipelineExecutionId"],
            "actionExecutionId": str(uuid.uuid4()),
            "pipelineVersion": execution["pipelineVersion"],
            "stageName": stage["name"],
            "actionName": declaration["name"],
            "startTime": now,
            "declaration": dict(declaration),
            "input": {},
            "output": {},
            "notes": {},
        }
        stage["actions"][declaration["name"]] = action["actionExecutionId"]
        self.put(execution)
        self.set_action(action, "InProgress")
        return action

    def set_action(self, action: Document, status: str) -> None:
        """Set an action execution's status and add its event; call this within `change`."""
        action["status"] = status
        self._put_action(action)
        kind = action["declaration"]["actionTypeId"]
        members: Document = {
            "stage": action["stageName"],
            "action": action["actionName"],
            "region": self._cloud.region,
            "type": {name: kind[name] for name in ("owner", "provider", "category", "version")},
        }
        result = action["output"].get("executionResult") or {}
        if status != "InProgress" and result:
            members["execution-result"] = {
                "external-execution-id": result.get("externalExecutionId", ""),
                "external-execution-url": result.get("externalExecutionUrl", ""),
                "external-execution-summary": result.get("externalExecutionSummary", ""),
            }
            if result.get("errorDetails"):
                members["execution-result"]["error-code"] = result["errorDetails"]["code"]
        self._add_event("Action Execution", action, _EVENT_STATES[status], members)

    def _put_action(self, action: Document) -> None:
        action["lastUpdateTime"] = self.now()
        key = "/".join(action[name] for name in ("pipelineName", "pipelineExecutionId", "actionExecutionId"))
        self._store.put(ACTION, key, action)

    def note_action(self, action: Document, **members: Any) -> None:
        """Set members of an action execution without changing its status."""
        key = "/".join(action[name] for name in ("pipelineName", "pipelineExecutionId", "actionExecutionId"))
        self._store.update(ACTION, key, **members)

    def action(self, pipeline: str, execution_id: str, action_id: str) -> Document | None:
        """Return an action execution, or None."""
        return self._store.get(ACTION, f"{pipeline}/{execution_id}/{action_id}")

    def actions(self, pipeline: str = "", execution_id: str = "") -> list[Document]:
        """Return the action executions of an execution, of a pipeline or of all pipelines, sorted by start time."""
        prefix = "/".join((pipeline, execution_id, "")) if execution_id else f"{pipeline}/" if pipeline else ""
        found = [one for _, one in self._store.list(ACTION, prefix)]
        return sorted(found, key=lambda one: float(one["startTime"]))

    def job(self, job_id: str) -> Document:
        """Return the action execution of a job.

        Raises:
            AwsError: JobNotFoundException.
        """
        for action in self.actions():
            if action["actionExecutionId"] == job_id:
                return action
        raise AwsError("JobNotFoundException", f"There is no job {job_id}")

    def _add_event(self, what: str, document: Mapping[str, Any], state: str, members: Mapping[str, Any]) -> None:
        detail = {
            "pipeline": document["pipelineName"],
            "execution-id": document["pipelineExecutionId"],
            **members,
            "state": state,
            "version": float(document["pipelineVersion"]),
        }
        self._events.append((what, detail))


def follow_structure(execution: Document, structure: Mapping[str, Any]) -> None:
    """Set the structure of an execution that has not entered a stage."""
    execution["pipelineVersion"] = structure["version"]
    execution["executionMode"] = structure["executionMode"]
    execution["stages"] = [{"name": stage["name"], "status": None, "actions": {}} for stage in structure["stages"]]
    if execution["executionType"] == "STANDARD":
        execution["until"] = len(structure["stages"]) - 1
