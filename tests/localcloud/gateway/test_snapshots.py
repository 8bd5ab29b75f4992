"""What is saved of the services' state, without a gateway."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from localcloud.ministack_adapter import snapshots
from localcloud.ministack_adapter.snapshots import Snapshots

State = dict[str, Any]


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that runs, as the gateway's does."""
    found = asyncio.new_event_loop()
    thread = threading.Thread(target=found.run_forever)
    thread.start()
    yield found
    found.call_soon_threadsafe(found.stop)
    thread.join()
    found.close()


@pytest.fixture
def dumped(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was written out whole, archives and all."""
    found: list[Any] = []
    original: Callable[[Any], str] = snapshots._dump

    def dump(state: Any) -> str:
        found.append(state)
        return original(state)

    monkeypatch.setattr(snapshots, "_dump", dump)
    return found


def test_a_functions_archive_is_written_when_something_of_the_service_changed_and_only_then(
    tmp_path: Path, loop: asyncio.AbstractEventLoop, dumped: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    state: State = {"functions": {"f": {"code": b"\x00zip" * 1000, "memory": 128}}}
    monkeypatch.setattr(snapshots, "_copies", lambda _: {"lambda": state, "ssm": {"a": 1}})
    saved = Snapshots(tmp_path / "state.db")
    saved.start(loop)
    saved.save({"lambda"})
    saved.save({"lambda"})
    assert len(dumped) == 1
    state["functions"]["f"]["memory"] = 256
    saved.save({"lambda"})
    state["functions"]["f"]["code"] = b"\x00zip" * 999 + b"\x01zip"
    saved.save({"lambda"})
    assert len(dumped) == 3
    saved.stop()
    again = Snapshots(tmp_path / "state.db")
    assert again.load("lambda") == state
    assert again.load("ssm") == {"a": 1}
