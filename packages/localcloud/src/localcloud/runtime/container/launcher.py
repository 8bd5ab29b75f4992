"""Starts one container and ends it with everything in it. Run as a program: `python -E -s -S launcher.py <status fd>`.

It imports next to nothing (no pathlib either), because each job pays for its start. The plan comes as one line of JSON
on standard input (it holds credentials, which have no place on a command line); the pipe stays open afterwards as a
lifeline: when the gateway dies, even by `kill -9`, it closes and the container is ended. Errors before the program runs
go to the status pipe, which closes without a word when the program has been started.

With namespaces there are two processes above the program: this one, outside, and the container's init, inside, whose
end makes the kernel end every process of the container, however it detached itself.

Where the plan names a connection to a warm Python (warm.py), a fork of that does all this, and this process passes on
what is told to it.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

import messages

if TYPE_CHECKING:
    from python_program import Interpreter, PythonProgram

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x00020000, 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE, MS_RELATIME = 4096, 16384, 1 << 18, 1 << 21
ST_SAME_AS_MS, ST_RELATIME = 0b1100_0000_1110, 4096  # nosuid, nodev, noexec, noatime, nodiratime have equal bits
PR_SET_PDEATHSIG = 1
SIOCSIFFLAGS, IFF_UP_RUNNING = 0x8914, 0x41

Plan = dict[str, Any]


def call(name: str, *arguments: Any) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def mount(source: str, target: str, kind: str | None, flags: int) -> None:
    try:
        call("mount", source.encode(), target.encode(), kind.encode() if kind else None, ctypes.c_ulong(flags), None)
    except OSError as error:
        raise OSError(error.errno, f"mount {source} on {target}: {error.strerror}") from error


def bind(source: str, target: str) -> None:
    mount(source, target, None, MS_BIND | MS_REC)


def enter_namespaces(plan: Plan) -> None:
    """Leave the host's namespaces; who may not do so as itself becomes root of a user namespace of its own."""
    flags = CLONE_NEWNS
    flags |= CLONE_NEWPID if plan["pid_namespace"] else 0
    flags |= CLONE_NEWNET if plan["isolate_network"] else 0
    user, group = os.getuid(), os.getgid()
    if user != 0:
        flags |= CLONE_NEWUSER
    call("unshare", flags)
    if user != 0:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)


def mirror(directory: str, staging: str, hidden: set[str]) -> None:
    """Make `staging` show what `directory` holds, except the names in `hidden`."""
    for entry in os.scandir(directory):
        place = os.path.join(staging, entry.name)
        if entry.name in hidden or os.path.lexists(place):
            continue
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), place)
            continue
        if entry.is_dir():
            os.mkdir(place)
        else:
            os.close(os.open(place, os.O_CREAT, 0o600))
        bind(entry.path, place)


def build_root(plan: Plan) -> None:
    """Give the container its own /opt/ml and /tmp; all else is the host's."""
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    if os.path.isdir("/opt/ml"):
        bind(plan["opt_ml"], "/opt/ml")
    else:
        staging = plan["opt"]
        mirror("/opt", staging, {"ml"})
        os.makedirs(os.path.join(staging, "ml"), exist_ok=True)
        bind(plan["opt_ml"], os.path.join(staging, "ml"))
        bind(staging, "/opt")
    for path in plan["keep"]:  # the interpreter or the project may themselves live below /tmp
        place = os.path.join(plan["tmp"], os.path.relpath(path, "/tmp"))  # noqa: S108
        os.makedirs(place, exist_ok=True)
        bind(path, place)
    bind(plan["tmp"], "/tmp")  # noqa: S108
    protect(plan["interpreter"])
    if plan["pid_namespace"]:
        mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    if plan["isolate_network"]:
        raise_loopback()


def protect(directory: str) -> None:
    """Make the Python environment read-only: a script's `pip install` must not change the developer's."""
    flags = os.statvfs(directory).f_flag
    kept = (flags & ST_SAME_AS_MS) | (MS_RELATIME if flags & ST_RELATIME else 0)  # locked in a user namespace
    bind(directory, directory)
    try:
        mount("none", directory, None, MS_REMOUNT | MS_BIND | MS_RDONLY | kept)
    except PermissionError:
        return  # some hosts forbid it; the container works as well without


def raise_loopback() -> None:
    """A container without a network still has itself."""
    import fcntl
    import socket
    import struct

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        fcntl.ioctl(probe, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP_RUNNING))


def die_with_parent() -> None:
    if sys.platform == "linux":
        call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL)


class Become(Exception):
    """Raised in the process that is to be `program`, through all that made it."""

    def __init__(self, program: PythonProgram) -> None:
        self.program = program


class Guests(Protocol):
    """Further programs that the container's init starts when one of its programs asks for them."""

    def descriptors(self) -> list[int]: ...
    def attend(self, ready: list[int]) -> None: ...
    def ended(self, process: int, state: int) -> None: ...


def default_signals(*, python: bool) -> None:
    """What a program finds when it starts; Python itself changes two of them."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler if python else signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN if python else signal.SIG_DFL)


def execute(plan: Plan, status: int, interpreter: Interpreter | None) -> None:
    """Become the program; never returns."""
    command, environment = plan["command"], plan["environment"]
    try:
        die_with_parent()
        os.setpgid(0, 0)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for descriptor in plan["pass_fds"]:
            os.set_inheritable(descriptor, True)
        os.chdir(plan["cwd"])
        program = None
        if interpreter is not None:
            environment = interpreter.on_path(environment)
            program = interpreter.program(command, environment)
        default_signals(python=program is not None)
        if interpreter is None or program is None:
            os.execvpe(command[0], command, environment)
        interpreter.close_all_but(set(plan["pass_fds"]))
    except OSError as error:
        os.write(status, f"{command[0]}: {error.strerror}".encode())
        os._exit(127)
    raise Become(program)


def exit_code(state: int) -> int:
    """128 + n for a process that signal n ended."""
    return os.WEXITSTATUS(state) if os.WIFEXITED(state) else 128 + os.WTERMSIG(state)


def waking_on_signals(terminate: Callable[[], None]) -> int:
    """Call `terminate` on SIGTERM; return a descriptor that can be read when a signal or a child's end has come."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def on_terminate(_number: int, _frame: FrameType | None) -> None:
        terminate()

    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGTERM, on_terminate)
    return reader


def supervise(
    child: int,
    terminate: Callable[[], None],
    kill: Callable[[], None],
    lifeline: int | None,
    guests: Guests | None = None,
) -> int:
    """Pass SIGTERM on, end the child when the lifeline breaks, reap what dies; return the child's exit code.

    What is said over the lifeline stands for SIGTERM too.
    """
    reader = waking_on_signals(terminate)
    waiting = [reader] if lifeline is None else [reader, lifeline]
    while True:
        while True:
            try:
                process, state = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return 1
            if process == child:
                return exit_code(state)
            if process == 0:
                break
            if guests is not None:
                guests.ended(process, state)
        ready, _, _ = select.select([*waiting, *(guests.descriptors() if guests else ())], [], [])
        if reader in ready:
            os.read(reader, 4096)
        if lifeline is not None and lifeline in ready:
            if os.read(lifeline, 4096):
                terminate()
            else:
                kill()
                waiting = [reader]
        if guests is not None:
            guests.attend(ready)


def signal_quietly(send: Callable[[int, int], None], process: int, number: int) -> Callable[[], None]:
    def deliver() -> None:
        try:
            send(process, number)
        except ProcessLookupError:
            return

    return deliver


def run_program(plan: Plan, status: int, lifeline: int | None, interpreter: Interpreter | None = None) -> int:
    """Run the program as a process group of its own, below this process."""
    guests = None if interpreter is None else interpreter.guests()
    child = os.fork()
    if child == 0:
        execute(plan, status, interpreter)
    os.close(status)
    for descriptor in plan["pass_fds"]:
        os.close(descriptor)
    if plan["pid_namespace"]:
        everyone = signal_quietly(os.kill, -1, signal.SIGTERM)
        return supervise(child, everyone, signal_quietly(os.kill, -1, signal.SIGKILL), lifeline, guests)
    kill = signal_quietly(os.killpg, child, signal.SIGKILL)
    code = supervise(child, signal_quietly(os.killpg, child, signal.SIGTERM), kill, lifeline)
    kill()
    return code


def run(plan: Plan, status: int, lifeline: int, interpreter: Interpreter | None = None) -> int:
    """Run the container; return its exit code.

    Raises:
        Become: in the process that is its program, where `interpreter` is to become it.
    """
    if not plan["namespaces"]:
        return run_program(plan, status, lifeline)
    enter_namespaces(plan)
    if not plan["pid_namespace"]:
        build_root(plan)
        return run_program(plan, status, lifeline)
    init = os.fork()
    if init == 0:
        try:
            die_with_parent()
            if interpreter is not None:
                os.close(lifeline)
            build_root(plan)
            code = run_program(plan, status, None, interpreter)
        except OSError as error:
            os.write(status, f"container: {error.strerror}".encode())
            code = 127
        os._exit(code)
    os.close(status)
    for descriptor in plan["pass_fds"]:
        os.close(descriptor)
    return supervise(
        init, signal_quietly(os.kill, init, signal.SIGTERM), signal_quietly(os.kill, init, signal.SIGKILL), lifeline
    )


def hand_over(plan: Plan, status: int) -> int:
    """Let a fork of a warm Python run the container; return its exit code."""
    connection = messages.socket_of(plan["warm"])
    messages.send(connection, json.dumps(plan).encode(), [1, status, *plan["pass_fds"]])
    for descriptor in (status, *plan["pass_fds"]):
        os.close(descriptor)
    reader = waking_on_signals(lambda: connection.sendall(b"T"))
    waiting = [reader, 0, connection.fileno()]
    while True:
        ready, _, _ = select.select(waiting, [], [])
        if reader in ready:
            os.read(reader, 4096)
        if 0 in ready and not os.read(0, 4096):
            connection.shutdown(messages.WRITING)
            waiting.remove(0)
        if connection.fileno() in ready:
            said = connection.recv(16)
            return int(said) if said else 128 + signal.SIGKILL


def read_plan() -> Plan:
    text = b""
    while not text.endswith(b"\n"):
        piece = os.read(0, 65536)
        if not piece:
            raise SystemExit(1)
        text += piece
    return dict(json.loads(text))


def main() -> None:
    status = int(sys.argv[1])
    os.set_inheritable(status, False)
    plan = read_plan()
    try:
        code = run(plan, status, 0) if plan["warm"] is None else hand_over(plan, status)
    except OSError as error:
        os.write(status, f"container: {error.strerror}".encode())
        code = 127
    os._exit(code)


if __name__ == "__main__":
    main()
