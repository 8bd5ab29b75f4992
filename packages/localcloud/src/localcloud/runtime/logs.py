"""Delivery of a container's output to CloudWatch Logs; its last lines are kept for failure reasons."""

from __future__ import annotations

import logging
import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import IO

from localcloud.cloud import Cloud

log = logging.getLogger(__name__)
_BATCH_SECONDS = 0.5
_BATCH_LINES = 1000
_KEPT_LINES = 200


class LogStream:
    """Reads a pipe in a thread of its own until the other end closes it."""

    def __init__(
        self, cloud: Cloud, group: str, stream: str, pipe: IO[bytes], on_line: Callable[[str], None] | None = None
    ) -> None:
        self._cloud, self._group, self._stream, self._pipe = cloud, group, stream, pipe
        self._on_line = on_line
        self._batch: list[tuple[int, str]] = []
        self.tail: deque[str] = deque(maxlen=_KEPT_LINES)
        self._thread = threading.Thread(target=self._read, name=f"log {group} {stream}", daemon=True)
        self._thread.start()

    def finish(self, timeout: float = 5.0) -> None:
        """Wait until all output has been delivered."""
        self._thread.join(timeout)

    def _read(self) -> None:
        rest = b""
        due = time.monotonic() + _BATCH_SECONDS
        with self._pipe, selectors.DefaultSelector() as selector:
            selector.register(self._pipe, selectors.EVENT_READ)
            while True:
                if selector.select(max(0.0, due - time.monotonic())):
                    piece = os.read(self._pipe.fileno(), 65536)
                    if not piece:
                        break
                    *lines, rest = (rest + piece).split(b"\n")
                    for line in lines:
                        self._add(line)
                if time.monotonic() >= due or len(self._batch) >= _BATCH_LINES:
                    self._flush()
                    due = time.monotonic() + _BATCH_SECONDS
            if rest:
                self._add(rest)
            self._flush()

    def _add(self, line: bytes) -> None:
        text = line.decode("utf-8", errors="replace").rstrip("\r")
        self.tail.append(text)
        if self._on_line is not None:
            self._on_line(text)
        if text:  # CloudWatch Logs rejects empty events
            self._batch.append((int(self._cloud.clock.now().timestamp() * 1000), text))

    def _flush(self) -> None:
        batch, self._batch = self._batch, []
        if not batch:
            return
        try:
            self._cloud.put_logs(self._group, self._stream, batch)
        except Exception:  # a failed delivery must not block the container
            log.exception("%d lines could not be delivered to %s %s", len(batch), self._group, self._stream)
