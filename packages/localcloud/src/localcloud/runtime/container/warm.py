"""A Python with a framework imported, of which each container is a fork. Run as `python warm.py <control> <modules>`.

The gateway sends one end of a connection over the control socket for each container; the container's launcher sends
the plan over the other. When the gateway ends, the control socket closes, and this ends with all its forks.
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
    """Serve; returns the program in each process that is to be one, and None at the end."""
    control = socket.socket(fileno=int(sys.argv[1]))
    interpreter = Interpreter(sys.argv[2:], control.fileno())
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # forks are not waited for: they tell how they ended
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
    """In a fork: run the container that is asked for, and tell how it ended; returns in its program alone."""
    os.setsid()
    launcher.default_signals(python=True)
    connection = messages.socket_of(descriptor)
    body, received = messages.receive(connection)
    connection.detach()
    plan = json.loads(body)
    free = 1 + max([2, *plan["pass_fds"]])  # above all that the plan numbers
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
    except launcher.Become as become:
        return become.program
    except OSError as error:
        os.write(status, f"container: {error.strerror}".encode())
        code = 127
    messages.socket_of(lifeline).sendall(b"%d" % code)
    os._exit(0)


if __name__ == "__main__":
    program = main()
    if program is not None:
        program.run()
