"""A running model server: its container, and HTTP to it in place of the image's nginx."""

from __future__ import annotations

import http.client
import os
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from localcloud.runtime.logs import LogStream
from localcloud.runtime.sandbox import Container
from localcloud.runtime.toolkit import error_message

PING_SECONDS = 2.0  # "the request timeout on /ping attempts is 2 seconds" (Custom Inference Code with Hosting Services)
_RETRY_SECONDS = 0.1
# AWS asks until the deadline. The images' server answers 500 where a model cannot be loaded, each time anew.
_BROKEN_SECONDS = 5.0
BAD_GATEWAY = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n"
    "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)


class Response:
    """A server's response."""

    def __init__(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.status, self.body, self.headers = status, body, headers


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket in a folder, or to a port of this machine."""

    def __init__(self, address: Path | int, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._address = address

    def connect(self) -> None:
        if isinstance(self._address, int):
            self.sock = socket.create_connection(("127.0.0.1", self._address), self.timeout)
            return
        # A socket's path has at most 108 bytes, and the folder's may be longer.
        folder = os.open(self._address.parent, os.O_PATH)
        try:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(self.timeout)
            self.sock.connect(f"/proc/self/fd/{folder}/{self._address.name}")
        finally:
            os.close(folder)


class ModelServer:
    """A running model server; `ended` is set when it answers no more."""

    def __init__(self, container: Container, address: Path | int, output: LogStream) -> None:
        self.container = container
        self.ended = threading.Event()
        self._address, self._output = address, output

    def request(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str], timeout: float
    ) -> Response | None:
        """Send a request; return None where the server closed the connection without a response.

        Raises:
            TimeoutError: it did not respond in time.
        """
        connection = _Connection(self._address, timeout)
        try:
            connection.request(method, path, body, {**headers, "Connection": "close"})
            found = connection.getresponse()
            return Response(found.status, found.read(), dict(found.getheaders()))
        except TimeoutError:
            raise
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def wait_until_healthy(self, seconds: float) -> str | None:
        """Ping it until it answers 200.

        Returns:
            None, or why it did not: the end of its process, or the last error in its log.
        """
        deadline = time.monotonic() + seconds
        broken: float | None = None
        while time.monotonic() < deadline and (broken is None or time.monotonic() - broken < _BROKEN_SECONDS):
            try:
                answer = self.request("GET", "/ping", b"", {}, min(PING_SECONDS, max(0.1, deadline - time.monotonic())))
            except TimeoutError:
                continue
            if answer is not None and answer.status == 200:
                return None
            broken = (broken or time.monotonic()) if answer is not None and answer.status == 500 else None
            if self.container.process.poll() is not None:
                self._output.finish()
                return f"It ended with exit code {self.container.wait()}. {self._last_error()}"
            time.sleep(_RETRY_SECONDS)
        self.end()
        return self._last_error()

    def end(self) -> None:
        """End the container."""
        self.ended.set()
        self.container.kill()
        self.container.wait()
        self._output.finish()

    def _last_error(self) -> str:
        lines = list(self._output.tail)
        return f"Last log lines: {error_message(lines)[:600] or ' | '.join(lines[-5:])}"
