"""Containers as seen from the gateway: what isolation this machine allows, and one supervised process tree."""

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
    """What this machine allows.

    Attributes:
        namespaces: containers have an `/opt/ml`, a `/tmp` and, where asked, a network of their own.
        pid_namespace: the kernel ends all of a container's processes with it.
        sentence: the same for `status` and the log.
    """

    namespaces: bool
    pid_namespace: bool
    sentence: str


@functools.cache
def isolation() -> Isolation:
    """Try, once, what this machine allows; say it in the log when it is less than everything."""
    if sys.platform != "linux":
        found = Isolation(False, False, f"no Linux namespaces on {sys.platform}: {_FALLBACK}")
    elif _works(pid_namespace=True):
        return Isolation(True, True, "each container has its own /opt/ml, /tmp, processes and, isolated, no network")
    elif _works(pid_namespace=False):
        found = Isolation(True, False, "containers share the host's process table (no PID namespace may be made here)")
    else:
        found = Isolation(False, False, f"namespaces may not be made here: {_FALLBACK}")
    log.warning("container isolation: %s", found.sentence)
    return found


_FALLBACK = (
    "containers use real directories (SM_* variables; Python's file functions map /opt/ml to them), "
    "network isolation only withholds credentials and endpoint"
)


def _works(*, pid_namespace: bool) -> bool:
    with tempfile.TemporaryDirectory(prefix="localcloud-") as scratch:
        level = Isolation(True, pid_namespace, "")
        box = Sandbox(Path(scratch), level)
        box.ml.mkdir()
        try:
            container = box.start(["true"], {"PATH": os.defpath}, cwd="/", isolate_network=True)
        except ContainerError:
            return False
        container.output.close()
        return container.wait() == 0


def process_start(pid: int) -> str | None:
    """When a process began, in a form that only equals itself; None when it is gone. A pid alone may be reused."""
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
    """What the container needs of a host's /tmp that it does not see: the interpreter, this project, the clock."""
    needed = {Path(sys.prefix), Path(sys.base_prefix), IMAGE_ROOT.resolve().parents[2]}
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
        return self.process.pid

    def wait(self) -> int:
        """Return the exit code: 128 + n for a program that signal n ended."""
        code = self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()
        return code if code >= 0 else 128 - code

    def terminate(self) -> None:
        """Send SIGTERM to every process of the container."""
        if self.process.poll() is None:
            self.process.terminate()

    def kill(self) -> None:
        """End every process of the container, now: without its lifeline the launcher does not spare anything."""
        if self.process.stdin is not None:
            self.process.stdin.close()


class Sandbox:
    """A container's directories below `root`: `ml` becomes `/opt/ml`."""

    def __init__(self, root: Path, level: Isolation | None = None) -> None:
        self.root = root
        self.level = level or isolation()
        self.ml = root / "ml"
        self.tmp = root / "tmp"
        self.opt = root / "opt"
        for directory in (self.tmp, self.opt):
            directory.mkdir(parents=True, exist_ok=True)

    def host_path(self, inside: str) -> Path:
        """Where a path below /opt/ml lies on the host."""
        return self.ml / Path(os.path.normpath(inside)).relative_to(OPT_ML)

    def inside(self, path: str) -> str:
        """The path that the container uses for a path below /opt/ml: itself, or without namespaces the real one."""
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
        """Start `command` as the container's program, as a fork of `warm` where that is ready.

        Raises:
            ContainerError: it could not be started; the text says what and why.
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
        """Delete everything, directories that a program made unreadable included."""
        for parent, directories, _ in os.walk(self.root):
            for name in directories:
                path = Path(parent, name)
                if not path.is_symlink():
                    path.chmod(0o700)
        shutil.rmtree(self.root)
