"""What `python3 …` would do, done by a fork of a process that has imported a framework already.

Whatever a fresh interpreter would do otherwise is left to a fresh interpreter: `Interpreter.program` returns None for
options, for variables that are read when a library is loaded, and where the script's folders hold a module that would
have come before one that is loaded.
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
_PATIENCE_SECONDS = 5.0
_OWN_MODULES = ("launcher", "messages", "python_program")


class Interpreter:
    """This process as it is when `modules` are imported and nothing was run."""

    def __init__(self, modules: Sequence[str], control: int) -> None:
        self._variables = _read_at_start(os.environ)  # of the libraries, some set variables when they are imported
        for name in modules:
            importlib.import_module(name)
        given = os.environ.get("PYTHONPATH")
        self.executable = sys.executable
        self._given = given.split(os.pathsep) if given else []
        self._path = sys.path[1 + len(self._given) :]
        self._loaded = {name.partition(".")[0] for name in sys.modules} - {*_OWN_MODULES, "__main__"}
        self._open = _descriptors() - {control}
        gc.freeze()  # a fork's collector leaves alone, and shares, what is here by now
        self._guests: Guests | None = None

    def program(self, command: Sequence[str], environment: Mapping[str, str]) -> PythonProgram | None:
        """What `command` means in the present folder; None where a fresh interpreter would do something else."""
        words = list(command[1:])
        if words[:1] == ["-u"]:  # output is never held back here
            words.pop(0)
        option = words.pop(0) if words[:1] in (["-c"], ["-m"]) else ""
        if not words or not self._is_this(command[0], environment):
            return None
        if not option and not (words[0].endswith(".py") and os.path.isfile(words[0])):
            return None
        if _read_at_start(environment) != self._variables:
            return None
        first = {"-c": "", "-m": os.getcwd()}.get(option, os.path.dirname(os.path.realpath(words[0])))
        further = environment["PYTHONPATH"].split(os.pathsep) if environment.get("PYTHONPATH") else []
        if any(self._hides(folder) for folder in (first, *further) if folder not in self._given):
            return None
        return PythonProgram(option, words, command, environment, [first, *further, *self._path])

    def on_path(self, environment: Mapping[str, str]) -> dict[str, str]:
        """A container's variables with its own `python3` before this one, where PATH would find this one."""
        if not self._is_this("python3", environment):
            return dict(environment)
        return {**environment, "PATH": os.pathsep.join([HOME, environment.get("PATH", os.defpath)])}

    def guests(self) -> Guests:
        self._guests = Guests(self)
        return self._guests

    def close_all_but(self, kept: set[int]) -> None:
        """In a fork that is a program: close what its parents have opened since the imports."""
        if self._guests is not None:
            self._guests.forget()
        for descriptor in _descriptors() - self._open - kept:
            os.close(descriptor)

    def _is_this(self, word: str, environment: Mapping[str, str]) -> bool:
        path = shutil.which(word, path=environment.get("PATH", os.defpath))
        folder, name = os.path.split(path or "")
        return folder in (HOME, os.path.dirname(self.executable)) and bool(_PYTHON.fullmatch(name))

    def _hides(self, folder: str) -> bool:
        """Whether a folder holds a module of the name of one that is loaded."""
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
    """One command line of Python's, to be run at the outermost level of the process that is to be it."""

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
        """Do what the interpreter does with it, to the end of the process."""
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
            random.seed()  # as a fresh process would: not what every other fork draws
        imported = set(sys.modules) - {"__main__"}
        code = self._outcome(target)
        end(code, imported)

    def _outcome(self, target: str) -> int:
        """Run it; return the exit code."""
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
    """End the process as the interpreter does, but leave the modules in `kept`: to free them takes half a second."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for name in [name for name in sys.modules if name not in kept]:
        del sys.modules[name]
    gc.collect()  # files that were left open are written and closed
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):  # taken away, closed, or nobody listens any more
            stream.flush()
    os._exit(code)


class Guests:
    """Pythons that the container's programs start by `sys.executable`: forks of its init, which answers a socket."""

    def __init__(self, interpreter: Interpreter) -> None:
        self._interpreter = interpreter
        self._running: dict[int, socket.socket] = {}
        os.makedirs(HOME, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(SOCKET)  # a model server that crashed comes back in the folders that it had
        with open(EXECUTABLE, "w") as file:
            file.write(
                f'#!/bin/sh\nexec "{interpreter.executable}" -E -s -S "{CLIENT}" "{interpreter.executable}" "$@"\n'
            )
        os.chmod(EXECUTABLE, 0o700)
        with contextlib.suppress(FileExistsError):
            os.symlink(EXECUTABLE, f"{HOME}/python")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(SOCKET)
        self._listener.listen(64)

    def descriptors(self) -> list[int]:
        return [self._listener.fileno(), *(one.fileno() for one in self._running.values() if one.fileno() >= 0)]

    def attend(self, ready: list[int]) -> None:
        for process, connection in self._running.items():
            if connection.fileno() in ready:
                self._hear(process, connection)
        if self._listener.fileno() in ready:
            self._start()

    def ended(self, process: int, state: int) -> None:
        connection = self._running.pop(process, None)
        if connection is None:
            return
        code = -os.WTERMSIG(state) if os.WIFSIGNALED(state) else os.WEXITSTATUS(state)
        with connection, contextlib.suppress(OSError):  # whoever asked may be gone
            connection.sendall(b"%d" % code)

    def forget(self) -> None:
        """In a fork: what these objects hold is closed by number, and must not be closed once more when they go."""
        for connection in (self._listener, *self._running.values()):
            connection.detach()
        self._running.clear()

    def _start(self) -> None:
        connection, _ = self._listener.accept()
        connection.settimeout(_PATIENCE_SECONDS)
        try:
            body, received = messages.receive(connection)
        except (OSError, EOFError):
            connection.close()  # whoever asked is gone
            return
        process = fork()
        if process == 0:
            connection.detach()
            raise launcher.Become(self._guest(body, received))
        for descriptor in received:
            os.close(descriptor)
        self._running[process] = connection

    def _hear(self, process: int, connection: socket.socket) -> None:
        """Pass signals on; who asked and is gone was ended, and what it stood for with it."""
        numbers = connection.recv(64)
        for number in numbers or [signal.SIGKILL]:
            launcher.signal_quietly(os.kill, process, number)()
        if not numbers:
            connection.close()

    def _guest(self, body: bytes, received: list[int]) -> PythonProgram:
        """In the new process: be what was asked for."""
        count, _, rest = body.partition(b"\0")
        fields = [os.fsdecode(field) for field in rest.split(b"\0")]
        command, (folder, group), variables = fields[: int(count)], fields[int(count) :][:2], fields[int(count) + 2 :]
        environment = dict(variable.split("=", 1) for variable in variables)
        try:
            os.setpgid(0, int(group))
        except PermissionError:
            os.setpgid(0, 0)  # whoever asked has a session of its own
        for number, descriptor in enumerate(received):
            os.dup2(descriptor, number)
        self._interpreter.close_all_but(set())
        os.chdir(folder)
        program = self._interpreter.program([EXECUTABLE, *command], environment)
        launcher.default_signals(python=program is not None)
        if program is None:
            os.execve(self._interpreter.executable, [self._interpreter.executable, *command], environment)
        return program


def fork() -> int:
    """`os.fork` without the warning about threads: those of the libraries' are prepared for it."""
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
    """Those above standard error that are open."""
    return {number for name in os.listdir("/proc/self/fd") if (number := int(name)) > 2 and _is_open(number)}


def _is_open(number: int) -> bool:
    """The folder that was listed is closed by now."""
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
