"""Fork server: a Python that has imported a framework, and forks for each container.

Run as `python fork_server.py <control> <modules>`. For each container the gateway sends one end of a connection over
the control socket, and the container's launcher sends the plan over the other end. When the gateway ends, the control
socket closes, and the fork server ends with all its forks.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import sys

import launcher
import messages
from python_program import Interpreter, PythonProgram, fork


def main() -> PythonProgram | None:
    """Serve until the control socket closes.

    Returns:
        The program, in each process that must run one; None in the server itself.
    """
    control = socket.socket(fileno=int(sys.argv[1]))
    interpreter = Interpreter(sys.argv[2:], control.fileno())
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # forks report their exit code themselves
    control.sendall(b"R")
    while True:
        marker, received, _, _ = socket.recv_fds(control, 1, 1)
        if not marker:
            return None
        (descriptor,) = received
        if fork() == 0:
            control.close()
            return contain(descriptor, interpreter)
        os.close(descriptor)


def contain(descriptor: int, interpreter: Interpreter) -> PythonProgram:
    """Run a container in a fork, and send its exit code; return only in the container's program."""
    os.setsid()
    launcher.default_signals(python=True)
    connection = messages.socket_of(descriptor)
    body, received = messages.receive(connection)
    connection.detach()
    plan = json.loads(body)
    free = 1 + max([2, *plan["pass_fds"]])  # above all descriptors that the plan names
    lifeline, output, status, *passed = (
        fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, free) for number in (descriptor, *received)
    )
    for number in (descriptor, *received):
        os.close(number)
    for number, wanted in zip(passed, plan["pass_fds"], strict=True):
        os.dup2(number, wanted, inheritable=False)
        os.close(number)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    try:
        code = launcher.run(plan, status, lifeline, interpreter)
    except launcher.BecomeProgram as error:
        return error.program
    except OSError as error:
        os.write(status, f"container: {error.strerror}".encode())
        code = 127
    messages.socket_of(lifeline).sendall(b"%d" % code)
    os._exit(0)


if __name__ == "__main__":
    program = main()
    if program is not None:
        program.run()
