"""What a killed gateway left behind: processes by recorded pid and start time, and their directories.

The launchers end by themselves when their lifeline to the gateway breaks; this makes sure of it before a restart.
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

_PATIENCE_SECONDS = 5.0


def record(store: Store, kind: str, key: str, pid: int) -> None:
    """Remember a container's launcher durably."""
    store.update(kind, key, pid=pid, start=process_start(pid))


def end(document: Mapping[str, Any]) -> None:
    """End the recorded process, if it is still the same one, wait until it is gone, and remove its directory."""
    pid, start = document["pid"], document["start"]
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while pid is not None and start is not None and process_start(pid) == start:
        if time.monotonic() > deadline:
            raise TimeoutError(f"process {pid} of {document['root']} does not end")
        _kill_session(pid)
        time.sleep(0.02)
    root = Path(document["root"])
    if root.exists():
        Sandbox(root).remove()


def _kill_session(leader: int) -> None:
    """The launcher leads a session; its end is its container's (parent-death signal), and its group goes with it."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return
