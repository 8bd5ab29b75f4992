"""Interfaces of the runtime that the control plane uses; `localcloud.runtime` and the tests implement them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from localcloud.runtime.contract import Invocation, InvocationResult, JobKind, VariantSpec


class Runner(Protocol):
    """Runs jobs; reports each change to `SageMaker.on_job_update(kind, name, update)`."""

    def start(self, kind: JobKind, name: str, arn: str, request: Mapping[str, Any]) -> None:
        """Start a job."""

    def stop(self, kind: JobKind, name: str) -> None:
        """Stop a job."""

    def recover(self) -> None:
        """Report the end of jobs that were running when the local cloud stopped."""

    def shutdown(self) -> None:
        """Stop all jobs."""


class Fleet(Protocol):
    """Runs model servers, one worker for each variant."""

    def start(self, spec: VariantSpec) -> str:
        """Start a worker; return its id once it is healthy."""

    def invoke(self, worker_id: str, invocation: Invocation) -> InvocationResult:
        """Send one request to a worker."""

    def stop(self, worker_id: str) -> None:
        """Stop a worker."""

    def recover(self) -> None:
        """End workers that an earlier process left behind."""

    def shutdown(self) -> None:
        """Stop all workers."""
