"""Client that asks the container's init for a forked Python; `sys.executable` names it in such a container.

Run as `python -E -s -S python_client.py <interpreter> <Python's arguments>`. It represents the forked process: it
forwards signals to it, ends when it ends, and exits with its exit code.
"""

from __future__ import annotations

import _socket
import os
import signal
import sys
from types import FrameType

import messages

_FORWARDED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


def _only_standard_descriptors() -> bool:
    """Return whether exactly 0, 1 and 2 are open; other descriptors would have to keep their numbers in the fork."""
    with os.scandir("/proc/self/fd") as entries:
        listed = {int(entry.name) for entry in entries}
    return {0, 1, 2} <= listed and len(listed) == 4  # the fourth is the folder being listed


def main() -> None:
    """Request a fork and represent it; run a new interpreter where that is not possible."""
    interpreter, *arguments = sys.argv[1:]
    if not _only_standard_descriptors():
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
    reply = connection.recv(16)
    code = int(reply) if reply else -signal.SIGKILL
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    main()
