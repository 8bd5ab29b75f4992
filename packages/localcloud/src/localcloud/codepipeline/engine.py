"""The engine: which execution may enter which stage, which actions begin, and what their ends mean.

Each decision is one transaction on the documents, so a start after a kill only decides again.
Source: AWS CodePipeline User Guide, "How pipeline executions work".
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from localcloud.codepipeline.records import ACTIVE, Records, adopt
from localcloud.codepipeline.structure import groups
from localcloud.errors import AwsError
from localcloud.json_api import Document

_UPDATED = "The pipeline's definition was updated before the execution could be completed."
_log = logging.getLogger(__name__)
# (action execution) → None; runs an action to its end, or leaves it in progress for somebody else to end
Perform = Callable[[Document], None]


class Engine:
    """Moves executions on; actions run on threads of the pool."""

    def __init__(self, records: Records, perform: Perform) -> None:
        self._records, self._perform = records, perform
        self._lock = threading.RLock()
        self._pool = ThreadPoolExecutor(max_workers=32, thread_name_prefix="codepipeline")
        self._closed = False

    def shutdown(self) -> None:
        self._closed = True
        self._pool.shutdown(wait=True, cancel_futures=True)

    def recover(self) -> None:
        """Carry on where the documents say that executions were."""
        for action in self._records.actions():
            if action["status"] == "InProgress":
                self._submit(self._perform, action)
        for pipeline in self._records.pipelines():
            self.advance(pipeline["pipeline"]["name"])

    def start(self, name: str, trigger: Document, **members: Any) -> Document:
        """Queue an execution of a pipeline."""
        with self._lock, self._records.change():
            execution = self._records.new_execution(self._records.pipeline(name), trigger, **members)
        self.advance(name)
        return execution

    def advance(self, name: str) -> None:
        """Let the pipeline's executions take the steps that are theirs to take."""
        begun: list[Document] = []
        with self._lock, self._records.change():
            moved = True
            while moved:
                active = [one for one in self._records.executions(name) if one["status"] in ACTIVE]
                steps = [self._step(execution, begun) for execution in active]  # each of them, so no generator
                moved = any(steps)
        for action in begun:
            self._submit(self._perform, action)

    def end_action(self, action: Document, status: str) -> None:
        """An action ended; `action` holds its output."""
        with self._lock, self._records.change():
            known = self._records.action(
                action["pipelineName"], action["pipelineExecutionId"], action["actionExecutionId"]
            )
            if known is None or known["status"] != "InProgress":
                return  # abandoned in the meantime, or its pipeline deleted
            self._records.set_action(action, status)
            execution = self._records.execution(action["pipelineName"], action["pipelineExecutionId"])
            if status == "Succeeded":
                _keep_output(execution, action)
            self._records.put(execution)
        self.advance(action["pipelineName"])

    def stop(self, name: str, execution_id: str, reason: str, *, abandon: bool) -> None:
        """Stop an execution: no further action begins; with `abandon`, those under way are not waited for."""
        with self._lock, self._records.change():
            execution = self._records.execution(name, execution_id)
            if execution["status"] not in ACTIVE:
                raise AwsError(
                    "PipelineExecutionNotStoppableException", f"The execution is {execution['status']} already"
                )
            if execution["status"] == "Stopping" and not abandon:
                raise AwsError("DuplicatedStopRequestException", "The execution is stopping already")
            execution["stopTrigger"] = {"reason": reason}
            if execution["status"] != "Stopping":
                self._records.set_status(execution, "Stopping", reason)
            if abandon:
                for action in self._records.actions(name, execution_id):
                    if action["status"] == "InProgress":
                        self._records.set_action(action, "Abandoned")
        self.advance(name)

    def retry(self, name: str, stage_name: str, execution_id: str, *, everything: bool) -> None:
        """Run a failed stage's failed actions, or all of them, once more.

        Raises:
            AwsError: the stage did not fail, or a newer execution has been in it.
        """
        with self._lock, self._records.change():
            execution = self._records.execution(name, execution_id)
            place, stage = _stage(execution, stage_name)
            if stage["status"] not in ("Failed", "Stopped") or execution["status"] in ACTIVE:
                raise AwsError("StageNotRetryableException", f"The stage {stage_name} is not in a failed state")
            newer = self._newer_in_stage(execution, stage_name)
            if newer is not None:
                raise AwsError(
                    "NotLatestPipelineExecutionException",
                    f"The execution {newer['pipelineExecutionId']} has been in the stage {stage_name} since",
                )
            if execution["pipelineVersion"] != self._records.pipeline(name)["pipeline"]["version"]:
                raise AwsError("StageNotRetryableException", "The pipeline's structure was updated since")
            self._again(execution, place, stage, everything=everything, trigger="ManualStageRetry")
        self.advance(name)

    def roll_back(self, name: str, stage_name: str, target_id: str, trigger: Document) -> Document:
        """Run a stage with what an earlier execution brought into it.

        Raises:
            AwsError: that execution did not succeed there, or ran under another structure.
        """
        with self._lock, self._records.change():
            pipeline = self._records.pipeline(name)
            target = self._records.execution(name, target_id)
            place, stage = _stage(target, stage_name)
            if place == 0:
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
            execution = self._roll_back(pipeline, target, place, trigger)
        self.advance(name)
        return execution

    def _roll_back(self, pipeline: Document, target: Document, place: int, trigger: Document) -> Document:
        carried = ("artifacts", "artifactRevisions", "outputVariables", "variables")
        return self._records.new_execution(
            pipeline,
            trigger,
            executionType="ROLLBACK",
            rollbackMetadata={"rollbackTargetPipelineExecutionId": target["pipelineExecutionId"]},
            at=place,
            until=place,
            **{member: target[member] for member in carried},
        )

    def _again(self, execution: Document, place: int, stage: Document, *, everything: bool, trigger: str) -> None:
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
        execution["at"] = place
        self._records.set_status(execution, "InProgress", event="RESUMED")
        self._records.set_stage(execution, stage, "InProgress", event="RESUMED")

    def _step(self, execution: Document, begun: list[Document]) -> bool:
        """One decision on one execution; whether it changed something that others may wait for."""
        if execution["at"] > execution["until"]:
            self._records.set_status(execution, "Succeeded")
            return True
        stage = execution["stages"][execution["at"]]
        if stage["status"] == "InProgress":
            return self._continue_stage(execution, stage, begun)
        if execution["status"] == "Stopping":
            self._records.set_status(execution, "Stopped", execution["stopTrigger"]["reason"])
            return True
        return self._enter_stage(execution, begun)

    def _enter_stage(self, execution: Document, begun: list[Document]) -> bool:
        pipeline = self._records.pipeline(execution["pipelineName"])
        if execution["pipelineVersion"] != pipeline["pipeline"]["version"]:
            if any(stage["status"] for stage in execution["stages"]) or execution["executionType"] == "ROLLBACK":
                self._records.set_status(execution, "Cancelled", _UPDATED)
                return True
            adopt(execution, pipeline["pipeline"])
            self._records.put(execution)
        stage = execution["stages"][execution["at"]]
        if execution["executionMode"] != "PARALLEL":
            there = self._others_at(execution, stage["name"])
            if execution["executionMode"] == "SUPERSEDED" and any(
                one["sequence"] > execution["sequence"] for one in there
            ):
                self._records.set_status(execution, "Superseded")
                return True
            if any(
                one["stages"][one["at"]]["status"] == "InProgress" or one["sequence"] < execution["sequence"]
                for one in there
            ):
                return False  # the stage is taken, or another's turn is first
        inbound = pipeline["transitions"].get(stage["name"], {}).get("Inbound")
        outbound = None
        if execution["at"] > 0 and execution["executionType"] == "STANDARD":
            before = execution["stages"][execution["at"] - 1]["name"]
            outbound = pipeline["transitions"].get(before, {}).get("Outbound")
        if inbound or outbound:
            return False
        self._records.set_stage(execution, stage, "InProgress")
        return self._continue_stage(execution, stage, begun) or True

    def _others_at(self, execution: Document, stage_name: str) -> list[Document]:
        """The other executions that are in a stage or wait for it."""
        return [
            other
            for other in self._records.executions(execution["pipelineName"])
            if other["status"] in ACTIVE
            and other["pipelineExecutionId"] != execution["pipelineExecutionId"]
            and other["at"] <= other["until"]
            and other["stages"][other["at"]]["name"] == stage_name
        ]

    def _continue_stage(self, execution: Document, stage: Document, begun: list[Document]) -> bool:
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
                begun += [self._records.new_action(execution, stage, action) for action in missing]
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
        if on_failure.get("result") == "RETRY" and attempts == 0:  # AWS retries once by itself
            mode = (on_failure.get("retryConfiguration") or {}).get("retryMode")
            self._again(
                execution, execution["at"], stage, everything=mode == "ALL_ACTIONS", trigger="AutomatedStageRetry"
            )
        elif on_failure.get("result") == "ROLLBACK" and execution["executionType"] == "STANDARD":
            self._roll_back_to_last_good(execution, stage["name"])
        return True

    def _roll_back_to_last_good(self, execution: Document, stage_name: str) -> None:
        good = [
            one
            for one in self._records.executions(execution["pipelineName"])
            if one["sequence"] < execution["sequence"]
            and one["pipelineVersion"] == execution["pipelineVersion"]
            and any(stage["name"] == stage_name and stage["status"] == "Succeeded" for stage in one["stages"])
        ]
        if good:
            trigger = {"triggerType": "AutomatedRollback", "triggerDetail": execution["pipelineExecutionId"]}
            pipeline = self._records.pipeline(execution["pipelineName"])
            self._roll_back(pipeline, good[-1], execution["at"], trigger)

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
            except Exception:  # noqa: BLE001 (the thread's last line of defence)
                _log.exception("codepipeline")

        if not self._closed:
            self._pool.submit(run)


def _stage(execution: Document, name: str) -> tuple[int, Document]:
    for place, stage in enumerate(execution["stages"]):
        if stage["name"] == name:
            return place, stage
    raise AwsError("StageNotFoundException", f"The pipeline has no stage named {name}")


def _keep_output(execution: Document, action: Document) -> None:
    """Artifacts and variables of an action for those that come after it."""
    for artifact in action["output"].get("outputArtifacts", []):
        execution["artifacts"][artifact["name"]] = artifact["s3location"]
    namespace = action["declaration"].get("namespace")
    if namespace and action["output"].get("outputVariables"):
        execution["outputVariables"][namespace] = action["output"]["outputVariables"]
    revision = action["notes"].get("revision")
    if revision:
        others = [one for one in execution["artifactRevisions"] if one["name"] != revision["name"]]
        execution["artifactRevisions"] = [*others, revision]
