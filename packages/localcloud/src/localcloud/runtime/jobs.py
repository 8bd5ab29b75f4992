"""Processing and training jobs as supervised process trees: download, run, upload."""

from __future__ import annotations

import logging
import re
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from localcloud.cloud import Cloud
from localcloud.runtime import orphans
from localcloud.runtime.contract import ContainerError, JobKind, JobUpdate, Metric
from localcloud.runtime.logs import LogStream
from localcloud.runtime.processing import Processing
from localcloud.runtime.program import HOST, UnsupportedRequest
from localcloud.runtime.registry import check_pull
from localcloud.runtime.sandbox import Container, Sandbox, isolation
from localcloud.runtime.training import Training
from localcloud.runtime.transfer import S3Clients, Transfer, TransferError
from localcloud.runtime.warm import warm_python

RECORDS = "RuntimeJob"
STOP_GRACE_SECONDS = 120.0  # "SIGTERM, which delays job termination for 120 seconds" (StopTrainingJob)
_SHUTDOWN_SECONDS = 10.0
_LOST = (
    "InternalServerError: the local cloud was stopped while the job was running, and ended its processes. "
    "Start the job again."
)

OnUpdate = Callable[[str, str, JobUpdate], None]
log = logging.getLogger(__name__)


class JobRunner:
    """Runs each job in a thread of its own, and calls `on_update` from it after every change."""

    def __init__(self, cloud: Cloud, on_update: OnUpdate, *, stop_grace: float = STOP_GRACE_SECONDS) -> None:
        self._cloud, self._on_update, self._grace = cloud, on_update, stop_grace
        self._clients = S3Clients(cloud)
        self._root = cloud.state_dir.resolve() / "runtime" / "jobs"
        self._jobs: dict[tuple[str, str], Job] = {}
        self._lock = threading.Lock()

    @property
    def isolation(self) -> str:
        """One sentence for `status` about the isolation of containers on this machine."""
        return isolation().sentence

    def start(self, kind: JobKind, name: str, arn: str, request: Mapping[str, Any]) -> None:
        """Start a job from its validated `Create*Job` request, and return at once.

        Errors are reported to `on_update` as the job's failure.
        """
        root = self._root / f"{kind}-{name}-{uuid.uuid4().hex[:8]}"
        self._cloud.store.put(RECORDS, f"{kind}/{name}", {"root": str(root), "pid": None, "start": None})
        job = Job(self._cloud, self._clients, kind, name, arn, request, root, self._grace, self._notify)
        with self._lock:
            self._jobs[kind, name] = job
        job.thread.start()

    def stop(self, kind: JobKind, name: str) -> None:
        """Stop a job, if it is running: SIGTERM now, SIGKILL after the grace period."""
        with self._lock:
            job = self._jobs.get((kind, name))
        if job is not None:
            job.stop()

    def recover(self) -> None:
        """End the jobs that a killed gateway left behind, and report them as failed; call this at the start."""
        now = self._cloud.clock.now()
        for key, record in self._cloud.store.list(RECORDS):
            kind, _, name = key.partition("/")
            orphans.end(record)
            self._on_update(kind, name, JobUpdate("Failed", "Failed", _LOST, failure_reason=_LOST, ended_at=now))
            self._cloud.store.delete(RECORDS, key)

    def shutdown(self) -> None:
        """End all containers now, report their jobs as failed, and wait until they are removed.

        A job in the middle of a transfer has ten seconds to end; otherwise the next `recover` ends it.
        """
        with self._lock:
            jobs = list(self._jobs.values())
        for job in jobs:
            job.abort()
        for job in jobs:
            job.thread.join(_SHUTDOWN_SECONDS)

    def _notify(self, job: Job, update: JobUpdate) -> None:
        try:
            self._on_update(job.kind, job.name, update)
        finally:
            if update.ended_at is not None:
                self._cloud.store.delete(RECORDS, f"{job.kind}/{job.name}")
                with self._lock:
                    self._jobs.pop((job.kind, job.name), None)


class _Interrupted(Exception):
    """The job was stopped or aborted before its program started."""


class Job:
    """One job; `thread` runs it."""

    def __init__(
        self, cloud: Cloud, clients: S3Clients, kind: JobKind, name: str, arn: str, request: Mapping[str, Any],
        root: Path, grace: float, notify: Callable[[Job, JobUpdate], None],
    ) -> None:  # fmt: skip
        self.kind, self.name, self._arn, self._request = kind, name, arn, request
        self._cloud, self._clients, self._root, self._grace, self._notify = cloud, clients, root, grace, notify
        self._wake = threading.Condition()
        self._stopping = self._aborted = self._exited = self._timed_out = False
        self._metrics: dict[str, Metric] = {}
        self._patterns: list[tuple[str, re.Pattern[str]]] = []
        self._state = JobUpdate("InProgress", "Starting", started_at=cloud.clock.now())
        self.thread = threading.Thread(target=self._run, name=f"{kind} job {name}", daemon=True)

    def stop(self) -> None:
        """Stop the job: SIGTERM, and SIGKILL after the grace period."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()

    def abort(self) -> None:
        """End the job now, as failed."""
        with self._wake:
            self._aborted = True
            self._wake.notify_all()

    def _run(self) -> None:
        sandbox = Sandbox(self._root)
        final = replace(self._state, status="Failed", secondary_status="Failed")
        try:
            final = self._work(sandbox)
        except (UnsupportedRequest, TransferError, ContainerError) as error:
            final = self._failed(str(error))
        except ClientError as error:
            final = self._failed(
                f"ClientError: {error}. Please ensure that the role {self._request['RoleArn']} exists."
            )
        except _Interrupted:
            final = self._failed(_LOST) if self._aborted else self._ended("Stopped", "Stopped", "Job stopped")
        except Exception as error:
            log.exception("the %s job %s failed", self.kind, self.name)
            final = self._failed(f"InternalServerError: {type(error).__name__}: {error}")
        finally:
            sandbox.remove()
            self._notify(self, final)

    def _work(self, sandbox: Sandbox) -> JobUpdate:
        """Download, run and upload; return the final update."""
        job = (Training if self.kind == "training" else Processing)(
            self._cloud, self.name, self._arn, self._request, sandbox
        )
        self._update("Starting", "Preparing the instances")
        job.check()
        check_pull(self._cloud, job.image, job.role_arn)
        if job.stand_in is not None:
            job.stand_in.make(lambda line: self._update("Starting", line))
        self._patterns = [(name, re.compile(pattern)) for name, pattern in job.metric_patterns()]
        key = self._output_key()
        transfer = Transfer(self._clients, job.role_arn, self._cloud.region, key)
        self._update("Downloading", "Downloading input data")
        job.download(transfer)
        self._check_not_stopped()
        program = job.program()
        container = sandbox.start(
            program.command,
            program.environment,
            cwd=program.cwd,
            isolate_network=job.isolated,
            warm=warm_python(job.stand_in),
            read_only=None if job.stand_in is None else job.stand_in.read_only,
            overlays=() if job.stand_in is None else job.stand_in.overlays,
        )
        orphans.record(self._cloud.store, RECORDS, f"{self.kind}/{self.name}", container.pid)
        self._update("Training", f"{self.kind.capitalize()} in progress", training_started_at=self._cloud.clock.now())
        code = self._supervise(container, job.log_group)
        self._state = replace(self._state, exit_message=job.exit_message(), final_metrics=tuple(self._metrics.values()))
        return self._finish(job, transfer, code)

    def _output_key(self) -> str | None:
        """Return the KMS key of the job's output.

        The execution role must be able to call `kms:Encrypt` with it (API Reference, OutputDataConfig, `KmsKeyId`).

        Raises:
            TransferError: KMS refuses.
        """
        output = self._request.get("OutputDataConfig") or self._request.get("ProcessingOutputConfig") or {}
        key = output.get("KmsKeyId")
        if not key:
            return None
        role = str(self._request["RoleArn"])
        try:
            self._cloud.client("kms", role_arn=role).encrypt(KeyId=key, Plaintext=self.name.encode())
        except ClientError as error:
            message = error.response["Error"]["Message"]
            raise TransferError(f"ClientError: Data upload failed:{message} (KmsKeyId {key})") from error
        return str(key)

    def _finish(self, job: Training | Processing, transfer: Transfer, code: int) -> JobUpdate:
        if self._aborted:
            return self._failed(_LOST)
        if self._timed_out or self._stopping:
            artifacts = job.upload_after_stop(transfer)
            if self._timed_out and not self._stopping:
                text = "Job runtime exceeded MaxRuntimeInSeconds provided"
                return self._ended("Stopped", "MaxRuntimeExceeded", text, artifacts)
            return self._ended("Stopped", "Stopped", "Job stopped", artifacts)
        if code != 0:
            return self._failed(job.failure(code))
        self._update("Uploading", "Uploading generated output")
        return self._ended("Completed", "Completed", f"{self.kind.capitalize()} job completed", job.upload(transfer))

    def _supervise(self, container: Container, group: str) -> int:
        """Wait until the program ends, exceeds its time limit or is stopped; return its exit code."""
        stream = f"{self.name}/{HOST}-{int(self._cloud.clock.now().timestamp())}"
        output = LogStream(self._cloud, group, stream, container.output, self._match if self._patterns else None)
        waiter = threading.Thread(target=self._wait_for_exit, args=(container,), daemon=True)
        waiter.start()
        limit = self._request.get("StoppingCondition", {}).get("MaxRuntimeInSeconds")
        with self._wake:
            self._wake.wait_for(lambda: self._exited or self._stopping or self._aborted, timeout=limit)
            overdue = not (self._exited or self._aborted)
            self._timed_out = overdue and not self._stopping
        if overdue:
            self._stop_gracefully(container)
        if not self._exited:
            container.kill()
        code = container.wait()
        waiter.join()
        output.finish()
        return code

    def _stop_gracefully(self, container: Container) -> None:
        """Send SIGTERM, and wait for the grace period."""
        container.terminate()
        self._state = replace(self._state, status="InProgress" if self._timed_out else "Stopping")
        self._update("Stopping", "Stopping the job")
        with self._wake:
            self._wake.wait_for(lambda: self._exited or self._aborted, timeout=self._grace)

    def _wait_for_exit(self, container: Container) -> None:
        container.process.wait()
        with self._wake:
            self._exited = True
            self._wake.notify_all()

    def _match(self, line: str) -> None:
        for name, pattern in self._patterns:
            found = pattern.search(line)
            if found is None or not found.groups():
                continue
            try:
                value = float(found[1])
            except ValueError:
                continue
            self._metrics[name] = Metric(name, value, self._cloud.clock.now())

    def _check_not_stopped(self) -> None:
        if self._stopping or self._aborted:
            raise _Interrupted

    def _update(self, secondary: str, message: str, training_started_at: datetime | None = None) -> None:
        self._state = replace(
            self._state,
            secondary_status=secondary,
            status_message=message,
            training_started_at=training_started_at or self._state.training_started_at,
        )
        self._notify(self, self._state)

    def _failed(self, reason: str) -> JobUpdate:
        return replace(
            self._state,
            status="Failed",
            secondary_status="Failed",
            status_message=f"{self.kind.capitalize()} job failed",
            failure_reason=reason[:1024],
            ended_at=self._cloud.clock.now(),
        )

    def _ended(self, status: Any, secondary: str, message: str, artifacts: str | None = None) -> JobUpdate:
        return replace(
            self._state,
            status=status,
            secondary_status=secondary,
            status_message=message,
            model_artifacts=artifacts,
            ended_at=self._cloud.clock.now(),
        )
