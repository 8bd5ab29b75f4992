"""Fork servers: Pythons that have imported an image's framework, which saves two seconds for each container."""

from __future__ import annotations

import atexit
import functools
import logging
import os
import select
import socket
import subprocess
import threading
from pathlib import Path

from localcloud.hooks import virtual_clock
from localcloud.runtime.images import IMAGE_ROOT, StandIn
from localcloud.runtime.images.environments import HOST_ENVIRONMENT, Environment

_PIP = ("pip._internal.cli.main", "pip._internal.commands.install")
HOOKS = Path(virtual_clock.__file__).parent
_PROGRAM = Path(__file__).parent / "container" / "fork_server.py"
log = logging.getLogger(__name__)


def interpreter_environment(where: Environment = HOST_ENVIRONMENT) -> dict[str, str]:
    """Return the variables that every container's Python starts with; `python3` is the environment's on PATH."""
    environment = {
        "PATH": f"{where.root}/bin:{IMAGE_ROOT}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "TRUE",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"):  # some interpreters cannot start without
        if name in os.environ:
            environment[name] = os.environ[name]
    return environment


def warm_python(found: StandIn | None, *, serving: bool = False) -> WarmPython | None:
    """Return the fork server for an image's jobs or model servers, or None."""
    if found is None or found.framework is None:
        return None
    framework = found.framework
    modules = framework.serving_imports if serving else framework.imports
    # Where Python has distutils, pip's import takes setuptools' replacement away.
    return python_with(
        (*modules, *(_PIP if found.environment.minor >= (3, 12) else ())),
        found.environment,
        framework.serving_variables if serving else (),
    )


@functools.cache
def python_with(
    modules: tuple[str, ...], where: Environment = HOST_ENVIRONMENT, variables: tuple[tuple[str, str], ...] = ()
) -> WarmPython:
    """Return the fork server for these modules of an environment; it is created on first use."""
    return WarmPython(modules, where, variables)


class WarmPython:
    """A fork server that has imported `modules`. Thread-safe."""

    def __init__(
        self,
        modules: tuple[str, ...],
        where: Environment = HOST_ENVIRONMENT,
        variables: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self._modules, self._where, self._variables = modules, where, variables
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._ready = False
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)

    @property
    def pid(self) -> int | None:
        """The fork server's process id, None while it does not run."""
        return None if self._process is None else self._process.pid

    def connection(self) -> socket.socket | None:
        """Return a connection to a new fork; None while the server is starting, which this call triggers."""
        with self._lock:
            if self._control is None:
                self._start()
                return None
            if not self._ready and not select.select([self._control], [], [], 0)[0]:
                return None
            try:
                if not self._ready and self._control.recv(1) != b"R":
                    raise ConnectionError("it ended before it was ready")
                self._ready = True
                local, remote = socket.socketpair()
                with remote:
                    socket.send_fds(self._control, [b"+"], [remote.fileno()])
            except OSError as error:
                log.warning("the fork server for %s ended (%s); containers start a new Python", self._modules, error)
                self._end()
                return None
            return local

    def wait(self, seconds: float) -> bool:
        """Start the server if necessary, and return whether it is ready within `seconds`."""
        with self._lock:
            control = self._control or self._start()
            return self._ready or bool(select.select([control], [], [], seconds)[0])

    def close(self) -> None:
        """End the server and all containers that are its forks."""
        with self._lock:
            self._end()

    def _start(self) -> socket.socket:
        environment = interpreter_environment(self._where) | dict(self._variables)
        clock = os.environ.get(virtual_clock.VARIABLE)
        if clock:
            environment |= {virtual_clock.VARIABLE: clock, "PYTHONPATH": str(HOOKS)}
        control, inner = socket.socketpair()
        with inner:
            self._process = subprocess.Popen(
                [str(self._where.python), str(_PROGRAM), str(inner.fileno()), *self._modules],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[inner.fileno()],
                start_new_session=True,
                cwd="/",
                env=environment,
            )
        self._control = control
        return control

    def _end(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        self._ready = False
        if self._process is not None:
            self._process.wait()
            self._process = None
