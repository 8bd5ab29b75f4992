"""The virtual clock as a process sees it: real time plus an offset that all processes read from one shared file.

`time.time`, `datetime.now` and their siblings are replaced by time-machine; `time.sleep` and `time.monotonic` stay
real, so waiting and time limits work as ever. Between two jumps the virtual second is a real second.
"""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

VARIABLE = "LOCALCLOUD_CLOCK"
_SIZE = 8


def create(path: str | Path, offset: int) -> None:
    """Make the file, with the offset in nanoseconds."""
    Path(path).write_bytes(offset.to_bytes(_SIZE, sys.byteorder, signed=True))


class Offset:
    """The shared number. It is written and read as one machine word, so no reader sees half of a change."""

    def __init__(self, path: str | Path, *, writable: bool = False) -> None:
        with Path(path).open("r+b" if writable else "rb") as file:
            access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
            self._map = mmap.mmap(file.fileno(), _SIZE, access=access)
        self._words = memoryview(self._map).cast("q")

    @property
    def nanoseconds(self) -> int:
        return self._words[0]

    def write(self, nanoseconds: int) -> None:
        self._words[0] = nanoseconds
        self._map.flush()


def install(path: str | Path) -> None:
    """Let this process and what it forks live in the virtual time of `path`."""
    # time-machine imports pytest where it can, for its fixture; a process of ours has no use for that half second.
    hidden = sys.modules.get("pytest")
    if hidden is None:
        sys.modules["pytest"] = None  # type: ignore[assignment]
    # This Python may be another environment's, as a build's is; the gateway put the tool beside the offset.
    beside = str(Path(path).parent)
    sys.path.append(beside)
    try:
        import time_machine
    finally:
        sys.path.remove(beside)
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
    """Epoch seconds of the machine's own clock, virtual time or not."""
    tool = sys.modules.get("_time_machine")
    if tool is None or not getattr(sys.modules.get("time_machine"), "traveller_stack", None):
        import time

        return time.time()
    return float(tool.original_time())
