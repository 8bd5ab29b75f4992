"""Containers: the isolation that this machine allows, a container's directories, and its process tree."""

from __future__ import annotations

import functools
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from localcloud.hooks import virtual_clock
from localcloud.runtime.contract import ContainerError
from localcloud.runtime.warm import HOOKS, WarmPython

OPT_ML = "/opt/ml"
IMAGE_ROOT = Path(__file__).parent / "image"
LAUNCHER = Path(__file__).parent / "container" / "launcher.py"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Isolation:
    """The isolation that this machine allows.

    Attributes:
        namespaces: containers have their own `/opt/ml`, `/tmp` and, on request, network.
        pid_namespace: the kernel ends all processes of a container with it.
        sentence: a description for `status` and the log.
    """

    namespaces: bool
    pid_namespace: bool
    sentence: str


@functools.cache
def isolation() -> Isolation:
    """Determine the isolation that this machine allows; log a warning where it is not full."""
    if sys.platform != "linux":
        found = Isolation(False, False, f"no Linux namespaces on {sys.platform}: {_FALLBACK}")
    elif _works(pid_namespace=True):
        return Isolation(
            True,
            True,
            "each container has its own /opt/ml, /tmp and process table; network isolation removes the network",
        )
    elif _works(pid_namespace=False):
        found = Isolation(True, False, "containers share the host's process table (PID namespaces are not permitted)")
    else:
        found = Isolation(False, False, f"namespaces are not permitted: {_FALLBACK}")
    log.warning("container isolation: %s", found.sentence)
    return found


_FALLBACK = (
    "containers use real directories (SM_* variables and Python's file functions map /opt/ml to them), "
    "and network isolation only withholds the credentials and the endpoint URL"
)


def _works(*, pid_namespace: bool) -> bool:
    with tempfile.TemporaryDirectory(prefix="localcloud-") as scratch:
        level = Isolation(True, pid_namespace, "")
        sandbox = Sandbox(Path(scratch), level)
        sandbox.ml.mkdir()
        try:
            container = sandbox.start(["true"], {"PATH": os.defpath}, cwd="/", isolate_network=True)
        except ContainerError:
            return False
        container.output.close()
        return container.wait() == 0


def process_start(pid: int) -> str | None:
    """Return when a process started, as an opaque text, or None when it has ended.

    Together with the pid it identifies a process, because pids are reused.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        if sys.platform == "linux":
            return None
        answer = subprocess.run(  # macOS has no /proc
            ["/bin/ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
        )
        return answer.stdout.strip() or None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]


def _kept_below_tmp() -> list[str]:
    """Return the paths below the host's /tmp that a container needs: the interpreter, what it imports, and the clock.

    Packages that are installed in place, such as a stand-in for an image, are on the path by a folder of their own.
    """
    imported = {Path(entry) for entry in sys.path if Path(entry).is_dir()}
    needed = {Path(sys.prefix), Path(sys.base_prefix), IMAGE_ROOT.resolve().parents[2], *imported}
    if virtual_clock.VARIABLE in os.environ:
        needed.add(Path(os.environ[virtual_clock.VARIABLE]).parent)
    below = sorted(path.resolve() for path in needed if path.resolve().is_relative_to("/tmp"))  # noqa: S108
    return [str(path) for path in below if not any(other in path.parents for other in below)]


@dataclass
class Container:
    """A running container; `output` is its standard output and error, merged."""

    process: subprocess.Popen[bytes]
    output: IO[bytes]
    _reaped: threading.Event = field(default_factory=threading.Event)

    @property
    def pid(self) -> int:
        """The launcher's process id."""
        return self.process.pid

    def wait(self) -> int:
        """Wait for the end, and return the exit code: 128 + n for a program that signal n ended."""
        code = self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()
        return code if code >= 0 else 128 - code

    def terminate(self) -> None:
        """Send SIGTERM to every process of the container."""
        if self.process.poll() is None:
            self.process.terminate()

    def kill(self) -> None:
        """Kill every process of the container, by closing the launcher's lifeline."""
        if self.process.stdin is not None:
            self.process.stdin.close()


class Sandbox:
    """A container's directories below `root`; `ml` is its `/opt/ml`."""

    def __init__(self, root: Path, level: Isolation | None = None) -> None:
        self.root = root
        self.level = level or isolation()
        self.ml = root / "ml"
        self.tmp = root / "tmp"
        self.opt = root / "opt"
        for directory in (self.tmp, self.opt):
            directory.mkdir(parents=True, exist_ok=True)

    def host_path(self, inside: str) -> Path:
        """Return the host's path for a path below /opt/ml."""
        return self.ml / Path(os.path.normpath(inside)).relative_to(OPT_ML)

    def inside(self, path: str) -> str:
        """Return the path that the container uses for a path below /opt/ml; without namespaces the host's path."""
        if self.level.namespaces or not (path == OPT_ML or path.startswith(OPT_ML + "/")):
            return path
        return str(self.host_path(path))

    def start(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        cwd: str,
        isolate_network: bool = False,
        pass_fds: Sequence[int] = (),
        warm: WarmPython | None = None,
    ) -> Container:
        """Start `command` as the container's program.

        Args:
            command: the program and its arguments.
            environment: its variables.
            cwd: its working directory.
            isolate_network: give it no network but loopback.
            pass_fds: descriptors that it inherits.
            warm: a fork server; where it is ready, the program is a fork of it.

        Raises:
            ContainerError: it could not be started; the message says why.
        """
        variables = dict(environment)
        clock = os.environ.get(virtual_clock.VARIABLE)
        if clock:
            variables[virtual_clock.VARIABLE] = clock
        if not self.level.namespaces:
            variables["LOCALCLOUD_OPT_ML"] = str(self.ml)
        if clock or not self.level.namespaces:
            variables["PYTHONPATH"] = os.pathsep.join(filter(None, (str(HOOKS), variables.get("PYTHONPATH"))))
        connection = warm.connection() if warm is not None and self.level.pid_namespace else None
        plan = {
            "warm": None if connection is None else connection.fileno(),
            "command": [self.inside(word) for word in command],
            "environment": variables,
            "cwd": self.inside(cwd),
            "namespaces": self.level.namespaces,
            "pid_namespace": self.level.pid_namespace,
            "isolate_network": isolate_network,
            "opt_ml": str(self.ml),
            "opt": str(self.opt),
            "tmp": str(self.tmp),
            "keep": _kept_below_tmp(),
            "interpreter": sys.prefix,
            "pass_fds": list(pass_fds),
        }
        status_reader, status_writer = os.pipe()
        with os.fdopen(status_reader, "rb") as status, connection or nullcontext():
            process = subprocess.Popen(
                [sys.executable, "-E", "-s", "-S", str(LAUNCHER), str(status_writer)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(status_writer, *pass_fds, *([] if connection is None else [connection.fileno()])),
                start_new_session=True,
                cwd="/",
                env={"PATH": os.defpath},
            )
            os.close(status_writer)
            if connection is not None:
                connection.close()
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(json.dumps(plan).encode() + b"\n")
            process.stdin.flush()
            problem = status.read().decode(errors="replace")
        if problem:
            process.stdin.close()
            process.wait()
            process.stdout.close()
            raise ContainerError(problem)
        return Container(process, process.stdout)

    def remove(self) -> None:
        """Delete all directories, including those that a program made unreadable."""
        for parent, directories, _ in os.walk(self.root):
            for name in directories:
                path = Path(parent, name)
                if not path.is_symlink():
                    path.chmod(0o700)
        shutil.rmtree(self.root)
