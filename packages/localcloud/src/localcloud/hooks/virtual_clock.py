"""The virtual clock in a process: real time plus an offset that all processes read from one shared file.

time-machine replaces `time.time`, `datetime.now` and the like. `time.sleep` and `time.monotonic` stay real, so waits
and time limits are unchanged. Between two jumps a virtual second is a real second.
"""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

VARIABLE = "LOCALCLOUD_CLOCK"
FOLDER = "clock"
"""Folder of an environment with its own time-machine, for a Python of another version than the gateway's."""

_SIZE = 8


def create(path: str | Path, offset: int) -> None:
    """Create the file with an offset in nanoseconds."""
    Path(path).write_bytes(offset.to_bytes(_SIZE, sys.byteorder, signed=True))


class Offset:
    """The shared offset. It is one machine word, so no reader sees half of a change."""

    def __init__(self, path: str | Path, *, writable: bool = False) -> None:
        with Path(path).open("r+b" if writable else "rb") as file:
            access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
            self._map = mmap.mmap(file.fileno(), _SIZE, access=access)
        self._words = memoryview(self._map).cast("q")

    @property
    def nanoseconds(self) -> int:
        """The offset in nanoseconds."""
        return self._words[0]

    def write(self, nanoseconds: int) -> None:
        """Set the offset."""
        self._words[0] = nanoseconds
        self._map.flush()


def install(path: str | Path) -> None:
    """Put this process, and its forks, on the virtual time of `path`."""
    # time-machine imports pytest if it can, for its fixture; that takes half a second.
    hidden = sys.modules.get("pytest")
    if hidden is None:
        sys.modules["pytest"] = None  # type: ignore[assignment]
    # This Python may have another environment, such as a build's; the gateway linked time-machine beside the offset.
    beside = [str(Path(sys.prefix, FOLDER)), str(Path(path).parent)]
    sys.path += beside
    try:
        import time_machine
    finally:
        for folder in beside:
            sys.path.remove(folder)
        if hidden is None:
            del sys.modules["pytest"]
    import _time_machine

    offset = Offset(path)

    class Shared(time_machine.Traveller):
        def time_ns(self) -> int:
            return int(_time_machine.original_time_ns()) + offset.nanoseconds

    time_machine.travel(0).start()
    time_machine.traveller_stack[:] = [Shared(0, None, tick=True)]


def real_time() -> float:
    """Return epoch seconds of the machine's own clock."""
    tool = sys.modules.get("_time_machine")
    if tool is None or not getattr(sys.modules.get("time_machine"), "traveller_stack", None):
        import time

        return time.time()
    return float(tool.original_time())
