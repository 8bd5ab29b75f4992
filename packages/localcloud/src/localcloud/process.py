"""The gateway as a process: its record in the state folder, whether it runs, and processes that outlived it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shlex
import signal
import socket
import time
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from localcloud import loopback

_RECORD = "gateway.json"


@dataclass(frozen=True)
class Running:
    """A gateway process.

    Attributes:
        started: Its start time in epoch seconds, which tells it from a later process with the same pid.
    """

    pid: int
    started: float
    port: int

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        try:
            process = psutil.Process(self.pid)
            return bool(process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - self.started) < 0.01)
        except psutil.NoSuchProcess:
            return False

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; do nothing if the process is gone."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait_until_gone(self, seconds: float) -> bool:
        """Wait for the process to end and return whether it did within the time."""
        deadline = time.monotonic() + seconds
        while self.alive:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True


@dataclass(frozen=True)
class Listening:
    """A gateway that answers on a port, and the state folder that it names."""

    running: Running
    state: str

    @property
    def sentence(self) -> str:
        """The gateway, and the command that stops it, for a person."""
        return (
            f"the local cloud of {self.state} (pid {self.running.pid}; "
            f"stop it: localcloud down --port {self.running.port} --state {shlex.quote(self.state)})"
        )


def health(port: int) -> dict[str, Any]:
    """Return the health document of the gateway on a port; empty if nothing, or another program, answers."""
    call = urllib.request.Request(f"http://127.0.0.1:{port}/_localcloud/health")
    try:
        with loopback.request(call, timeout=2) as reply:
            document = json.load(reply)
    except (OSError, ValueError, http.client.HTTPException):
        return {}
    return document if isinstance(document, dict) and document.get("localcloud") else {}


def listening(port: int) -> Listening | None:
    """Return the gateway on a port, whatever its state folder."""
    document = health(port)
    try:
        return Listening(
            Running(document["pid"], psutil.Process(document["pid"]).create_time(), port), document["state"]
        )
    except (KeyError, psutil.Error):
        return None


def write_record(state_dir: Path, port: int) -> None:
    """Record this process as the state folder's gateway."""
    running = Running(os.getpid(), psutil.Process().create_time(), port)
    temporary = state_dir / f"{_RECORD}.new"
    temporary.write_text(json.dumps(asdict(running)))
    temporary.replace(state_dir / _RECORD)


def drop_record(state_dir: Path) -> None:
    """Delete the record."""
    (state_dir / _RECORD).unlink(missing_ok=True)


def read_record(state_dir: Path) -> Running | None:
    """Return the recorded gateway, whether it runs or not."""
    try:
        return Running(**json.loads((state_dir / _RECORD).read_text()))
    except FileNotFoundError:
        return None


def running(state_dir: Path) -> Running | None:
    """Return the state folder's gateway if it runs."""
    record = read_record(state_dir)
    return record if record is not None and record.alive else None


def port_is_free(port: int) -> bool:
    """Return whether a loopback port can be bound."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def end_leftovers(state_dir: Path) -> int:
    """Kill functions' processes that outlived their gateway (they run below `<state>/tmp`) and return their number."""
    home = str((state_dir / "tmp").resolve()) + os.sep
    left = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and process.cwd().startswith(home):
                left.append(process)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=5)
    return len(left)
