"""What the control plane needs of the runtime; `localcloud.runtime` provides it, tests play it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from localcloud.runtime.contract import Invocation, InvocationResult, JobKind, VariantSpec


class Runner(Protocol):
    """Runs jobs; reports each change to `SageMaker.on_job_update(kind, name, update)`."""

    def start(self, kind: JobKind, name: str, arn: str, request: Mapping[str, Any]) -> None: ...

    def stop(self, kind: JobKind, name: str) -> None: ...

    def recover(self) -> None: ...

    def shutdown(self) -> None: ...


class Fleet(Protocol):
    """Runs model servers."""

    def start(self, spec: VariantSpec) -> str: ...

    def invoke(self, worker_id: str, invocation: Invocation) -> InvocationResult: ...

    def stop(self, worker_id: str) -> None: ...

    def recover(self) -> None: ...

    def shutdown(self) -> None: ...
