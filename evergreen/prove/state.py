"""The state of a proof in a file, so that an interrupted one continues where it was."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from evergreen.errors import UsageError
from evergreen.names import Names

MODEL, STAGE = "flight-delays", "prod"
_STATE, _LOCK = "state.json", "prove.lock"
_VERSION = 1


@dataclass
class State:
    """A proof.

    Attributes:
        name: The application's name in the account, `prove` and eight hexadecimal digits.
        account: The account that it runs in.
        region: The region.
        began: When it was started, ISO 8601.
        done: The steps that have ended, in their order.
        facts: What steps found and later steps need, such as the ARN of an execution.
        rows: What was seen of an assumption, and whether it held, by the assumption's id.
        failure: Why no further step is tried, "" while steps are tried.
        finished: Whether everything is deleted again.
    """

    name: str
    account: str
    region: str
    began: str
    done: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    failure: str = ""
    finished: bool = False

    @property
    def names(self) -> Names:
        """The names of the model's parts in the account."""
        return Names(self.name, MODEL, STAGE)


def name_of(account: str, region: str, began: str) -> str:
    """Return the application's name: one word of 13 characters, as `name` of evergreen.yaml allows it."""
    return "prove" + hashlib.sha256(f"{account}|{region}|{began}".encode()).hexdigest()[:8]


class Store:
    """The folder that holds one folder for each proof.

    Args:
        root: The folder. It is created when something is written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, state: State) -> Path:
        """Return the folder of a proof."""
        return self.root / state.name

    def begin(self, account: str, region: str, now: datetime) -> State:
        """Return the state of a new proof, which is not written yet."""
        began = now.isoformat(timespec="seconds")
        return State(name_of(account, region, began), account, region, began)

    def unfinished(self, account: str, region: str) -> State | None:
        """Return the newest proof of an account and region that has not deleted everything, None without one."""
        found = [one for one in self._all() if (one.account, one.region, one.finished) == (account, region, False)]
        return max(found, key=lambda one: one.began, default=None)

    def named(self, name: str) -> State | None:
        """Return a proof by its name."""
        return next((one for one in self._all() if one.name == name), None)

    def save(self, state: State) -> None:
        """Write a state whole or not at all."""
        path = self.folder(state) / _STATE
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".draft")
        with draft.open("w", encoding="utf-8") as file:
            json.dump({"version": _VERSION, **asdict(state)}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)

    def _all(self) -> Iterator[State]:
        for path in sorted(self.root.glob(f"prove*/{_STATE}")):
            document = json.loads(path.read_text(encoding="utf-8"))
            if document.pop("version", None) != _VERSION:
                raise UsageError(f"{path} was written by another version of Evergreen; use that one to finish it.")
            yield State(**document)


class Lock:
    """A lock that the operating system releases when its holders have ended, whatever ended them.

    Children that inherit it hold it, too: a CDK CLI that outlives an interrupted proof must end before the next one.

    Args:
        root: The folder of all proofs.
    """

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._file = (root / _LOCK).open("a+", encoding="utf-8")

    @property
    def descriptor(self) -> int:
        """The descriptor to hand to children."""
        return self._file.fileno()

    def take(self) -> bool:
        """Take the lock if nobody holds it. Say whether it is held now.

        Raises:
            UsageError: Another proof holds it. A child that outlived its own is no such proof.
        """
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            holder = self._file.read().strip()
            if holder.isdigit() and _runs(int(holder)):
                raise UsageError(
                    f"Another `evergreen prove` runs here, process {holder}. Wait until it ends."
                ) from None
            return False
        self._file.seek(0)
        self._file.truncate()
        self._file.write(str(os.getpid()))
        self._file.flush()
        return True


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
