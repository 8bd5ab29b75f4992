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
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from localcloud.hooks import virtual_clock
from localcloud.runtime import visible
from localcloud.runtime.contract import ContainerError
from localcloud.runtime.warm import HOOKS, WarmPython

OPT_ML = "/opt/ml"
HOME = "/root"
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
            "each container has a file system, processes and a home of its own, and sees nothing of yours; "
            "network isolation removes the network",
        )
    elif _works(pid_namespace=False):
        found = Isolation(
            True, False, "each container has a file system of its own, but sees the host's processes: PID namespaces "
            "are not permitted"
        )  # fmt: skip
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


def launch(plan: Mapping[str, Any], pass_fds: Sequence[int], **streams: Any) -> tuple[subprocess.Popen[Any], IO[bytes]]:
    """Start a launcher with a plan.

    Args:
        plan: what `launcher.py` does.
        pass_fds: descriptors that the launcher and the program inherit.
        streams: `Popen`'s options for standard input, output and error.

    Returns:
        The launcher's process, and its lifeline: closing it kills the container.

    Raises:
        ContainerError: the program could not be started; the message says why.
    """
    status_reader, status_writer = os.pipe()
    plan_reader, plan_writer = os.pipe()
    lifeline = os.fdopen(plan_writer, "wb")
    with os.fdopen(status_reader, "rb") as status:
        process: subprocess.Popen[Any] = subprocess.Popen(
            [sys.executable, "-E", "-s", "-S", str(LAUNCHER), str(status_writer), str(plan_reader)],
            pass_fds=(status_writer, plan_reader, *pass_fds),
            start_new_session=True,
            cwd="/",
            env={"PATH": os.defpath},
            **streams,
        )
        os.close(status_writer)
        os.close(plan_reader)
        lifeline.write(json.dumps(plan).encode() + b"\n")
        lifeline.flush()
        problem = status.read().decode(errors="replace")
    if problem:
        lifeline.close()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()
        raise ContainerError(problem)
    return process, lifeline


@dataclass
class Container:
    """A running container; `output` is its standard output and error, merged."""

    process: subprocess.Popen[bytes]
    output: IO[bytes]
    _lifeline: IO[bytes]

    @property
    def pid(self) -> int:
        """The launcher's process id."""
        return self.process.pid

    def wait(self) -> int:
        """Wait for the end, and return the exit code: 128 + n for a program that signal n ended."""
        code = self.process.wait()
        self._lifeline.close()
        return code if code >= 0 else 128 - code

    def terminate(self) -> None:
        """Send SIGTERM to every process of the container."""
        if self.process.poll() is None:
            self.process.terminate()

    def kill(self) -> None:
        """Kill every process of the container, by closing the launcher's lifeline."""
        self._lifeline.close()


class Sandbox:
    """A container's directories below `root`; `ml` is its `/opt/ml`."""

    def __init__(self, root: Path, level: Isolation | None = None) -> None:
        self.root = root
        self.level = level or isolation()
        self.ml = root / "ml"
        self.tmp = root / "tmp"
        self.home = root / "home"
        for directory in (self.tmp, self.home):
            directory.mkdir(parents=True, exist_ok=True)

    def host_path(self, inside: str) -> Path:
        """Return the host's path for a path below /opt/ml."""
        return self.ml / Path(os.path.normpath(inside)).relative_to(OPT_ML)

    def inside(self, path: str) -> str:
        """Return the path that the container uses for a path below /opt/ml; without namespaces the host's path."""
        if self.level.namespaces or not (path == OPT_ML or path.startswith(OPT_ML + "/")):
            return path
        return str(self.host_path(path))

    def written_file(self, inside: str) -> Path | None:
        """Return the host's path of a file that the program wrote; None where there is none.

        Symbolic links do not count: in the container they lead to its files, and here to the developer's.
        """
        path = self.host_path(inside)
        return path if path.is_file() and self._is_reached_without_links(path) else None

    def written_directory(self, inside: str) -> Path:
        """Return the host's path of a directory that the program wrote to.

        Raises:
            ContainerError: it was removed, or replaced by a symbolic link.
        """
        path = self.host_path(inside)
        if path.is_dir() and self._is_reached_without_links(path):
            return path
        raise ContainerError(
            f"ClientError: Data upload failed:{inside} is not a directory any more; the container removed it or "
            "replaced it by a symbolic link"
        )

    def _is_reached_without_links(self, path: Path) -> bool:
        return path.resolve() == self.ml.resolve() / path.relative_to(self.ml)

    def start(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        cwd: str,
        isolate_network: bool = False,
        pass_fds: Sequence[int] = (),
        warm: WarmPython | None = None,
        read_only: Sequence[str] | None = None,
        overlays: Sequence[str] = (),
    ) -> Container:
        """Start `command` as the container's program.

        Args:
            command: the program and its arguments.
            environment: its variables.
            cwd: its working directory.
            isolate_network: give it no network but loopback.
            pass_fds: descriptors that it inherits.
            warm: a fork server; where it is ready, the program is a fork of it.
            read_only: what it sees of the host besides the system's programs, at the same paths; by default this
                process's Python environment.
            overlays: directories of the host that it sees at the same paths and may change; its changes are its own.

        Raises:
            ContainerError: it could not be started; the message says why.
        """
        variables = {name: self.inside(value) for name, value in environment.items()}
        clock = os.environ.get(virtual_clock.VARIABLE)
        if clock:
            variables[virtual_clock.VARIABLE] = clock
        if not self.level.namespaces:
            variables["LOCALCLOUD_OPT_ML"] = str(self.ml)
            if variables.get("HOME") == HOME:
                variables["HOME"] = str(self.home)
            if overlays:  # the environment is everybody's
                variables["PIP_TARGET"] = str(self.tmp / "installed")
                paths = (variables["PIP_TARGET"], variables.get("PYTHONPATH"))
                variables |= {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "SAGEMAKER_BASE_DIR": str(self.ml)}
        if clock or not self.level.namespaces:
            variables["PYTHONPATH"] = os.pathsep.join(filter(None, (str(HOOKS), variables.get("PYTHONPATH"))))
        root = self.root / "root"
        root.mkdir(exist_ok=True)
        connection = warm.connection() if warm is not None and self.level.pid_namespace else None
        plan = {
            "warm": None if connection is None else connection.fileno(),
            "command": [self.inside(word) for word in command],
            "environment": variables,
            "cwd": self.inside(cwd) if self.level.namespaces or cwd != "/" else str(self.tmp),
            "namespaces": self.level.namespaces,
            "pid_namespace": self.level.pid_namespace,
            "isolate_network": isolate_network,
            "root": str(root),
            "own": [[str(self.ml), OPT_ML], [str(self.tmp), "/tmp"], [str(self.home), HOME]],  # noqa: S108
            "read_only": [*visible.always(), *(visible.this_environment() if read_only is None else read_only)],
            "overlays": self._overlays(overlays),
            "read_only_root": False,
            "keep_stdin": False,
            "pass_fds": list(pass_fds),
        }
        with connection or nullcontext():
            process, lifeline = launch(
                plan,
                [*pass_fds, *([] if connection is None else [connection.fileno()])],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        assert process.stdout is not None
        return Container(process, process.stdout, lifeline)

    def _overlays(self, paths: Sequence[str]) -> list[list[str]]:
        """Return (path, directory for changes, work directory) of each overlay."""
        made = []
        for number, path in enumerate(paths):
            upper, work = (self.root / "overlays" / str(number) / name for name in ("upper", "work"))
            for directory in (upper, work):
                directory.mkdir(parents=True, exist_ok=True)  # a restarted model server reuses them
            made.append([path, str(upper), str(work)])
        return made

    def remove(self) -> None:
        """Delete all directories, including those that a program made unreadable."""
        for parent, directories, _ in os.walk(self.root):
            for name in directories:
                path = Path(parent, name)
                if not path.is_symlink():
                    path.chmod(0o700)
        shutil.rmtree(self.root)
