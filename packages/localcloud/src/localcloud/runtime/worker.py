"""Model server of one variant; it is restarted when it crashes."""

from __future__ import annotations

import hashlib
import json
import logging
import queue
import socket
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from botocore.exceptions import ClientError

from localcloud.cloud import Cloud
from localcloud.runtime import images, toolkit
from localcloud.runtime.contract import (
    ContainerError,
    Invocation,
    InvocationResult,
    ModelError,
    ModelNotReady,
    VariantSpec,
)
from localcloud.runtime.logs import LogStream
from localcloud.runtime.program import UnsupportedRequest, base_environment, warm_python
from localcloud.runtime.registry import check_pull
from localcloud.runtime.sandbox import IMAGE_ROOT, Container, Sandbox
from localcloud.runtime.transfer import S3Clients, Transfer, TransferError, unpack

INVOCATION_SECONDS = 60.0  # "customer model containers must respond to requests within 60 seconds" (InvokeEndpoint)
_CONCURRENCY = 8
_BACKOFF_SECONDS = (0.5, 1, 2, 4, 8, 16, 30)
_HEALTHY_SECONDS = 60.0
log = logging.getLogger(__name__)


class Worker:
    """A model server behind a pool of connections; `on_process` is called with the pid of each process."""

    def __init__(
        self, cloud: Cloud, clients: S3Clients, spec: VariantSpec, root: Path, on_process: Callable[[int], None]
    ) -> None:
        self._cloud, self._spec, self._on_process = cloud, spec, on_process
        self._sandbox = Sandbox(root)
        self.transfer = Transfer(clients, spec.role_arn, cloud.region)
        self._log_group = spec.log_group or f"/aws/sagemaker/Endpoints/{spec.endpoint_name}"
        instance = hashlib.sha256(root.name.encode()).hexdigest()[:17]
        self._log_stream = f"{spec.variant_name}/i-{instance}"
        self._slots = threading.Semaphore(_CONCURRENCY)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._server: _Server | None = None
        self._supervisor = threading.Thread(target=self._supervise, name=self._log_stream, daemon=True)

    def start(self) -> None:
        """Download the model and start the server.

        Raises:
            ContainerError: the server did not start; the message is the endpoint's `FailureReason`.
        """
        try:
            check_pull(self._cloud, self._spec.image, self._spec.role_arn)
            self._prepare()
            self._server = self._launch()
        except (UnsupportedRequest, TransferError, toolkit.ScriptError, ClientError) as error:
            self._sandbox.remove()
            raise ContainerError(str(error)) from error
        except ContainerError:
            self._sandbox.remove()
            raise
        self._supervisor.start()

    def invoke(self, request: Invocation) -> InvocationResult:
        """Send a request to the model.

        Raises:
            ModelError: it responded with an error, did not respond in 60 seconds, or crashed.
            ModelNotReady: it has crashed and is being restarted.
        """
        with self._slots:
            with self._lock:
                server = self._server
            if server is None or server.ended.is_set():
                raise ModelNotReady(
                    f"Variant {self._spec.variant_name} of endpoint {self._spec.endpoint_name} is being restarted "
                    f"after its container ended; see {self._log_group}"
                )
            head = {"path": "/invocations", "content_type": request.content_type, "accept": request.accept}
            try:
                status, content_type, body = server.request(head, request.body, INVOCATION_SECONDS)
            except TimeoutError as error:
                text = (
                    "Your invocation timed out while waiting for a response from container primary. Review the latency "
                    "metrics for each container in Amazon CloudWatch, resolve the issue, and try again."
                )
                raise ModelError(0, text, log_stream_arn=self._log_arn) from error
            except (EOFError, OSError) as error:
                server.ended.set()
                raise ModelError(500, "the container ended during the request", log_stream_arn=self._log_arn) from error
        if status >= 400:
            message = body.decode("utf-8", errors="replace")
            side = "client" if status < 500 else "server"
            text = (
                f'Received {side} error ({status}) from primary with message "{message}". '
                f"See {self._log_group} in account {self._cloud.account} for more information."
            )
            raise ModelError(status, message, text, self._log_arn)
        return InvocationResult(body, content_type)

    def stop(self) -> None:
        """Stop the server and remove its files."""
        self._stopping.set()
        with self._lock:
            server, self._server = self._server, None
        if server is not None:
            server.end()
        self._supervisor.join()  # a restart in progress would leave a process behind
        self._sandbox.remove()

    @property
    def _log_arn(self) -> str:
        return f"arn:aws:logs:{self._cloud.region}:{self._cloud.account}:log-group:{self._log_group}"

    def _prepare(self) -> None:
        """Prepare `/opt/ml/model` and the user's code."""
        spec = self._spec
        model, code = self._sandbox.ml / "model", self._sandbox.host_path(toolkit.CODE)
        for directory in (model, code):
            directory.mkdir(parents=True)
        source = spec.model_data_source
        uri = str(source["S3Uri"]) if source is not None else spec.model_data_url
        if uri is not None:
            self._download_model(uri, model, packed=source is None or source.get("CompressionType", "None") == "Gzip")
        program = spec.environment.get("SAGEMAKER_PROGRAM")
        if program:
            submitted = spec.environment.get("SAGEMAKER_SUBMIT_DIRECTORY", "/opt/ml/model/code")
            toolkit.fetch_code(submitted, self._sandbox, self.transfer, isolated=spec.network_isolation)
            if not (code / program).is_file():
                raise ContainerError(f"ClientError: SAGEMAKER_PROGRAM {program!r} is not in {submitted}")
            toolkit.check_requirements(code)

    def _download_model(self, uri: str, model: Path, *, packed: bool) -> None:
        try:
            if not packed:
                self.transfer.download_prefix(uri, model)
                return
            archive = self._sandbox.root / "model.tar.gz"
            self.transfer.download_file(uri, archive)
        except TransferError as error:
            raise ContainerError(
                f'Could not access model data at {uri}. Please ensure that the role "{self._spec.role_arn}" exists and '
                'that it has "s3:GetObject" permissions and that the object is located in '
                f"{self._cloud.region}. {error}"
            ) from error
        try:
            unpack(archive, model, uri)
        except TransferError as error:
            raise ContainerError(
                f'Failed to extract model data archive from URL "{uri}". Please ensure that the object located at the '
                f"URL is a valid tar.gz archive. {error}"
            ) from error
        archive.unlink()

    def _launch(self) -> _Server:
        spec = self._spec
        stand_in = images.stand_in(spec.image)
        if stand_in is None or not stand_in.serves:
            raise images.no_stand_in_error(spec.image)
        images.check_packages(spec.image)
        environment = base_environment(self._cloud, spec.role_arn, isolated=spec.network_isolation)
        environment |= {"SAGEMAKER_REGION": self._cloud.region, "SM_MODEL_DIR": self._sandbox.inside("/opt/ml/model")}
        environment |= {"PYTHONPATH": f"{self._sandbox.inside(toolkit.CODE)}:{IMAGE_ROOT}"}
        environment |= dict(spec.environment)
        control, inner = socket.socketpair()
        with inner:
            container = self._sandbox.start(
                ["python3", "-m", "sagemaker_stand_in.serve", str(inner.fileno()), stand_in.framework],
                environment,
                cwd=toolkit.CODE,
                isolate_network=spec.network_isolation,
                pass_fds=[inner.fileno()],
                warm=warm_python(spec.image),
            )
        self._on_process(container.pid)
        output = LogStream(self._cloud, self._log_group, self._log_stream, container.output)
        server = _Server(container, control, output)
        try:
            server.request({"path": "/ping"}, b"", spec.startup_timeout)
        except (TimeoutError, EOFError, OSError) as error:
            server.end()
            why = "" if isinstance(error, TimeoutError) else f" It ended with exit code {container.wait()}."
            last = " | ".join(list(output.tail)[-5:])
            raise ContainerError(
                f"The primary container for production variant {spec.variant_name} did not pass the ping health check. "
                f"Please check CloudWatch logs for this endpoint.{why} Last log lines: {last}"
            ) from error
        return server

    def _supervise(self) -> None:
        """Restart a server that crashed, with growing delays."""
        failures = 0
        while not self._stopping.is_set():
            server = self._server
            if server is None:
                return
            began = time.monotonic()
            server.container.wait()
            server.ended.set()
            server.end()
            failures = 0 if time.monotonic() - began > _HEALTHY_SECONDS else failures + 1
            if self._stopping.wait(_BACKOFF_SECONDS[min(failures, len(_BACKOFF_SECONDS)) - 1]):
                return
            log.warning("the model server %s %s ended; restarting it", self._log_group, self._log_stream)
            self._restart()

    def _restart(self) -> None:
        try:
            replacement = self._launch()
        except ContainerError as error:
            log.error("the model server %s %s could not be restarted: %s", self._log_group, self._log_stream, error)
            return
        with self._lock:
            if not self._stopping.is_set():
                self._server = replacement
                return
        replacement.end()


class _Server:
    """A running model server and its idle connections."""

    def __init__(self, container: Container, control: socket.socket, output: LogStream) -> None:
        self.container = container
        self.ended = threading.Event()
        self._control, self._output = control, output
        self._idle: queue.SimpleQueue[Connection] = queue.SimpleQueue()

    def request(self, head: dict[str, str | None], body: bytes, timeout: float) -> tuple[int, str, bytes]:
        """Send one message; return (status, content type, body)."""
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = self._connect()
        try:
            connection.send_bytes(json.dumps(head).encode() + b"\n" + body)
            if not connection.poll(timeout):
                raise TimeoutError
            answer = connection.recv_bytes()
        except BaseException:
            connection.close()
            raise
        self._idle.put(connection)
        line, _, content = answer.partition(b"\n")
        described = json.loads(line)
        return int(described["status"]), str(described["content_type"]), content

    def end(self) -> None:
        """End the container and close its connections."""
        self.ended.set()
        self.container.kill()
        self.container.wait()
        self._output.finish()
        self._control.close()
        while not self._idle.empty():
            self._idle.get().close()

    def _connect(self) -> Connection:
        """Send the server one end of a new socket pair; return the other end."""
        local, remote = socket.socketpair()
        with remote:
            socket.send_fds(self._control, [b"+"], [remote.fileno()])
        return Connection(local.detach())
