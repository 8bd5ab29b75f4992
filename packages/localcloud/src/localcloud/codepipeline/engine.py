"""The engine of CodePipeline: it moves executions through stages, starts actions and handles their results.

Each decision is one transaction on the documents. After a restart the engine continues from the documents.
Source: AWS CodePipeline User Guide, "How pipeline executions work".
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from localcloud.codepipeline.records import ACTIVE, Records, follow_structure
from localcloud.codepipeline.structure import groups
from localcloud.errors import AwsError
from localcloud.json_api import Document

_UPDATED = "The pipeline's definition was updated before the execution could be completed."
_log = logging.getLogger(__name__)
# (action execution) → None; runs an action to its end, or leaves it in progress where an API call ends it
RunAction = Callable[[Document], None]


class Engine:
    """Runner of executions; actions run on threads of a pool."""

    def __init__(self, records: Records, run: RunAction) -> None:
        self._records, self._run_action = records, run
        self._lock = threading.RLock()
        self._pool = ThreadPoolExecutor(max_workers=32, thread_name_prefix="codepipeline")
        self._closed = False

    def shutdown(self) -> None:
        """Stop the threads; the next `recover` continues the executions."""
        self._closed = True
        self._pool.shutdown(wait=True, cancel_futures=True)

    def recover(self) -> None:
        """Continue executions from their documents; call this at the start."""
        for action in self._records.actions():
            if action["status"] == "InProgress":
                self._submit(self._run_action, action)
        for pipeline in self._records.pipelines():
            self.advance(pipeline["pipeline"]["name"])

    def start(self, name: str, trigger: Document, **members: Any) -> Document:
        """Start an execution of a pipeline, and return it."""
        with self._lock, self._records.change():
            execution = self._records.new_execution(self._records.pipeline(name), trigger, **members)
        self.advance(name)
        return execution

    def advance(self, name: str) -> None:
        """Advance the pipeline's executions as far as possible."""
        started: list[Document] = []
        with self._lock, self._records.change():
            changed = True
            while changed:
                active = [one for one in self._records.executions(name) if one["status"] in ACTIVE]
                steps = [
                    self._advance_execution(execution, started) for execution in active
                ]  # a list, so that all executions advance
                changed = any(steps)
        for action in started:
            self._submit(self._run_action, action)

    def end_action(self, action: Document, status: str) -> None:
        """Record the end of an action, whose document holds its output."""
        with self._lock, self._records.change():
            known = self._records.action(
                action["pipelineName"], action["pipelineExecutionId"], action["actionExecutionId"]
            )
            if known is None or known["status"] != "InProgress":
                return  # the action was abandoned, or its pipeline deleted
            self._records.set_action(action, status)
            execution = self._records.execution(action["pipelineName"], action["pipelineExecutionId"])
            if status == "Succeeded":
                _keep_output(execution, action)
            self._records.put(execution)
        self.advance(action["pipelineName"])

    def stop(self, name: str, execution_id: str, reason: str, *, abandon: bool) -> None:
        """Stop an execution: no further action starts; `abandon` also ends the running ones.

        Raises:
            AwsError: the execution has ended or is already stopping.
        """
        with self._lock, self._records.change():
            execution = self._records.execution(name, execution_id)
            if execution["status"] not in ACTIVE:
                raise AwsError(
                    "PipelineExecutionNotStoppableException", f"The execution has already ended: {execution['status']}"
                )
            if execution["status"] == "Stopping" and not abandon:
                raise AwsError("DuplicatedStopRequestException", "The execution is already stopping")
            execution["stopTrigger"] = {"reason": reason}
            if execution["status"] != "Stopping":
                self._records.set_status(execution, "Stopping", reason)
            if abandon:
                for action in self._records.actions(name, execution_id):
                    if action["status"] == "InProgress":
                        self._records.set_action(action, "Abandoned")
        self.advance(name)

    def retry(self, name: str, stage_name: str, execution_id: str, *, everything: bool) -> None:
        """Retry a failed stage: its failed actions, or with `everything` all of them.

        Raises:
            AwsError: the stage has not failed, or a newer execution has entered it.
        """
        with self._lock, self._records.change():
            execution = self._records.execution(name, execution_id)
            index, stage = _stage(execution, stage_name)
            if stage["status"] not in ("Failed", "Stopped") or execution["status"] in ACTIVE:
                raise AwsError("StageNotRetryableException", f"The stage {stage_name} is not in a failed state")
            newer = self._newer_in_stage(execution, stage_name)
            if newer is not None:
                raise AwsError(
                    "NotLatestPipelineExecutionException",
                    f"The newer execution {newer['pipelineExecutionId']} has entered the stage {stage_name}",
                )
            if execution["pipelineVersion"] != self._records.pipeline(name)["pipeline"]["version"]:
                raise AwsError("StageNotRetryableException", "The pipeline's structure has been updated")
            self._restart_stage(execution, index, stage, everything=everything, trigger="ManualStageRetry")
        self.advance(name)

    def roll_back(self, name: str, stage_name: str, target_id: str, trigger: Document) -> Document:
        """Run a stage with the artifacts and variables of an earlier execution.

        Raises:
            AwsError: that execution did not succeed in the stage, or ran under another structure.
        """
        with self._lock, self._records.change():
            pipeline = self._records.pipeline(name)
            target = self._records.execution(name, target_id)
            index, stage = _stage(target, stage_name)
            if index == 0:
                raise AwsError("UnableToRollbackStageException", "A source stage cannot be rolled back")
            if target["pipelineVersion"] != pipeline["pipeline"]["version"]:
                raise AwsError(
                    "PipelineExecutionOutdatedException",
                    f"The execution {target_id} ran under another structure of the pipeline",
                )
            if stage["status"] != "Succeeded":
                raise AwsError(
                    "UnableToRollbackStageException", f"The execution {target_id} did not succeed in {stage_name}"
                )
            execution = self._roll_back(pipeline, target, index, trigger)
        self.advance(name)
        return execution

    def _roll_back(self, pipeline: Document, target: Document, index: int, trigger: Document) -> Document:
        copied = ("artifacts", "artifactRevisions", "outputVariables", "variables")
        return self._records.new_execution(
            pipeline,
            trigger,
            executionType="ROLLBACK",
            rollbackMetadata={"rollbackTargetPipelineExecutionId": target["pipelineExecutionId"]},
            at=index,
            until=index,
            **{member: target[member] for member in copied},
        )

    def _restart_stage(
        self, execution: Document, index: int, stage: Document, *, everything: bool, trigger: str
    ) -> None:
        name, execution_id = execution["pipelineName"], execution["pipelineExecutionId"]
        kept = {} if everything else {
            action_name: action_id
            for action_name, action_id in stage["actions"].items()
            if (self._records.action(name, execution_id, action_id) or {}).get("status") == "Succeeded"
        }  # fmt: skip
        stage["actions"] = kept
        retries = stage.setdefault("retries", {"autoStageRetryAttempt": 0, "manualStageRetryAttempt": 0})
        counter = "autoStageRetryAttempt" if trigger == "AutomatedStageRetry" else "manualStageRetryAttempt"
        retries[counter] += 1
        retries["latestRetryTrigger"] = trigger
        execution["at"] = index
        self._records.set_status(execution, "InProgress", event="RESUMED")
        self._records.set_stage(execution, stage, "InProgress", event="RESUMED")

    def _advance_execution(self, execution: Document, started: list[Document]) -> bool:
        """Make one decision about an execution; return whether it may unblock other executions."""
        if execution["at"] > execution["until"]:
            self._records.set_status(execution, "Succeeded")
            return True
        stage = execution["stages"][execution["at"]]
        if stage["status"] == "InProgress":
            return self._continue_stage(execution, stage, started)
        if execution["status"] == "Stopping":
            self._records.set_status(execution, "Stopped", execution["stopTrigger"]["reason"])
            return True
        return self._enter_stage(execution, started)

    def _enter_stage(self, execution: Document, started: list[Document]) -> bool:
        pipeline = self._records.pipeline(execution["pipelineName"])
        if execution["pipelineVersion"] != pipeline["pipeline"]["version"]:
            if any(stage["status"] for stage in execution["stages"]) or execution["executionType"] == "ROLLBACK":
                self._records.set_status(execution, "Cancelled", _UPDATED)
                return True
            follow_structure(execution, pipeline["pipeline"])
            self._records.put(execution)
        stage = execution["stages"][execution["at"]]
        if execution["executionMode"] != "PARALLEL":
            others = self._others_at(execution, stage["name"])
            if execution["executionMode"] == "SUPERSEDED" and any(
                one["sequence"] > execution["sequence"] for one in others
            ):
                self._records.set_status(execution, "Superseded")
                return True
            if any(
                one["stages"][one["at"]]["status"] == "InProgress" or one["sequence"] < execution["sequence"]
                for one in others
            ):
                return False  # the stage is occupied, or an earlier execution waits for it
        inbound = pipeline["transitions"].get(stage["name"], {}).get("Inbound")
        outbound = None
        if execution["at"] > 0 and execution["executionType"] == "STANDARD":
            before = execution["stages"][execution["at"] - 1]["name"]
            outbound = pipeline["transitions"].get(before, {}).get("Outbound")
        if inbound or outbound:
            return False
        self._records.set_stage(execution, stage, "InProgress")
        return self._continue_stage(execution, stage, started) or True

    def _others_at(self, execution: Document, stage_name: str) -> list[Document]:
        """Return the other executions that are in a stage or wait for it."""
        return [
            other
            for other in self._records.executions(execution["pipelineName"])
            if other["status"] in ACTIVE
            and other["pipelineExecutionId"] != execution["pipelineExecutionId"]
            and other["at"] <= other["until"]
            and other["stages"][other["at"]]["name"] == stage_name
        ]

    def _continue_stage(self, execution: Document, stage: Document, started: list[Document]) -> bool:
        declared = next(one for one in self._records.structure(execution)["stages"] if one["name"] == stage["name"])
        for group in groups(declared):
            states = {action["name"]: self._action_status(execution, stage, action["name"]) for action in group}
            if "InProgress" in states.values():
                return False
            if any(state in ("Failed", "Abandoned") for state in states.values()):
                return self._stage_failed(execution, stage, declared)
            missing = [action for action in group if states[action["name"]] is None]
            if missing and execution["status"] == "Stopping":
                self._records.set_stage(execution, stage, "Stopped")
                self._records.set_status(execution, "Stopped", execution["stopTrigger"]["reason"])
                return True
            if missing:
                started += [self._records.new_action(execution, stage, action) for action in missing]
                return False
        execution["at"] += 1
        self._records.set_stage(execution, stage, "Succeeded")
        return True

    def _stage_failed(self, execution: Document, stage: Document, declared: Document) -> bool:
        stopped = execution["status"] == "Stopping"
        self._records.set_stage(execution, stage, "Stopped" if stopped else "Failed")
        if stopped:
            self._records.set_status(execution, "Stopped", execution["stopTrigger"]["reason"])
            return True
        self._records.set_status(execution, "Failed")
        on_failure = declared.get("onFailure") or {}
        attempts = stage.get("retries", {}).get("autoStageRetryAttempt", 0)
        if on_failure.get("result") == "RETRY" and attempts == 0:  # AWS retries once
            mode = (on_failure.get("retryConfiguration") or {}).get("retryMode")
            self._restart_stage(
                execution, execution["at"], stage, everything=mode == "ALL_ACTIONS", trigger="AutomatedStageRetry"
            )
        elif on_failure.get("result") == "ROLLBACK" and execution["executionType"] == "STANDARD":
            self._roll_back_to_last_good(execution, stage["name"])
        return True

    def _roll_back_to_last_good(self, execution: Document, stage_name: str) -> None:
        successful = [
            one
            for one in self._records.executions(execution["pipelineName"])
            if one["sequence"] < execution["sequence"]
            and one["pipelineVersion"] == execution["pipelineVersion"]
            and any(stage["name"] == stage_name and stage["status"] == "Succeeded" for stage in one["stages"])
        ]
        if successful:
            trigger = {"triggerType": "AutomatedRollback", "triggerDetail": execution["pipelineExecutionId"]}
            pipeline = self._records.pipeline(execution["pipelineName"])
            self._roll_back(pipeline, successful[-1], execution["at"], trigger)

    def _action_status(self, execution: Document, stage: Document, name: str) -> str | None:
        action_id = stage["actions"].get(name)
        if action_id is None:
            return None
        action = self._records.action(execution["pipelineName"], execution["pipelineExecutionId"], action_id)
        return None if action is None else str(action["status"])

    def _newer_in_stage(self, execution: Document, stage_name: str) -> Document | None:
        for other in self._records.executions(execution["pipelineName"]):
            entered = any(stage["name"] == stage_name and stage["status"] for stage in other["stages"])
            if other["sequence"] > execution["sequence"] and entered:
                return other
        return None

    def _submit(self, act: Callable[..., None], *arguments: Any) -> None:
        def run() -> None:
            try:
                act(*arguments)
            except Exception:  # noqa: BLE001 (the pool would discard the exception)
                _log.exception("a CodePipeline action failed")

        if not self._closed:
            self._pool.submit(run)


def _stage(execution: Document, name: str) -> tuple[int, Document]:
    for index, stage in enumerate(execution["stages"]):
        if stage["name"] == name:
            return index, stage
    raise AwsError("StageNotFoundException", f"The pipeline has no stage named {name}")


def _keep_output(execution: Document, action: Document) -> None:
    """Store an action's artifacts and variables for later actions."""
    for artifact in action["output"].get("outputArtifacts", []):
        execution["artifacts"][artifact["name"]] = artifact["s3location"]
    namespace = action["declaration"].get("namespace")
    if namespace and action["output"].get("outputVariables"):
        execution["outputVariables"][namespace] = action["output"]["outputVariables"]
    revision = action["notes"].get("revision")
    if revision:
        others = [one for one in execution["artifactRevisions"] if one["name"] != revision["name"]]
        execution["artifactRevisions"] = [*others, revision]
