"""Continuous saving of ministack's state, which ministack keeps in memory and saves at a clean shutdown only.

Every change of a service marks it. Every 0.3 seconds (less often if a save takes long) the marked services are copied
together on the event loop, where most changes happen, and written in one SQLite transaction. So CloudFormation's
records agree with the resources that it made. A request that may not be forgotten waits for the next save, which it
triggers and shares with the other ones that wait (`saved`); items and messages have a journal instead (journal.py). S3
objects are not part of this: ministack writes each to its own file before it answers (`S3_PERSIST`).
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ministack.app as ministack_app
import orjson
from ministack.core import persistence, responses
from ministack.services import cloudwatch, cloudwatch_logs, dynamodb

from localcloud.ministack_adapter.journal import OPERATIONS, Journal
from localcloud.ministack_adapter.patching import wrap

_log = logging.getLogger(__name__)
_PERIOD = 0.3  # seconds between two saves: with the copy and the commit, well under the promised second
_PAUSE_FACTOR = 5  # pause after a save, in multiples of its duration: a large state must not keep the loop busy
_LONGEST_PAUSE = 0.8  # seconds
_IDLE = 2.0  # seconds without a mark, after which everything is saved once, in case a change was not marked

# Services that a service changes in process, without a request to them.
_TOUCHES = {
    "s3": ("lambda", "sqs", "sns", "eventbridge"),
    "eventbridge": ("lambda", "sqs", "sns", "cloudwatch_logs"),
    "scheduler": ("lambda", "sqs", "sns", "cloudwatch_logs"),
    "sns": ("sqs", "lambda", "cloudwatch_logs"),
    "sqs": ("lambda",),
    "lambda": ("cloudwatch_logs", "cloudwatch", "sqs", "sns"),
    "cloudwatch": ("sns",),
    "iam": ("sts",),
}


class Snapshots:
    """Saves marked services in the background and restores them at the next start."""

    def __init__(self, path: Path, journal: Journal) -> None:
        self.journal = journal
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute("CREATE TABLE IF NOT EXISTS services (name TEXT PRIMARY KEY, state TEXT NOT NULL)")
        self._db.execute("CREATE TABLE IF NOT EXISTS journalled (name TEXT PRIMARY KEY, number INTEGER NOT NULL)")
        self._saved: dict[str, int] = {}
        self._outlines: dict[str, int] = {}  # of the saved states that hold archives
        self._outlined: dict[str, int] = {}  # of those being saved
        self._marked: set[str] = set()
        self._last_mark = time.monotonic()
        self._swept = True
        self._lock = threading.Lock()
        self._saving = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._waiting: list[asyncio.Future[None]] = []
        self._thread = threading.Thread(target=self._run, name="snapshots", daemon=True)

    def install(self) -> None:
        """Make ministack restore from here, and stop it from saving by itself."""
        wrap(ministack_app, "load_state", lambda _: self.load)
        wrap(ministack_app, "save_all", lambda _: lambda _services: None)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start saving; copies are made on this loop."""
        self._loop = loop
        self._thread.start()

    def mark(self, service: str, waiting: asyncio.Future[None] | None = None) -> None:
        """Mark a service as changed.

        Args:
            service: The name of its state (`ministack.app._state_map`).
            waiting: Done when the change is saved.
        """
        with self._lock:
            self._waiting += [] if waiting is None else [waiting]
            self._marked.add(service)
            self._marked.update(_TOUCHES.get(service, ()))
            self._last_mark = time.monotonic()
            self._swept = False

    async def saved(self, service: str) -> None:
        """Mark a service as changed, and wait until it is saved; call it on the event loop.

        Raises:
            Exception: It could not be saved.
        """
        if self._loop is None or self._stop.is_set():
            self.mark(service)  # the first, or the last, save is ahead
            return
        done = self._loop.create_future()
        self.mark(service, done)
        self._wake.set()
        await done

    def load(self, service: str) -> Any:
        """Return a service's saved state with what the journal knows of it since, or None."""
        row = self._db.execute("SELECT state FROM services WHERE name=?", (service,)).fetchone()
        if row is None:
            return None
        self._saved[service] = hash(row[0])
        state = json.loads(row[0], object_hook=persistence._json_object_hook)
        if service in OPERATIONS:
            row = self._db.execute("SELECT number FROM journalled WHERE name=?", (service,)).fetchone()
            if self.journal.replay(service, state, row[0] if row else 0):
                self.mark(service)
        return state

    def stop(self) -> None:
        """Save everything once more and close; call it off the event loop, while the loop still runs."""
        self._stop.set()
        self._wake.set()
        self._thread.join()
        self.save(None)
        self._db.close()

    def save(self, services: set[str] | None) -> None:
        """Save the named services, or all that are loaded, if they changed."""
        with self._saving:
            self._outlined.clear()
            texts, number = self._on_loop(services)
            changed = {name: text for name, text in texts.items() if self._has_changed(name, text)}
            journalled = [name for name in OPERATIONS if name in texts]
            if changed:
                self._db.execute("BEGIN IMMEDIATE")
                self._db.executemany("INSERT OR REPLACE INTO services VALUES (?, ?)", changed.items())
                positions = [(name, number) for name in journalled]
                self._db.executemany("INSERT OR REPLACE INTO journalled VALUES (?, ?)", positions)
                self._db.execute("COMMIT")
                self._saved.update({name: hash(text) for name, text in changed.items()})
            self._outlines |= self._outlined
            for name in journalled:
                self.journal.forget(name, number)

    def _has_changed(self, name: str, text: str) -> bool:
        return self._saved.get(name) != hash(text)

    def _run(self) -> None:
        pause = _PERIOD
        while True:
            self._wake.wait(pause)
            self._wake.clear()
            if self._stop.is_set():
                break
            began = time.monotonic()
            pause = _PERIOD
            with self._lock:
                marked, self._marked = self._marked, set()
                waiting, self._waiting = self._waiting, []
                sweep = not marked and not self._swept and time.monotonic() - self._last_mark > _IDLE
                self._swept = self._swept or sweep
            if not marked and not sweep:
                continue
            try:
                self.save(None if sweep else marked)
                self._tell(waiting, None)
            except Exception as error:  # noqa: BLE001
                # The next round tries again. An error must appear in the log and not end the thread.
                _log.exception("could not save %s", "all services" if sweep else sorted(marked))
                self._tell(waiting, error)
                with self._lock:
                    self._marked |= marked
                    self._swept = False
            pause = min(max(_PERIOD, _PAUSE_FACTOR * (time.monotonic() - began)), _LONGEST_PAUSE)

        self._tell(self._waiting, None)  # the save at the end follows

    def _tell(self, waiting: list[asyncio.Future[None]], error: Exception | None) -> None:
        """Let the requests go on that wait for a save."""

        def tell() -> None:
            for future in waiting:
                if future.done():
                    continue  # its client has gone
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(RuntimeError(f"the change could not be saved: {error}"))

        if waiting and self._loop is not None:
            self._loop.call_soon_threadsafe(tell)

    def _on_loop(self, services: set[str] | None) -> tuple[dict[str, str], int]:
        """Return the services' states, and the number of the journal's last entry that they hold."""
        loop = self._loop
        if loop is None:
            raise RuntimeError("snapshots were not started")

        async def copy() -> tuple[dict[str, Any], int]:
            return copies_of(services), self.journal.last

        copies, number = asyncio.run_coroutine_threadsafe(copy(), loop).result(timeout=30)
        texts = {name: state if isinstance(state, str) else self._text(name, state) for name, state in copies.items()}
        return {name: text for name, text in texts.items() if text is not None}, number

    def _text(self, name: str, state: Any) -> str | None:
        """Return the state's JSON; None if its outline shows no change, without a look at the functions' archives."""
        outline, archives = _outline(state)
        if not archives:
            return outline
        if self._outlines.get(name) == hash(outline):
            return None
        self._outlined[name] = hash(outline)
        return dump(state)


def copies_of(services: set[str] | None) -> dict[str, Any]:
    """Return a copy of each service's state, or its JSON where a deep copy would cost more."""
    copies: dict[str, Any] = {}
    for name, get_state in ministack_app._build_persistence_save_dict().items():
        if services is not None and name not in services:
            continue
        for _ in range(20):
            try:
                direct = BULKY.get(name)
                dump_state = dump if name in _WITH_FLOATS else dump_fast
                copies[name] = dump_state(direct()) if direct else get_state()
                break
            except RuntimeError as error:
                # A worker thread changed a container during the copy, which is rare: try again.
                if "changed size" not in str(error) and "mutated" not in str(error):
                    raise
        else:
            raise RuntimeError(f"{name} changed during each of 20 copies")
    return {name: state for name, state in copies.items() if state is not None}


def dump(state: Any) -> str:
    """Return the state's JSON as ministack writes it."""
    return json.dumps(state, default=persistence._json_default)


def dump_fast(state: Any) -> str:
    """Return the JSON of many small values without floats: orjson knows no NaN and no infinity."""
    try:
        text = orjson.dumps(state, default=persistence._json_default, option=orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError:  # a lone surrogate, or a number beyond 64 bits
        return dump(state)
    return text.decode()


def _outline(state: Any) -> tuple[str, int]:
    """Return the state's JSON with bytes replaced by length and (cached) hash, and the number of bytes objects."""
    found = 0

    def default(value: Any) -> Any:
        nonlocal found
        if isinstance(value, bytes):
            found += 1
            return [len(value), hash(value)]
        return persistence._json_default(value)

    return json.dumps(state, default=default), found


def _logs_state() -> Mapping[str, Any]:
    return {
        "log_groups": cloudwatch_logs._log_groups,
        "destinations": cloudwatch_logs._destinations,
        "resource_policies": cloudwatch_logs._resource_policies,
        "log_group_policies": cloudwatch_logs._log_group_policies,
        "metric_filters": cloudwatch_logs._metric_filters,
        "queries": cloudwatch_logs._queries,
        "log_records": cloudwatch_logs._log_records,
        "delivery_sources": cloudwatch_logs._delivery_sources,
        "delivery_destinations": cloudwatch_logs._delivery_destinations,
        "deliveries": cloudwatch_logs._deliveries,
    }


def _metrics_state() -> Mapping[str, Any]:
    return {
        "metrics": cloudwatch._metrics,
        "alarms": cloudwatch._alarms,
        "composite_alarms": cloudwatch._composite_alarms,
        "composite_triggers": cloudwatch._composite_triggers,
        "alarm_history": cloudwatch._alarm_history,
        "dashboards": cloudwatch._dashboards,
        "resource_tags": cloudwatch._resource_tags,
    }


def _tables_state() -> Mapping[str, Any]:
    tables = responses.AccountRegionScopedDict()
    for (account, region, name), table in dynamodb._tables.all_items():
        tables.set_scoped(account, region, name, {k: v for k, v in table.items() if k != dynamodb._INDEX_MEMBERS})
    return {
        "tables": tables,
        "tags": dynamodb._tags,
        "ttl_settings": dynamodb._ttl_settings,
        "pitr_settings": dynamodb._pitr_settings,
        "kinesis_destinations": dynamodb._kinesis_destinations,
        "contributor_insights": dynamodb._contributor_insights,
        "backups": dynamodb._backups,
        "resource_policies": dynamodb._resource_policies,
        "exports": dynamodb._exports,
        "imports": dynamodb._imports,
    }


# Items, log lines and metric values are many and small: copying them as objects costs ten times their JSON.
BULKY: dict[str, Callable[[], Mapping[str, Any]]] = {
    "cloudwatch_logs": _logs_state,
    "cloudwatch": _metrics_state,
    "dynamodb": _tables_state,
}
_WITH_FLOATS = ("cloudwatch",)
