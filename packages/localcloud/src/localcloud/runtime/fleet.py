"""Model servers by worker id, one for each production variant, with their data capture."""

from __future__ import annotations

import logging
import threading
import uuid
from dataclasses import dataclass

from localcloud.cloud import Cloud
from localcloud.runtime import orphans
from localcloud.runtime.capture import DataCapture
from localcloud.runtime.contract import Invocation, InvocationResult, VariantSpec
from localcloud.runtime.transfer import Clients
from localcloud.runtime.worker import Worker

RECORDS = "RuntimeWorker"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Variant:
    worker: Worker
    capture: DataCapture | None


class EndpointFleet:
    """Starts, asks and ends model servers. Safe to use from any thread."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._clients = Clients(cloud)
        self._root = cloud.state_dir.resolve() / "runtime" / "workers"
        self._variants: dict[str, _Variant] = {}
        self._lock = threading.Lock()

    def start(self, spec: VariantSpec) -> str:
        """Block until the variant's server answers ping; return its worker id.

        Raises:
            ContainerError: it does not; the text is the endpoint's `FailureReason`.
        """
        worker_id = uuid.uuid4().hex
        root = self._root / worker_id
        self._cloud.store.put(RECORDS, worker_id, {"root": str(root), "pid": None, "start": None})

        def remember(pid: int) -> None:
            orphans.record(self._cloud.store, RECORDS, worker_id, pid)

        worker = Worker(self._cloud, self._clients, spec, root, remember)
        try:
            worker.start()
        except BaseException:
            self._cloud.store.delete(RECORDS, worker_id)
            raise
        capture = None
        if spec.data_capture is not None and spec.data_capture.get("EnableCapture"):
            capture = DataCapture(
                self._cloud, worker.transfer, spec.data_capture, spec.endpoint_name, spec.variant_name
            )
        with self._lock:
            self._variants[worker_id] = _Variant(worker, capture)
        return worker_id

    def invoke(self, worker_id: str, request: Invocation) -> InvocationResult:
        """Ask a variant's model and capture what was said.

        Raises:
            ModelError: the container answered with an error.
            ModelNotReady: it is being restarted.
            KeyError: there is no such worker.
        """
        variant = self._variants[worker_id]
        result = variant.worker.invoke(request)
        if variant.capture is not None:
            variant.capture.record(request, result)
        return result

    def flush(self) -> None:
        """Write what has been captured so far."""
        for variant in list(self._variants.values()):
            if variant.capture is not None:
                variant.capture.flush()

    def stop(self, worker_id: str) -> None:
        """End a worker and write the rest of its captured data; one that is not there is no error."""
        with self._lock:
            variant = self._variants.pop(worker_id, None)
        if variant is None:
            return
        variant.worker.stop()
        if variant.capture is not None:
            variant.capture.close()
        self._cloud.store.delete(RECORDS, worker_id)

    def recover(self) -> None:
        """At boot: end the workers that a killed gateway left behind."""
        for worker_id, record in self._cloud.store.list(RECORDS):
            orphans.end(record)
            self._cloud.store.delete(RECORDS, worker_id)

    def shutdown(self) -> None:
        """End all workers."""
        for worker_id in list(self._variants):
            self.stop(worker_id)
