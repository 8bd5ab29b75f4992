"""The workers that answer for an endpoint at this moment, and who still waits for an answer of theirs."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

Workers = Mapping[str, str]
_LONGEST_INVOCATION = 65.0


class Serving:
    """One fleet of workers by variant; a fleet is drained before its workers are stopped."""

    def __init__(self, workers: Workers) -> None:
        self.workers = workers
        self._in_flight = 0
        self._idle = threading.Condition()

    @contextmanager
    def lease(self) -> Iterator[Workers]:
        """Hold the workers for one invocation."""
        with self._idle:
            self._in_flight += 1
        try:
            yield self.workers
        finally:
            with self._idle:
                self._in_flight -= 1
                self._idle.notify_all()

    def drain(self) -> None:
        """Wait until no invocation is under way, at most as long as one may take."""
        with self._idle:
            self._idle.wait_for(lambda: self._in_flight == 0, timeout=_LONGEST_INVOCATION)


class Switchboard:
    """Which fleet serves which endpoint; an invocation during a restart waits for the fleet."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._serving: dict[str, Serving | None] = {}

    @contextmanager
    def lease(self, endpoint_name: str, timeout: float) -> Iterator[Workers]:
        """Hold the endpoint's workers.

        Raises:
            LookupError: no fleet serves the endpoint, or none does within `timeout` seconds.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._serving.get(endpoint_name, ...) is not None, timeout)
            serving = self._serving.get(endpoint_name)
            if serving is None:
                raise LookupError(endpoint_name)
            held = serving.lease()
            workers = held.__enter__()
        try:
            yield workers
        finally:
            held.__exit__(None, None, None)

    def expect(self, endpoint_name: str) -> None:
        """Let invocations wait: a fleet is about to serve the endpoint."""
        with self._changed:
            self._serving.setdefault(endpoint_name, None)

    def connect(self, endpoint_name: str, workers: Workers) -> Serving | None:
        """Let `workers` serve the endpoint; return the fleet that did before."""
        with self._changed:
            before = self._serving.get(endpoint_name)
            self._serving[endpoint_name] = Serving(workers)
            self._changed.notify_all()
        return before

    def disconnect(self, endpoint_name: str) -> Serving | None:
        """Let nothing serve the endpoint; return the fleet that did before."""
        with self._changed:
            before = self._serving.pop(endpoint_name, None)
            self._changed.notify_all()
        return before
