"""Documents of executions and their steps, and the events of their changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from localcloud.sagemaker.context import Context, Document, random_id
from localcloud.sagemaker.errors import not_found
from localcloud.sagemaker.events import Events
from localcloud.sagemaker.pipelines.definition import Definition, Step, parse

PIPELINE = "Pipeline"
VERSION = "PipelineVersion"
EXECUTION = "PipelineExecution"
JOB_INDEX = "PipelineJob"
ENDED = frozenset({"Succeeded", "Failed", "Stopped"})
_MAX_REASON_LENGTH = 1024


class Change:
    """An execution within one transaction; its events are published after the commit."""

    def __init__(self, execution: Document, now: float) -> None:
        self.execution = execution
        self.now = now
        self.transitions: list[tuple[str | None, str | None, Document]] = []

    @property
    def steps(self) -> dict[str, Document]:
        """The states of the steps by name."""
        steps: dict[str, Document] = self.execution["Steps"]
        return steps

    @property
    def status(self) -> str:
        """The execution's status."""
        return str(self.execution["PipelineExecutionStatus"])

    def set_status(self, status: str, reason: str | None = None) -> None:
        """Set the execution's status and failure reason."""
        previous = self.execution.get("PipelineExecutionStatus")
        self.execution["PipelineExecutionStatus"] = status
        self.execution.pop("EndTime", None)
        self.execution.pop("FailureReason", None)
        if reason is not None:
            self.execution["FailureReason"] = reason
        if status in ENDED:
            self.execution["EndTime"] = self.now
        self.transitions.append((None, previous, dict(self.execution)))

    def begin_step(self, step: Step) -> Document:
        """Add the state of a step that starts, and return it."""
        state: Document = {
            "StepName": step.name,
            "StepDisplayName": step.display_name,
            "StepDescription": step.description,
            "StepType": step.type.name,
            "StartTime": self.now,
            "Order": len(self.steps),
            "AttemptCount": 0,
            "Retries": {},
        }
        self.steps[step.name] = state
        self.set_step(step.name, "Starting")
        return state

    def set_step(self, name: str, status: str, **members: Any) -> None:
        """Set a step's status and other members of its state."""
        state = self.steps[name]
        previous = state.get("StepStatus")
        state |= members
        state["StepStatus"] = status
        if status in ENDED:
            state["EndTime"] = self.now
            state.pop("RetryAt", None)
        if "FailureReason" in members:
            state["FailureReason"] = str(members["FailureReason"])[:_MAX_REASON_LENGTH]
        self.transitions.append((name, previous, dict(state)))


class ExecutionRecords:
    """Executions in the store."""

    def __init__(self, context: Context, events: Events) -> None:
        self._context = context
        self._store = context.store
        self._events = events

    def execution(self, arn: str) -> Document:
        """Return the execution; raise AwsError where it does not exist."""
        execution = self._store.get(EXECUTION, arn)
        if execution is None:
            raise not_found(f"Pipeline execution '{arn}' does not exist.")
        return execution

    def executions(self, pipeline_arn: str) -> list[Document]:
        """Return the pipeline's executions."""
        return [execution for _, execution in self._store.list(EXECUTION, f"{pipeline_arn}/execution/")]

    def definition(self, execution: Document) -> Definition:
        """Return the definition of the execution's pipeline version."""
        return parse(self.definition_text(execution))

    def definition_text(self, execution: Document) -> str:
        """Return the text of the definition; raise AwsError where the version does not exist."""
        version = self._store.get(VERSION, version_key(execution["PipelineName"], execution["PipelineVersionId"]))
        if version is None:
            raise not_found(f"Pipeline '{execution['PipelineArn']}' has no version {execution['PipelineVersionId']}.")
        return str(version["PipelineDefinition"])

    def create(self, pipeline: Document, members: Document) -> str:
        """Store a new execution with the status `Executing`; return its ARN."""
        arn = f"{pipeline['PipelineArn']}/execution/{random_id(12)}"
        now = self._context.now()
        execution: Document = {
            **members,
            "PipelineArn": pipeline["PipelineArn"],
            "PipelineName": pipeline["PipelineName"],
            "PipelineExecutionArn": arn,
            "CreationTime": now,
            "LastModifiedTime": now,
            "Steps": {},
        }
        change = Change(execution, now)
        change.set_status("Executing")
        self._store.put(EXECUTION, arn, execution)
        self._publish(change)
        return arn

    @contextmanager
    def change(self, arn: str) -> Iterator[Change]:
        """Read, change and write one execution in one commit; publish its events afterwards."""
        with self._store.transaction():
            change = Change(self.execution(arn), self._context.now())
            yield change
            change.execution["LastModifiedTime"] = change.now
            self._store.put(EXECUTION, arn, change.execution)
        self._publish(change)

    def _publish(self, change: Change) -> None:
        for step, previous, document in change.transitions:
            if step is None:
                self._events.execution(document, previous)
            else:
                self._events.step(change.execution, document, previous)

    def record_job(self, kind: str, name: str, execution_arn: str, step: str) -> None:
        """Record which step a job belongs to, for when the job ends, also after a restart."""
        self._store.put(JOB_INDEX, f"{kind}/{name}", {"Execution": execution_arn, "Step": step})

    def step_of_job(self, kind: str, name: str) -> tuple[str, str] | None:
        """Return (execution ARN, step name) of a job, or None."""
        found = self._store.get(JOB_INDEX, f"{kind}/{name}")
        return None if found is None else (found["Execution"], found["Step"])


def version_key(pipeline_name: str, version: int) -> str:
    """Return a pipeline version's key in the store."""
    return f"{pipeline_name}/{version:08d}"


def execution_id(execution: Document) -> str:
    """Return the last part of the execution's ARN."""
    return str(execution["PipelineExecutionArn"]).rpartition("/")[2]
