"""The saved state of the services, without a gateway."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from ministack.core import responses

from localcloud.ministack_adapter import cfn_types, snapshots
from localcloud.ministack_adapter.journal import Journal
from localcloud.ministack_adapter.snapshots import Snapshots

State = dict[str, Any]


def _snapshots(folder: Path) -> Snapshots:
    return Snapshots(folder / "state.db", Journal(folder / "journal.db"))


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Yield a running event loop, as the gateway has."""
    found = asyncio.new_event_loop()
    thread = threading.Thread(target=found.run_forever)
    thread.start()
    yield found
    found.call_soon_threadsafe(found.stop)
    thread.join()
    found.close()


@pytest.fixture
def dumped(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Collect the states that were written in full, with archives."""
    found: list[Any] = []
    original: Callable[[Any], str] = snapshots.dump

    def dump(state: Any) -> str:
        found.append(state)
        return original(state)

    monkeypatch.setattr(snapshots, "dump", dump)
    return found


def test_a_functions_archive_is_written_when_something_of_the_service_changed_and_only_then(
    tmp_path: Path, loop: asyncio.AbstractEventLoop, dumped: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    state: State = {"functions": {"f": {"code": b"\x00zip" * 1000, "memory": 128}}}
    monkeypatch.setattr(snapshots, "copies_of", lambda _: {"lambda": state, "ssm": {"a": 1}})
    saved = _snapshots(tmp_path)
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
    again = _snapshots(tmp_path)
    assert again.load("lambda") == state
    assert again.load("ssm") == {"a": 1}


@pytest.mark.parametrize("name", snapshots.BULKY)
def test_what_is_saved_without_a_copy_is_all_that_ministack_would_save(name: str) -> None:
    theirs = import_module(f"ministack.services.{name}").get_state()
    assert snapshots.dump(snapshots.BULKY[name]()) == snapshots.dump(theirs)


def test_a_metric_that_is_no_number_is_read_back_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(snapshots.BULKY, "cloudwatch", lambda: {"metrics": [float("nan"), float("inf")]})
    monkeypatch.setattr("ministack.app._build_persistence_save_dict", lambda: {"cloudwatch": dict})
    not_a_number, infinite = json.loads(snapshots.copies_of(None)["cloudwatch"])["metrics"]
    assert not_a_number != not_a_number
    assert infinite == float("inf")


@pytest.mark.parametrize("value", [("a", 1), {"k": "ü"}, {1: "number"}, b"\x00\xff", "\ud800", 2**70])
def test_the_quick_way_writes_what_the_other_reads(value: object) -> None:
    state = responses.AccountRegionScopedDict()
    state["table"] = {"items": {"pk": {"sk": {"value": value}}}}
    quick, slow = snapshots.dump_fast({"tables": state}), snapshots.dump({"tables": state})
    assert json.loads(quick) == json.loads(slow)


def test_what_a_stack_is_about_to_make_is_saved_before_it_is_made(
    tmp_path: Path, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack: State = {"StackName": "serving"}
    monkeypatch.setattr(cfn_types, "_stacks", {"serving": stack})
    monkeypatch.setattr(snapshots, "copies_of", lambda _: {"cloudformation": {"stacks": stack}})
    saved = _snapshots(tmp_path)
    saved.start(loop)
    with cfn_types.ProgressNote(saved, "serving", "Endpoint", "AWS::SageMaker::Endpoint", "endpoint-1", {}):
        killed_now = _snapshots(tmp_path).load("cloudformation")
    assert killed_now["stacks"]["_under_way"]["Endpoint"]["PhysicalResourceId"] == "endpoint-1"
    saved.stop()
    assert _snapshots(tmp_path).load("cloudformation")["stacks"]["_under_way"] == {}
