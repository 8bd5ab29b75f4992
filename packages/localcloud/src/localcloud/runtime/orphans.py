"""Processes that a killed gateway left behind, by recorded pid and start time, and their directories.

Launchers end by themselves when their lifeline closes; this module makes sure of it before a restart.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from localcloud.runtime.sandbox import Sandbox, process_start
from localcloud.store import Store

_TIMEOUT_SECONDS = 5.0


def record(store: Store, kind: str, key: str, pid: int) -> None:
    """Store the pid and start time of a container's launcher."""
    store.update(kind, key, pid=pid, start=process_start(pid))


def end(document: Mapping[str, Any]) -> None:
    """End the recorded process, unless its pid was reused, wait for its end, and remove its directory.

    Raises:
        TimeoutError: the process does not end.
    """
    pid, start = document["pid"], document["start"]
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while pid is not None and start is not None and process_start(pid) == start:
        if time.monotonic() > deadline:
            raise TimeoutError(f"process {pid} of {document['root']} did not end in {_TIMEOUT_SECONDS:g} seconds")
        _kill_session(pid)
        time.sleep(0.02)
    root = Path(document["root"])
    if root.exists():
        Sandbox(root).remove()


def _kill_session(leader: int) -> None:
    """Kill the process group of a launcher; its container ends by the parent-death signal."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return
