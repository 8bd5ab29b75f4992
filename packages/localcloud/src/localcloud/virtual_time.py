"""The accelerated clock: a file in the state folder, and this process on its time."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

from localcloud.hooks import virtual_clock

DEFAULT_START = datetime(2013, 3, 1, tzinfo=UTC)
_NANO = 1_000_000_000


class WrongClockError(ValueError):
    """The requested clock contradicts the one that the state folder has; the text says why."""


def file_of(state: Path) -> Path:
    """Return the clock's file. Its folder is its own: containers see it and nothing else of the state."""
    return state / "clock" / "offset"


def choose(state: Path, mode: str | None, start: datetime | None) -> bool:
    """Decide at `up`, once and for all, which clock a state folder uses; return whether it is accelerated.

    Args:
        state: The state folder.
        mode: "real", "accelerated", or None for the folder's own (real for a new folder).
        start: The first instant of an accelerated clock, by default 1 March 2013.

    Raises:
        WrongClockError: The folder's time would go back or change.
    """
    file = file_of(state)
    if file.exists():
        if mode == "real" or start is not None:
            raise WrongClockError(
                f"{state} already has an accelerated clock, which continues where it stopped; "
                "leave out --clock and --clock-start, or purge the state folder"
            )
        return True
    if mode != "accelerated":
        if start is not None:
            raise WrongClockError("--clock-start needs --clock accelerated")
        return False
    if (state / "localcloud.db").exists():
        raise WrongClockError(f"{state} holds a cloud on the real clock; purge it, or use another --state")
    file.parent.mkdir(parents=True, exist_ok=True)
    begin = start or DEFAULT_START
    virtual_clock.create(file, int((begin.timestamp() - virtual_clock.real_time()) * _NANO))
    (file.parent / "start").write_text(begin.isoformat())
    return True


def enter(state: Path) -> None:
    """Put this process, and all that it starts, on the folder's accelerated clock."""
    file = file_of(state).resolve()
    hooks = str(Path(virtual_clock.__file__).parent)
    _link_time_machine(file.parent)
    os.environ[virtual_clock.VARIABLE] = str(file)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (hooks, os.environ.get("PYTHONPATH"))))
    # ministack ends functions' processes that were idle for minutes: after each jump, that would be all of them.
    os.environ["LAMBDA_WARM_TTL_SECONDS"] = str(100 * 365 * 86400)
    virtual_clock.install(file)


def _link_time_machine(folder: Path) -> None:
    """Link time-machine beside the offset, for Pythons without it: a build has an environment of its own."""
    for name in ("time_machine", "_time_machine"):
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(f"an accelerated clock needs {name}: reinstall localcloud", name=name)
        source = Path(spec.origin)
        source = source.parent if source.name == "__init__.py" else source
        link = folder / source.name
        link.unlink(missing_ok=True)
        link.symlink_to(source)


class VirtualTime:
    """The clock of a state folder; it never goes back."""

    def __init__(self, state: Path) -> None:
        file = file_of(state)
        self._offset = virtual_clock.Offset(file, writable=True)
        self.start = datetime.fromisoformat((file.parent / "start").read_text()).timestamp()

    def now(self) -> float:
        """Return the virtual time in epoch seconds."""
        return virtual_clock.real_time() + self._offset.nanoseconds / _NANO

    def jump_to(self, moment: float) -> None:
        """Jump to `moment` (epoch seconds); a moment in the past changes nothing."""
        ahead = moment - self.now()
        if ahead > 0:
            self._offset.write(self._offset.nanoseconds + int(ahead * _NANO))
