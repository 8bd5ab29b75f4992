"""Model server of one variant; it is restarted when it crashes."""

from __future__ import annotations

import hashlib
import logging
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from botocore.exceptions import ClientError

from localcloud.cloud import Cloud
from localcloud.runtime import images
from localcloud.runtime.contract import (
    ContainerError,
    Invocation,
    InvocationResult,
    ModelError,
    ModelNotReady,
    VariantSpec,
)
from localcloud.runtime.logs import LogStream
from localcloud.runtime.model_server import BAD_GATEWAY, ModelServer
from localcloud.runtime.program import UnsupportedRequest, base_environment
from localcloud.runtime.registry import check_pull
from localcloud.runtime.sandbox import Sandbox
from localcloud.runtime.transfer import S3Clients, Transfer, TransferError, unpack
from localcloud.runtime.warm import warm_python

INVOCATION_SECONDS = 60.0  # "customer model containers must respond to requests within 60 seconds" (InvokeEndpoint)
_ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
_BACKOFF_SECONDS = (0.5, 1, 2, 4, 8, 16, 30)
_HEALTHY_SECONDS = 60.0
log = logging.getLogger(__name__)


class Worker:
    """A model server that is restarted when it ends; `on_process` is called with the pid of each process."""

    def __init__(
        self, cloud: Cloud, clients: S3Clients, spec: VariantSpec, root: Path, on_process: Callable[[int], None]
    ) -> None:
        self._cloud, self._spec, self._on_process = cloud, spec, on_process
        self._sandbox = Sandbox(root)
        self.transfer = Transfer(clients, spec.role_arn, cloud.region)
        self._log_group = spec.log_group or f"/aws/sagemaker/Endpoints/{spec.endpoint_name}"
        instance = hashlib.sha256(root.name.encode()).hexdigest()[:17]
        self._log_stream = f"{spec.variant_name}/i-{instance}"
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._server: ModelServer | None = None
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
        except (UnsupportedRequest, TransferError, ClientError) as error:
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
        with self._lock:
            server = self._server
        if server is None or server.ended.is_set():
            raise self._not_ready()
        headers = {"Content-Type": request.content_type}
        if request.accept:
            headers["Accept"] = request.accept
        if request.custom_attributes:
            headers[_ATTRIBUTES] = request.custom_attributes
        try:
            answer = server.request("POST", "/invocations", request.body, headers, INVOCATION_SECONDS)
        except TimeoutError as error:
            text = (
                "Your invocation timed out while waiting for a response from container primary. Review the latency "
                "metrics for each container in Amazon CloudWatch, resolve the issue, and try again."
            )
            raise ModelError(0, text, log_stream_arn=self._log_arn) from error
        if answer is None:
            if server.ended.is_set():
                raise self._not_ready()
            status, body = 502, BAD_GATEWAY.encode()  # nginx's answer where its server closes the connection
        else:
            status, body = answer.status, answer.body
        if answer is None or status >= 400:
            message = body.decode("utf-8", errors="replace")
            side = "client" if status < 500 else "server"
            text = (
                f'Received {side} error ({status}) from primary with message "{message}". '
                f"See {self._log_group} in account {self._cloud.account} for more information."
            )
            raise ModelError(status, message, text, self._log_arn)
        content_type = answer.headers.get("Content-Type", "")
        return InvocationResult(body, content_type, answer.headers.get(_ATTRIBUTES))

    def _not_ready(self) -> ModelNotReady:
        return ModelNotReady(
            f"Variant {self._spec.variant_name} of endpoint {self._spec.endpoint_name} is being restarted "
            f"after its container ended; see {self._log_group}"
        )

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
        """Prepare `/opt/ml/model`."""
        spec = self._spec
        model = self._sandbox.ml / "model"
        model.mkdir(parents=True)
        source = spec.model_data_source
        uri = str(source["S3Uri"]) if source is not None else spec.model_data_url
        if uri is not None:
            self._download_model(uri, model, packed=source is None or source.get("CompressionType", "None") == "Gzip")

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

    def _launch(self) -> ModelServer:
        spec = self._spec
        stand_in = images.stand_in(spec.image)
        if stand_in is None or stand_in.framework is None:
            raise images.no_stand_in_error(spec.image)
        stand_in.make(log.warning)
        environment = base_environment(self._cloud, spec.role_arn, stand_in, isolated=spec.network_isolation)
        environment |= {**dict(stand_in.framework.serving_variables), **spec.environment}
        address: Path | int = self._sandbox.tmp / "gunicorn.sock"
        if not self._sandbox.level.namespaces:  # all servers would use one /tmp/gunicorn.sock
            address = _free_port()
            environment |= {"SAGEMAKER_USE_NGINX": "false", "SAGEMAKER_BIND_TO_PORT": str(address)}
        container = self._sandbox.start(
            ["python3", *stand_in.framework.serve],
            environment,
            cwd="/",
            isolate_network=spec.network_isolation,
            warm=warm_python(stand_in, serving=True),
            read_only=stand_in.read_only,
            overlays=stand_in.overlays,
        )
        self._on_process(container.pid)
        output = LogStream(self._cloud, self._log_group, self._log_stream, container.output)
        server = ModelServer(container, address, output)
        problem = server.wait_until_healthy(spec.startup_timeout)
        if problem is not None:
            server.end()
            raise ContainerError(
                f"The primary container for production variant {spec.variant_name} did not pass the ping health check. "
                f"Please check CloudWatch logs for this endpoint. {problem}"
            )
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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
