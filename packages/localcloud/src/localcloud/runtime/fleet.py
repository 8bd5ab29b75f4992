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
from localcloud.runtime.transfer import S3Clients
from localcloud.runtime.worker import Worker

RECORDS = "RuntimeWorker"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Variant:
    worker: Worker
    capture: DataCapture | None


class EndpointFleet:
    """Starts, invokes and stops model servers. Thread-safe."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._clients = S3Clients(cloud)
        self._root = cloud.state_dir.resolve() / "runtime" / "workers"
        self._variants: dict[str, _Variant] = {}
        self._lock = threading.Lock()

    def start(self, spec: VariantSpec) -> str:
        """Start a variant's server, and wait until it answers the health check; return its worker id.

        Raises:
            ContainerError: the server did not start; the message is the endpoint's `FailureReason`.
        """
        worker_id = uuid.uuid4().hex
        root = self._root / worker_id
        self._cloud.store.put(RECORDS, worker_id, {"root": str(root), "pid": None, "start": None})

        def record(pid: int) -> None:
            orphans.record(self._cloud.store, RECORDS, worker_id, pid)

        worker = Worker(self._cloud, self._clients, spec, root, record)
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
        """Send a request to a variant's model, and capture request and response.

        Raises:
            ModelError: the container responded with an error.
            ModelNotReady: the container is being restarted.
            KeyError: the worker does not exist.
        """
        variant = self._variants[worker_id]
        result = variant.worker.invoke(request)
        if variant.capture is not None:
            variant.capture.record(request, result)
        return result

    def flush(self) -> None:
        """Write the data captured so far."""
        for variant in list(self._variants.values()):
            if variant.capture is not None:
                variant.capture.flush()

    def stop(self, worker_id: str) -> None:
        """Stop a worker, if it exists, and write the rest of its captured data."""
        with self._lock:
            variant = self._variants.pop(worker_id, None)
        if variant is None:
            return
        variant.worker.stop()
        if variant.capture is not None:
            variant.capture.close()
        self._cloud.store.delete(RECORDS, worker_id)

    def recover(self) -> None:
        """End the workers that a killed gateway left behind; call this at the start."""
        for worker_id, record in self._cloud.store.list(RECORDS):
            orphans.end(record)
            self._cloud.store.delete(RECORDS, worker_id)

    def shutdown(self) -> None:
        """Stop all workers."""
        for worker_id in list(self._variants):
            self.stop(worker_id)
