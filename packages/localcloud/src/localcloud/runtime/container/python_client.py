"""What `sys.executable` names in a container with a warm Python: asks the container's init for one of its forks.

Run as `python -E -s -S python_client.py <interpreter> <Python's arguments>`. It stands for the process that it asked
for: signals go on to that one, its end is that one's end, and its exit code is that one's.
"""

from __future__ import annotations

import _socket
import os
import signal
import sys
from types import FrameType

import messages

_FORWARDED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


def only_standard_descriptors() -> bool:
    """Whether 0, 1 and 2 are open and nothing else; what is handed on otherwise has to keep its numbers."""
    with os.scandir("/proc/self/fd") as entries:
        listed = {int(entry.name) for entry in entries}
    return {0, 1, 2} <= listed and len(listed) == 4  # and the folder that is being listed


def main() -> None:
    interpreter, *arguments = sys.argv[1:]
    if not only_standard_descriptors():
        os.execv(interpreter, [interpreter, *arguments])
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.connect(messages.SOCKET)
    except OSError:
        os.execv(interpreter, [interpreter, *arguments])
    variables = [name + b"=" + value for name, value in os.environb.items()]
    words = [os.fsencode(word) for word in arguments]
    fields = [b"%d" % len(words), *words, os.fsencode(os.getcwd()), b"%d" % os.getpgrp(), *variables]
    messages.send(connection, b"\0".join(fields), [0, 1, 2])

    def forward(number: int, _frame: FrameType | None) -> None:
        connection.sendall(bytes([number]))

    for number in _FORWARDED:
        signal.signal(number, forward)
    said = connection.recv(16)
    code = int(said) if said else -signal.SIGKILL
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    main()
