"""Launcher: starts one container, and ends it with all its processes.

Run as `python -E -s -S launcher.py <status fd> <plan fd>`. It imports little (not even pathlib), because each job pays
for its start. The plan arrives as one line of JSON on the plan's pipe, because it holds credentials, which must not be
on a command line. The pipe then stays open as a lifeline: when the gateway dies, even by `kill -9`, the pipe closes and
the container is ended. Errors before the program runs are written to the status pipe. The status pipe closes empty when
the program has started.

With namespaces there are two processes above the program: this one, outside, and the container's init, inside. When
init ends, the kernel ends every process of the container, also detached ones.

Where the plan names a connection to a fork server (fork_server.py), a fork of that server runs the container. This
process then only forwards signals and the lifeline.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import warnings  # noqa: F401 (os.execvpe imports it, when the host's files may not be visible any more)
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

import messages
import mounts
import tree

if TYPE_CHECKING:
    from python_program import Interpreter, PythonProgram

SIOCSIFFLAGS, IFF_UP_RUNNING = 0x8914, 0x41

Plan = dict[str, Any]


def enter_namespaces(plan: Plan) -> None:
    """Enter new namespaces; a user other than root becomes root of a new user namespace first."""
    flags = mounts.CLONE_NEWNS
    flags |= mounts.CLONE_NEWPID if plan["pid_namespace"] else 0
    flags |= mounts.CLONE_NEWNET if plan["isolate_network"] else 0
    user, group = os.getuid(), os.getgid()
    if user != 0:
        flags |= mounts.CLONE_NEWUSER
    mounts.call("unshare", flags)
    if user != 0:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)


def enable_loopback() -> None:
    """Enable the loopback interface of a container without a network."""
    import fcntl
    import socket
    import struct

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        fcntl.ioctl(probe, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP_RUNNING))


def build_root(plan: Plan) -> None:
    """Enter the container's own file system, and its network where it has one."""
    if plan["isolate_network"]:
        enable_loopback()
    tree.enter(plan)


def die_with_parent() -> None:
    """Let the kernel kill this process when its parent ends (Linux)."""
    if sys.platform == "linux":
        mounts.die_with_parent(signal.SIGKILL)


class BecomeProgram(Exception):
    """Raised in a forked process, to unwind the stack and run `program` at the outermost level."""

    def __init__(self, program: PythonProgram) -> None:
        self.program = program


class ForkService(Protocol):
    """Starts further programs in the container's init, when a program of the container asks for one."""

    def descriptors(self) -> list[int]:
        """Return the descriptors to wait for."""

    def handle(self, ready: list[int]) -> None:
        """Handle the descriptors that are ready."""

    def on_exit(self, process: int, state: int) -> None:
        """Report the end of a process; `state` is from `waitpid`."""


def default_signals(*, python: bool) -> None:
    """Restore the signal handlers that a new program has; Python changes two of them."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler if python else signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN if python else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def hold_sigterm() -> None:
    """Keep SIGTERM pending until `watch_signals` or `default_signals`.

    A namespace's first process ignores a signal that it has no handler for. The program may print before that process
    has its handler; a SIGTERM in that moment would be lost, and the program would run on.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def execute(plan: Plan, status: int, interpreter: Interpreter | None) -> None:
    """Replace this process by the program; never return."""
    command, environment = plan["command"], plan["environment"]
    try:
        die_with_parent()
        os.setpgid(0, 0)
        if not plan["keep_stdin"]:
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
        interpreter.close_descriptors_except(set(plan["pass_fds"]))
    except OSError as error:
        os.write(status, f"{command[0]}: {error.strerror}".encode())
        os._exit(127)
    raise BecomeProgram(program)


def exit_code(state: int) -> int:
    """Return the exit code, 128 + n for a process that signal n ended."""
    return os.WEXITSTATUS(state) if os.WIFEXITED(state) else 128 + os.WTERMSIG(state)


def watch_signals(terminate: Callable[[], None]) -> int:
    """Call `terminate` on SIGTERM; return a descriptor that is readable after a signal, also after SIGCHLD."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def on_terminate(_number: int, _frame: FrameType | None) -> None:
        terminate()

    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGTERM, on_terminate)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    return reader


def supervise(
    child: int,
    terminate: Callable[[], None],
    kill: Callable[[], None],
    lifeline: int | None,
    fork_service: ForkService | None = None,
) -> int:
    """Supervise a child: forward SIGTERM, kill it when the lifeline closes, and reap all processes.

    Args:
        child: its process id.
        terminate: sends SIGTERM to it.
        kill: sends SIGKILL to it.
        lifeline: data on this descriptor means SIGTERM, its end means SIGKILL.
        fork_service: starts further programs.

    Returns:
        The child's exit code.
    """
    reader = watch_signals(terminate)
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
            if fork_service is not None:
                fork_service.on_exit(process, state)
        ready, _, _ = select.select([*waiting, *(fork_service.descriptors() if fork_service else ())], [], [])
        if reader in ready:
            os.read(reader, 4096)
        if lifeline is not None and lifeline in ready:
            if os.read(lifeline, 4096):
                terminate()
            else:
                kill()
                waiting = [reader]
        if fork_service is not None:
            fork_service.handle(ready)


def signal_sender(send: Callable[[int, int], None], process: int, number: int) -> Callable[[], None]:
    """Return a function that sends a signal, and does nothing where the process has ended."""

    def deliver() -> None:
        try:
            send(process, number)
        except ProcessLookupError:
            return

    return deliver


def run_program(plan: Plan, status: int, lifeline: int | None, interpreter: Interpreter | None = None) -> int:
    """Run the program in a process group of its own, below this process; return its exit code."""
    fork_service = None if interpreter is None else interpreter.fork_service()
    hold_sigterm()
    child = os.fork()
    if child == 0:
        execute(plan, status, interpreter)
    os.close(status)
    for descriptor in plan["pass_fds"]:
        os.close(descriptor)
    if plan["pid_namespace"]:
        terminate_all = signal_sender(os.kill, -1, signal.SIGTERM)
        return supervise(child, terminate_all, signal_sender(os.kill, -1, signal.SIGKILL), lifeline, fork_service)
    kill = signal_sender(os.killpg, child, signal.SIGKILL)
    code = supervise(child, signal_sender(os.killpg, child, signal.SIGTERM), kill, lifeline)
    kill()
    return code


def run(plan: Plan, status: int, lifeline: int, interpreter: Interpreter | None = None) -> int:
    """Run the container; return its exit code.

    Raises:
        BecomeProgram: in the process that must run the program with `interpreter`.
    """
    if not plan["namespaces"]:
        return run_program(plan, status, lifeline)
    enter_namespaces(plan)
    if not plan["pid_namespace"]:
        build_root(plan)
        return run_program(plan, status, lifeline)
    hold_sigterm()
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
        init, signal_sender(os.kill, init, signal.SIGTERM), signal_sender(os.kill, init, signal.SIGKILL), lifeline
    )


def run_in_fork(plan: Plan, status: int, lifeline: int) -> int:
    """Let a fork of the fork server run the container; return its exit code."""
    connection = messages.socket_of(plan["warm"])
    messages.send(connection, json.dumps(plan).encode(), [1, status, *plan["pass_fds"]])
    for descriptor in (status, *plan["pass_fds"]):
        os.close(descriptor)
    reader = watch_signals(lambda: connection.sendall(b"T"))
    waiting = [reader, lifeline, connection.fileno()]
    while True:
        ready, _, _ = select.select(waiting, [], [])
        if reader in ready:
            os.read(reader, 4096)
        if lifeline in ready and not os.read(lifeline, 4096):
            connection.shutdown(messages.WRITING)
            waiting.remove(lifeline)
        if connection.fileno() in ready:
            reply = connection.recv(16)
            return int(reply) if reply else 128 + signal.SIGKILL


def read_plan(pipe: int) -> Plan:
    """Read the plan."""
    text = b""
    while not text.endswith(b"\n"):
        piece = os.read(pipe, 65536)
        if not piece:
            raise SystemExit(1)
        text += piece
    return dict(json.loads(text))


def main() -> None:
    """Run the container, and exit with its exit code."""
    status, lifeline = map(int, sys.argv[1:])
    for descriptor in (status, lifeline):
        os.set_inheritable(descriptor, False)
    plan = read_plan(lifeline)
    try:
        code = run(plan, status, lifeline) if plan["warm"] is None else run_in_fork(plan, status, lifeline)
    except OSError as error:
        os.write(status, f"container: {error.strerror}".encode())
        code = 127
    os._exit(code)


if __name__ == "__main__":
    main()
