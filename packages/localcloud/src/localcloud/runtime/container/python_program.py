"""Python programs run by a fork of a process that has already imported a framework.

A new interpreter is used where it would behave differently. Then `Interpreter.program` returns None: for command line
options, for variables that libraries read when they are loaded, and for modules that would shadow loaded ones.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import gc
import importlib
import os
import re
import runpy
import shutil
import signal
import socket
import sys
import threading
import time
import types
import zipfile
from collections.abc import Mapping, Sequence
from importlib.machinery import SourceFileLoader

import launcher
import messages
from messages import EXECUTABLE, HOME, SOCKET

CLIENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "python_client.py")
_PYTHON = re.compile(r"python(3(\.\d+)?)?")
_READ_AT_START = re.compile(
    "ARROW_|BLIS_|DYLD_|GLIBC_|GOMP_|KMP_|LANG|LC_|LD_|MALLOC_|MKL_|NUMEXPR_|OMP_|OPENBLAS|PYTHON|TZ|VECLIB_"
)
# Python programs of an environment that are found on PATH; as modules they are forks too.
_TOOLS = {"gunicorn": "gunicorn", "pip": "pip"}
_TIMEOUT_SECONDS = 5.0
_OWN_MODULES = ("launcher", "messages", "mounts", "python_program", "tree")


class Interpreter:
    """The state of this process after importing `modules`, before any program runs."""

    def __init__(self, modules: Sequence[str], control: int) -> None:
        self._variables = _read_at_start(os.environ)  # before the imports, because some libraries set variables
        for name in modules:
            importlib.import_module(name)
        given = os.environ.get("PYTHONPATH")
        self.executable = sys.executable
        self._given = given.split(os.pathsep) if given else []
        self._path = sys.path[1 + len(self._given) :]
        self._loaded = {name.partition(".")[0] for name in sys.modules} - {*_OWN_MODULES, "__main__"}
        self._open = _descriptors() - {control}
        gc.freeze()  # the garbage collector of forks ignores these objects, so that their memory stays shared
        self._fork_service: ForkService | None = None

    def program(self, command: Sequence[str], environment: Mapping[str, str]) -> PythonProgram | None:
        """Return the program of a command line in the current folder.

        Returns:
            None where a new interpreter would behave differently.
        """
        words = list(command[1:])
        if words[:1] == ["-u"]:  # output is never buffered here
            words.pop(0)
        option = words.pop(0) if words[:1] in (["-c"], ["-m"]) else ""
        if not words or not self._is_own_python(command[0], environment):
            return None
        if not option and not (words[0].endswith(".py") and os.path.isfile(words[0])):
            return None
        if _read_at_start(environment) != self._variables:
            return None
        first = {"-c": "", "-m": os.getcwd()}.get(option, os.path.dirname(os.path.realpath(words[0])))
        further = environment["PYTHONPATH"].split(os.pathsep) if environment.get("PYTHONPATH") else []
        if any(self._shadows_loaded(folder) for folder in (first, *further) if folder not in self._given):
            return None
        return PythonProgram(option, words, command, environment, [first, *further, *self._path])

    def on_path(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return the variables with a PATH that finds the container's `python3`, where PATH would find this one."""
        if not self._is_own_python("python3", environment):
            return dict(environment)
        return {**environment, "PATH": os.pathsep.join([HOME, environment.get("PATH", os.defpath)])}

    def fork_service(self) -> ForkService:
        """Create the service that forks this process for the container's programs."""
        self._fork_service = ForkService(self)
        return self._fork_service

    def close_descriptors_except(self, kept: set[int]) -> None:
        """Close, in a fork that runs a program, the descriptors that its parents opened after the imports."""
        if self._fork_service is not None:
            self._fork_service.detach_sockets()
        for descriptor in _descriptors() - self._open - kept:
            os.close(descriptor)

    def _is_own_python(self, word: str, environment: Mapping[str, str]) -> bool:
        path = shutil.which(word, path=environment.get("PATH", os.defpath))
        folder, name = os.path.split(path or "")
        return folder in (HOME, os.path.dirname(self.executable)) and bool(_PYTHON.fullmatch(name))

    def _shadows_loaded(self, folder: str) -> bool:
        """Return whether a folder holds a module with the name of a loaded one."""
        if zipfile.is_zipfile(folder):
            with zipfile.ZipFile(folder) as archive:
                return any(name.partition("/")[0].partition(".")[0] in self._loaded for name in archive.namelist())
        try:
            entries = list(os.scandir(folder or "."))
        except OSError:
            return False
        for entry in entries:
            name, _, suffix = entry.name.partition(".")
            if name not in self._loaded:
                continue
            if suffix == "py" or suffix.endswith("so") or os.path.exists(os.path.join(entry.path, "__init__.py")):
                return True
        return False


class PythonProgram:
    """One Python command line; run it at the outermost level of its process."""

    def __init__(
        self,
        option: str,
        words: Sequence[str],
        command: Sequence[str],
        environment: Mapping[str, str],
        path: list[str],
    ) -> None:
        self._option, self._words, self._command = option, words, command
        self._environment, self._path = environment, path

    def run(self) -> None:
        """Run the program as the interpreter does, and end the process."""
        target, *arguments = self._words
        os.environ.clear()
        os.environ.update(self._environment)
        time.tzset()
        sys.executable = EXECUTABLE
        sys.path[:] = self._path
        sys.argv[:] = [self._option or target, *arguments]
        sys.orig_argv[:] = self._command
        for name in _OWN_MODULES:
            sys.modules.pop(name, None)
        random = sys.modules.get("numpy.random")
        if random is not None:
            random.seed()  # otherwise all forks would draw the same numbers
        imported = set(sys.modules) - {"__main__"}
        code = self._execute(target)
        end(code, imported)

    def _execute(self, target: str) -> int:
        """Run the code; return the exit code."""
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        main.__dict__["__builtins__"] = builtins
        try:
            if self._option == "-m":
                runpy._run_module_as_main(target)  # type: ignore[attr-defined]
                return 0
            source: str | bytes = target
            name = "<string>"
            if not self._option:
                name = os.path.abspath(target)
                main.__dict__.update(__file__=name, __cached__=None, __loader__=SourceFileLoader("__main__", name))
                with open(name, "rb") as file:
                    source = file.read()
            exec(compile(source, name, "exec"), main.__dict__)  # noqa: S102 (it is the program)
        except SystemExit as error:
            if error.code is None or isinstance(error.code, int):
                return (error.code or 0) & 0xFF
            sys.stderr.write(f"{error.code}\n")
            return 1
        except BaseException as error:  # noqa: BLE001 (as the interpreter does)
            trace = error.__traceback__
            error = error.with_traceback(trace and trace.tb_next)
            sys.excepthook(type(error), error, error.__traceback__)
            return 128 + signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
        return 0


def end(code: int, kept: set[str]) -> None:
    """End the process as the interpreter does, but do not free the modules in `kept`, which takes half a second."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for name in [name for name in sys.modules if name not in kept]:
        del sys.modules[name]
    gc.collect()  # flushes and closes open files
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):  # removed, closed, or without a reader
            stream.flush()
    os._exit(code)


class ForkService:
    """Forks the container's init for programs that start `sys.executable`; requests arrive over a Unix socket."""

    def __init__(self, interpreter: Interpreter) -> None:
        self._interpreter = interpreter
        self._running: dict[int, socket.socket] = {}
        os.makedirs(HOME, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(SOCKET)  # a restarted model server reuses its folders
        with open(EXECUTABLE, "w") as file:
            file.write(
                f'#!/bin/sh\nexec "{interpreter.executable}" -E -s -S "{CLIENT}" "{interpreter.executable}" "$@"\n'
            )
        os.chmod(EXECUTABLE, 0o700)
        with contextlib.suppress(FileExistsError):
            os.symlink(EXECUTABLE, f"{HOME}/python")
        for name, module in _TOOLS.items():
            if os.path.exists(os.path.join(os.path.dirname(interpreter.executable), name)):
                with open(f"{HOME}/{name}", "w") as file:
                    file.write(f'#!/bin/sh\nexec "{EXECUTABLE}" -m {module} "$@"\n')
                os.chmod(f"{HOME}/{name}", 0o700)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(SOCKET)
        self._listener.listen(64)

    def descriptors(self) -> list[int]:
        """Return the descriptors of the listener and of the open connections."""
        return [self._listener.fileno(), *(one.fileno() for one in self._running.values() if one.fileno() >= 0)]

    def handle(self, ready: list[int]) -> None:
        """Forward signals and start programs, for the descriptors that are ready."""
        for process, connection in self._running.items():
            if connection.fileno() in ready:
                self._forward_signals(process, connection)
        if self._listener.fileno() in ready:
            self._start()

    def on_exit(self, process: int, state: int) -> None:
        """Send a program's exit code to its client."""
        connection = self._running.pop(process, None)
        if connection is None:
            return
        code = -os.WTERMSIG(state) if os.WIFSIGNALED(state) else os.WEXITSTATUS(state)
        with connection, contextlib.suppress(OSError):  # the client may have ended
            connection.sendall(b"%d" % code)

    def detach_sockets(self) -> None:
        """Detach the sockets in a fork: their descriptors are closed by number, and must not be closed twice."""
        for connection in (self._listener, *self._running.values()):
            connection.detach()
        self._running.clear()

    def _start(self) -> None:
        connection, _ = self._listener.accept()
        connection.settimeout(_TIMEOUT_SECONDS)
        try:
            body, received = messages.receive(connection)
        except (OSError, EOFError):
            connection.close()  # the client has ended
            return
        process = fork()
        if process == 0:
            connection.detach()
            raise launcher.BecomeProgram(self._forked_program(body, received))
        for descriptor in received:
            os.close(descriptor)
        self._running[process] = connection

    def _forward_signals(self, process: int, connection: socket.socket) -> None:
        """Forward signals from a client to its program; kill the program when its client has ended."""
        numbers = connection.recv(64)
        for number in numbers or [signal.SIGKILL]:
            launcher.signal_sender(os.kill, process, number)()
        if not numbers:
            connection.close()

    def _forked_program(self, body: bytes, received: list[int]) -> PythonProgram:
        """Prepare the new process and return its program."""
        count, _, rest = body.partition(b"\0")
        fields = [os.fsdecode(field) for field in rest.split(b"\0")]
        command, (folder, group), variables = fields[: int(count)], fields[int(count) :][:2], fields[int(count) + 2 :]
        environment = dict(variable.split("=", 1) for variable in variables)
        try:
            os.setpgid(0, int(group))
        except PermissionError:
            os.setpgid(0, 0)  # the client belongs to another session
        for number, descriptor in enumerate(received):
            os.dup2(descriptor, number)
        self._interpreter.close_descriptors_except(set())
        os.chdir(folder)
        program = self._interpreter.program([EXECUTABLE, *command], environment)
        launcher.default_signals(python=program is not None)
        if program is None:
            os.execve(self._interpreter.executable, [self._interpreter.executable, *command], environment)
        return program


def fork() -> int:
    """Call `os.fork` without the warning about threads, because the libraries' threads support it."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _read_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if _READ_AT_START.match(name) and name not in ("PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE")
    }


def _descriptors() -> set[int]:
    """Return the open descriptors above standard error."""
    return {number for name in os.listdir("/proc/self/fd") if (number := int(name)) > 2 and _is_open(number)}


def _is_open(number: int) -> bool:
    """Return whether a descriptor is open; that of the listed folder is not any more."""
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
