"""The engine of SageMaker Pipelines: it starts steps that are ready and records their results, without polling.

All of its state is in the execution's document, and each decision is one transaction on it. After a restart `recover`
continues from the documents.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from botocore.exceptions import ClientError

from localcloud.runtime.contract import JobKind
from localcloud.sagemaker.context import Context, Document
from localcloud.sagemaker.errors import not_found, validation
from localcloud.sagemaker.jobs import ALL_JOB_TYPES as JOB_TYPES
from localcloud.sagemaker.jobs import ENDED as JOB_ENDED
from localcloud.sagemaker.pipelines import retries
from localcloud.sagemaker.pipelines.definition import Definition, Step
from localcloud.sagemaker.pipelines.expressions import text
from localcloud.sagemaker.pipelines.records import EXECUTION, Change, ExecutionRecords
from localcloud.sagemaker.pipelines.step_executor import (
    CHECKS,
    JOB_STEPS,
    Outcome,
    Prepared,
    StepExecutor,
    StepFailure,
    started,
)

CALLBACK = "callback"
_ACTIVE = frozenset({"Starting", "Executing", "Stopping"})
_FAILED = "Step failure: One or multiple steps failed."
_INTERNAL = "InternalServerError: the local cloud failed; its log has the details."
_log = logging.getLogger(__name__)


class PipelineEngine:
    """Runner of executions; each step runs on a thread of the pool."""

    def __init__(self, context: Context, records: ExecutionRecords, actions: StepExecutor) -> None:
        self._context = context
        self._store = context.store
        self._records = records
        self._actions = actions
        self._pool = ThreadPoolExecutor(max_workers=32, thread_name_prefix="pipeline")
        self._timers: set[threading.Timer] = set()
        self._closed = False
        # Read before requests and job events arrive: `recover` acts on the state at the stop.
        self._at_boot = {
            arn: execution["Steps"]
            for arn, execution in self._store.list(EXECUTION)
            if execution["PipelineExecutionStatus"] in {"Executing", "Stopping"}
        }

    def advance(self, arn: str) -> None:
        """Start the steps of an execution that are ready."""
        self._submit(self._advance, arn)

    def stop(self, arn: str) -> None:
        """Stop an execution: no step starts any more, and running jobs are stopped."""
        with self._records.change(arn) as change:
            if change.status != "Executing":
                return
            change.set_status("Stopping")
            running = [state for state in change.steps.values() if state["StepStatus"] == "Executing"]
            for state in change.steps.values():
                if state["StepStatus"] == "Starting" and "RetryAt" in state:
                    change.set_step(state["StepName"], "Stopped")
            jobs = [(state["StepType"], state["JobName"]) for state in running if state["StepType"] in JOB_STEPS]
            for state in running:
                change.set_step(state["StepName"], "Stopped" if state["StepType"] == "Callback" else "Stopping")
        for step_type, name in jobs:
            self._submit(self._stop_job, arn, step_type, name)
        self.advance(arn)

    def begin(self, arn: str) -> None:
        """Start the first steps of a new execution."""
        self._submit(self._actions.warm_up, self._records.execution(arn))
        self.advance(arn)

    def job_changed(self, kind: JobKind, job: Document) -> None:
        """End the step whose job ended, if the job belongs to a step."""
        if job[JOB_TYPES[kind].status] in JOB_ENDED:
            self._submit(self._job_ended, kind, job[JOB_TYPES[kind].name])

    def recover(self) -> None:
        """Recover after a restart: continue the executions from their documents."""
        for arn, steps in self._at_boot.items():
            for name, state in steps.items():
                if state["StepStatus"] in _ACTIVE:
                    self._recover_step(arn, name, state)
            self.advance(arn)

    def shutdown(self) -> None:
        """Stop; the next `recover` continues the executions."""
        self._closed = True
        for timer in list(self._timers):
            timer.cancel()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _recover_step(self, arn: str, name: str, state: Document) -> None:
        job_name, step_type = state.get("JobName"), state["StepType"]
        kind = JOB_STEPS.get(step_type)
        if step_type == "Callback" and state["StepStatus"] == "Executing":
            return  # it waits for its answer
        if kind is not None and job_name and self._store.get(JOB_TYPES[kind].store_kind, job_name):
            self._submit(self._job_ended, kind, job_name)  # does nothing while the job runs
        elif "RetryAt" in state:
            self._retry_later(arn, name, state["AttemptCount"], state["RetryAt"] - self._context.now())
        else:
            self._submit(self._run, arn, name, state["AttemptCount"])

    def _submit(self, action: Callable[..., None], *arguments: Any) -> None:
        def run() -> None:
            try:
                action(*arguments)
            except Exception:  # noqa: BLE001 (the pool would discard the exception)
                _log.exception("pipeline action %s%s failed", action.__name__, arguments)

        if not self._closed:
            self._pool.submit(run)

    def _retry_later(self, arn: str, name: str, attempt: int, seconds: float) -> None:
        def run() -> None:
            self._timers.discard(timer)
            self._submit(self._run, arn, name, attempt)

        timer = threading.Timer(max(0.0, seconds), run)
        timer.daemon = True
        self._timers.add(timer)
        timer.start()

    def _advance(self, arn: str) -> None:
        with self._records.change(arn) as change:
            started = _start_ready_steps(change, self._records.definition(change.execution))
            if not started:
                _end_if_done(change)
        for name in started:
            self._submit(self._run, arn, name, 0)

    def _run(self, arn: str, name: str, attempt: int) -> None:
        """Run a step after `attempt` earlier tries; of several calls with the same number only one runs it."""
        execution = self._records.execution(arn)
        definition = self._records.definition(execution)
        step = definition.steps[name]
        try:
            prepared = self._actions.prepare(execution, definition, step)
            if self._from_cache(arn, prepared, attempt) or not self._record_attempt(arn, prepared, attempt):
                self.advance(arn)
                return
            token = f"{arn.rpartition('/')[2]}-{_step_token(name)}"
            outcome = self._actions.perform(execution, definition, prepared, token)
        except StepFailure as failure:
            self._failed(arn, name, str(failure), failure.exception_type)
        except Exception:  # noqa: BLE001 (a bug must fail the step, not leave it executing forever)
            _log.exception("the step %s of %s failed", name, arn)
            self._failed(arn, name, _INTERNAL, retries.SERVICE_FAULT)
        else:
            self._performed(arn, prepared, outcome)

    def _record_attempt(self, arn: str, prepared: Prepared, attempt: int) -> bool:
        """Record what the step is about to create, so that a restart finds it.

        Returns:
            False where the step must not run.
        """
        name = prepared.step.name
        with self._records.change(arn) as change:
            if not _is_attempt(change, name, attempt):
                return False
            if change.status != "Executing":
                change.set_step(name, "Stopped")
                return False
            state = change.steps[name]
            state.pop("RetryAt", None)
            state["AttemptCount"] += 1
            state["CacheKey"] = prepared.cache_key
            if prepared.job_name is not None:
                state["JobName"] = prepared.job_name
                kind = JOB_STEPS.get(prepared.step.type.name)
                if kind is not None:
                    self._records.record_job(kind, prepared.job_name, arn, name)
            if prepared.step.type.name not in JOB_STEPS:
                change.set_step(name, "Executing")
        return True

    def _performed(self, arn: str, prepared: Prepared, outcome: Outcome) -> None:
        step_type, name, job_name = prepared.step.type.name, prepared.step.name, prepared.job_name
        stop = False
        with self._records.change(arn) as change:
            if not _is_current(change, name, job_name):
                return  # the job ended before the response to its creation
            if step_type == "Callback":
                change.set_step(name, "Executing", Metadata=outcome.metadata)
                self._records.record_job(CALLBACK, outcome.metadata["Callback"]["CallbackToken"], arn, name)
            elif step_type not in JOB_STEPS:
                change.set_step(name, "Succeeded", Metadata=outcome.metadata, **outcome.members)
            elif change.steps[name]["StepStatus"] == "Starting":
                stop = change.status == "Stopping"
                change.set_step(name, "Stopping" if stop else "Executing", Metadata=outcome.metadata)
        if step_type not in JOB_STEPS:
            self.advance(arn)
        elif stop:
            self._submit(self._stop_job, arn, step_type, job_name)

    def _job_ended(self, kind: JobKind, job_name: str) -> None:
        found = self._records.step_of_job(kind, job_name)
        if found is None:
            return
        arn, name = found
        job_type = JOB_TYPES[kind]
        job = self._store.get(job_type.store_kind, job_name)
        if job is None or job[job_type.status] not in JOB_ENDED:
            return
        status, reason = job[job_type.status], job.get("FailureReason", "")
        violation, members = self._checked(arn, name, job) if status == "Completed" else (None, {})
        with self._records.change(arn) as change:
            if not _is_current(change, name, job_name):
                return
            if change.steps[name]["StepStatus"] == "Starting":  # the job ended before the response to its creation
                step_type = change.steps[name]["StepType"]
                change.set_step(name, "Executing", Metadata=started(step_type, job[job_type.arn]))
            if violation is not None:
                change.set_step(name, "Failed", FailureReason=violation, **members)
            elif status == "Completed":
                change.set_step(name, "Succeeded", **members)
            elif status == "Stopped" and change.status == "Stopping":
                change.set_step(name, "Stopped")
            elif status == "Stopped":
                change.set_step(name, "Failed", FailureReason=reason or f"ClientError: the job {job_name} was stopped.")
        if status == "Failed":
            self._failed(arn, name, _job_failure(reason), retries.exception_of_job(reason), job_name)
        else:
            self.advance(arn)

    def _checked(self, arn: str, name: str, job: Document) -> tuple[str | None, Document]:
        """Return why a check step fails, or None, and the members of its state; nothing for other steps."""
        execution = self._records.execution(arn)
        definition = self._records.definition(execution)
        step = definition.steps[name]
        if step.type.name not in CHECKS:
            return None, {}
        reason, metadata = self._actions.checked(execution, definition, step, job)
        return reason, {"Metadata": metadata}

    def answered(self, token: str, outputs: Mapping[str, Any] | None, reason: str | None) -> str:
        """End the callback step that waits for this token; return the execution's ARN.

        Raises:
            AwsError: no step waits for it, or an output is missing.
        """
        found = self._records.step_of_job(CALLBACK, token)
        if found is None:
            raise not_found(f"Callback token '{token}' does not exist.")
        arn, name = found
        wanted = self._records.definition(self._records.execution(arn)).steps[name].output_names
        missing = [one for one in wanted if one not in (outputs or {})] if reason is None else []
        if missing:
            raise validation(f"The output {missing[0]} of the step {name} is missing.")
        with self._records.change(arn) as change:
            state = change.steps.get(name, {})
            waits = (state.get("Metadata") or {}).get("Callback", {}).get("CallbackToken") == token
            if not waits or state["StepStatus"] not in _ACTIVE:
                raise validation(f"The step {name} does not wait for the callback token '{token}'.")
            if reason is None:
                listed = [{"Name": one, "Value": text(value)} for one, value in (outputs or {}).items()]
                metadata = {"Callback": {**state["Metadata"]["Callback"], "OutputParameters": listed}}
                change.set_step(name, "Succeeded", Metadata=metadata, Outputs=dict(outputs or {}))
            else:
                change.set_step(name, "Failed", FailureReason=f"ClientError: {reason}")
        self.advance(arn)
        return arn

    def _failed(self, arn: str, name: str, reason: str, exception: str | None, job_name: str | None = None) -> None:
        with self._records.change(arn) as change:
            if not _is_current(change, name, job_name):
                return
            state = change.steps[name]
            wait = self._retry(change, state, exception)
            if wait is None:
                metadata = state.get("Metadata", {})
                if state["StepType"] == "Fail":
                    metadata = {"Fail": {"ErrorMessage": reason}}
                change.set_step(name, "Failed", FailureReason=reason, Metadata=metadata)
            else:
                change.set_step(name, "Starting", RetryAt=change.now + wait, LastFailure=reason)
        if wait is None:
            self.advance(arn)
        else:
            self._retry_later(arn, name, state["AttemptCount"], wait)

    def _retry(self, change: Change, state: Document, exception: str | None) -> float | None:
        """Record a retry in the step's state; return the seconds until it, or None where the step is not retried."""
        if change.status != "Executing":
            return None
        policies = self._records.definition(change.execution).steps[state["StepName"]].retry_policies
        first = state.setdefault("FirstFailure", change.now)
        found = retries.next_try(policies, exception, state["Retries"], change.now - first)
        if found is None:
            return None
        index, wait = found
        state["Retries"][str(index)] = state["Retries"].get(str(index), 0) + 1
        for member in ("JobName", "Metadata"):
            state.pop(member, None)
        return wait

    def _from_cache(self, arn: str, prepared: Prepared, attempt: int) -> bool:
        """Reuse the most recent successful run of the same step, where the step allows it; return whether it did."""
        config, key = prepared.step.cache, prepared.cache_key
        if config is None or not config.enabled or key is None:
            return False
        oldest = 0.0
        if config.expire_after is not None:
            oldest = self._context.now() - config.expire_after.total_seconds()
        runs = [
            (state["EndTime"], execution["PipelineExecutionArn"], state)
            for execution in self._records.executions(arn.rpartition("/execution/")[0])
            if (state := execution["Steps"].get(prepared.step.name))
            and state["StepStatus"] == "Succeeded"
            and state.get("CacheKey") == key
            and "CacheHitResult" not in state
            and state["EndTime"] >= oldest
        ]
        if not runs:
            return False
        _, source, state = max(runs, key=lambda run: run[0])
        with self._records.change(arn) as change:
            if change.status != "Executing" or not _is_attempt(change, prepared.step.name, attempt):
                return False
            members = {member: state[member] for member in ("Metadata", "Outputs") if member in state}
            change.set_step(
                prepared.step.name,
                "Succeeded",
                CacheKey=key,
                CacheHitResult={"SourcePipelineExecutionArn": source},
                **members,
            )
        return True

    def _stop_job(self, arn: str, step_type: str, job_name: str) -> None:
        try:
            self._actions.stop_job(self._records.execution(arn), step_type, job_name)
        except (ClientError, ValueError) as error:
            # The job has ended, or the role may not stop it: the execution stops when the job ends.
            _log.warning("the job %s could not be stopped: %s", job_name, error)


def _step_token(name: str) -> str:
    """Return the step's part of an idempotency token, which has at most 36 letters, digits and hyphens."""
    return hashlib.sha256(name.encode()).hexdigest()[:20]


def _is_current(change: Change, name: str, job_name: str | None) -> bool:
    """Return whether a report about a step (or about its job) belongs to the current attempt."""
    state = change.steps.get(name)
    if state is None or state["StepStatus"] not in _ACTIVE:
        return False
    return job_name is None or state.get("JobName") == job_name


def _is_attempt(change: Change, name: str, attempt: int) -> bool:
    """Return whether the step waits for the try that follows `attempt` earlier ones."""
    return _is_current(change, name, None) and bool(change.steps[name]["AttemptCount"] == attempt)


def _job_failure(reason: str) -> str:
    return reason if reason.startswith(("ClientError", "InternalServerError")) else f"ClientError: {reason}"


def _start_ready_steps(change: Change, definition: Definition) -> list[str]:
    """Mark the steps that are ready as started, and return their names."""
    states = change.steps
    if change.status != "Executing" or any(state["StepStatus"] == "Failed" for state in states.values()):
        return []
    parallelism = change.execution.get("ParallelismConfiguration") or {}
    most = parallelism.get("MaxParallelExecutionSteps", len(definition.steps))
    active = sum(state["StepStatus"] in _ACTIVE for state in states.values())
    started: list[str] = []
    selected = change.execution.get("SelectedSteps", list(definition.steps))
    states = {**change.execution.get("SourceSteps", {}), **states}
    for step in definition.steps.values():
        if step.name not in selected or step.name in change.steps:
            continue
        if _is_ready(step, states, selected) and active + len(started) < most:
            change.begin_step(step)
            started.append(step.name)
    return started


def _is_ready(step: Step, states: dict[str, Document], selected: list[str]) -> bool:
    """Return whether a step may start; steps that were not selected count as done."""
    if step.branch is not None and step.branch[0] in selected:
        condition, outcome = step.branch
        state = states.get(condition, {})
        if state.get("StepStatus") != "Succeeded":
            return False
        if state["Metadata"]["Condition"]["Outcome"] != ("True" if outcome else "False"):
            return False
    return all(states.get(name, {}).get("StepStatus") == "Succeeded" for name in step.needs if name in selected)


def _end_if_done(change: Change) -> None:
    """End the execution when no step is active; steps of the other branch, and their dependents, never start."""
    statuses = [state["StepStatus"] for state in change.steps.values()]
    if change.status not in {"Executing", "Stopping"} or any(status in _ACTIVE for status in statuses):
        return
    if change.status == "Stopping":
        change.set_status("Stopped")
    elif "Failed" in statuses:
        change.set_status("Failed", _FAILED)
    else:
        change.set_status("Succeeded")
