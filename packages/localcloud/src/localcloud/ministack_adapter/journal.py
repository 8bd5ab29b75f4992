"""A write-ahead journal of DynamoDB's items and SQS's messages, which are too many to be saved whole at each write.

Each acknowledged request that changes some of them appends their new values before it is answered. The next save of the
service's whole state makes its entries superfluous. At a start the entries that are newer than the saved state are
applied to it: each holds a complete value, so that applying it twice does no harm.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import orjson
from ministack.core import persistence, responses
from ministack.services import dynamodb, sqs

from localcloud.ministack_adapter.patching import wrap

# Operations whose changes are journalled; the other ones wait until the service's state is saved.
OPERATIONS = {
    "dynamodb": frozenset({
        "PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems", "ExecuteStatement",
        "BatchExecuteStatement", "ExecuteTransaction",
    }),
    "sqs": frozenset({
        "SendMessage", "SendMessageBatch", "ReceiveMessage", "DeleteMessage", "DeleteMessageBatch",
        "ChangeMessageVisibility", "ChangeMessageVisibilityBatch",
    }),
}  # fmt: skip
# (account, region, table or queue URL, identity inside of it)
Key = tuple[str, str, str, tuple[str, ...]]
_touched: ContextVar[dict[Key, None] | None] = ContextVar("localcloud_touched", default=None)


class Journal:
    """The journal's file. Thread-safe."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=OFF")  # no wait for the disk: kill -9 loses nothing, a power cut may
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS entries "
            "(number INTEGER PRIMARY KEY AUTOINCREMENT, service TEXT NOT NULL, entry TEXT NOT NULL)"
        )
        row = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name='entries'").fetchone()
        self.last = int(row[0]) if row else 0

    def install(self) -> None:
        """Notice which items and messages a request changes."""
        wrap(dynamodb, "_set_item", _touching_items)
        wrap(dynamodb, "_remove_item", _touching_items)
        wrap(sqs, "_act_send_message", _touching_sent)  # by which a batch sends, too
        handlers = sqs._HANDLERS
        handlers["SendMessage"] = sqs._act_send_message
        handlers["ReceiveMessage"] = _touching_received(handlers["ReceiveMessage"])
        for action in (
            "DeleteMessage",
            "DeleteMessageBatch",
            "ChangeMessageVisibility",
            "ChangeMessageVisibilityBatch",
        ):
            handlers[action] = _touching_handles(handlers[action])

    @contextmanager
    def recording(self, service: str, operation: str) -> Iterator[None]:
        """Append what the request inside changes, at its end."""
        if operation not in OPERATIONS.get(service, ()):
            yield
            return
        touched: dict[Key, None] = {}
        token = _touched.set(touched)
        try:
            yield
        finally:
            _touched.reset(token)
            if touched:
                self._append(service, touched)

    def _append(self, service: str, touched: dict[Key, None]) -> None:
        values = [[*key, _VALUES[service](key)] for key in touched]
        text = orjson.dumps(values, default=persistence._json_default, option=orjson.OPT_NON_STR_KEYS).decode()
        with self._lock:
            cursor = self._db.execute("INSERT INTO entries (service, entry) VALUES (?, ?)", (service, text))
            self.last = int(cursor.lastrowid or self.last)

    def replay(self, service: str, state: Any, after: int) -> int:
        """Apply the entries after a number to a saved state; return how many there were."""
        rows = self._db.execute(
            "SELECT entry FROM entries WHERE service=? AND number>? ORDER BY number", (service, after)
        ).fetchall()
        for (text,) in rows:
            for account, region, name, identity, value in json.loads(text, object_hook=persistence._json_object_hook):
                _APPLY[service](state, (account, region, name, tuple(identity)), value)
        return len(rows)

    def forget(self, service: str, until: int) -> None:
        """Delete the entries that a saved state holds."""
        with self._lock:
            self._db.execute("DELETE FROM entries WHERE service=? AND number<=?", (service, until))

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def _touch(name: str, *identity: str) -> None:
    touched = _touched.get()
    if touched is not None:
        touched[responses.get_account_id(), responses.get_region(), name, identity] = None


def _touching_items(original: Callable[..., Any]) -> Callable[..., Any]:
    def change(table: dict[str, Any], pk_val: str, sk_val: str, *rest: Any) -> Any:
        _touch(table["TableName"], pk_val, sk_val)
        return original(table, pk_val, sk_val, *rest)

    return change


def _touching_sent(original: Callable[..., Any]) -> Callable[..., Any]:
    def act(data: dict[str, Any], qurl: str) -> Any:
        reply = original(data, qurl)
        _touch(_queue(data, qurl)["url"], reply["MessageId"])
        return reply

    return act


def _touching_handles(original: Callable[..., Any]) -> Callable[..., Any]:
    """Notice the messages that a request names by their receipt handles, before it deletes them."""

    def act(data: dict[str, Any], qurl: str) -> Any:
        queue = _queue(data, qurl)
        handles = {entry.get("ReceiptHandle") for entry in (data, *(data.get("Entries") or ()))} - {None}
        for message in queue["messages"]:
            if message["receipt_handle"] in handles:
                _touch(queue["url"], message["id"])
        return original(data, qurl)

    return act


def _touching_received(original: Callable[..., Any]) -> Callable[..., Any]:
    async def act(data: dict[str, Any], qurl: str) -> Any:
        reply = await original(data, qurl)
        for message in reply.get("Messages") or ():
            _touch(_queue(data, qurl)["url"], message["MessageId"])
        return reply

    return act


def _queue(data: dict[str, Any], qurl: str) -> dict[str, Any]:
    queue: dict[str, Any] = sqs._get_q(data.get("QueueUrl", qurl))
    return queue


def _item(key: Key) -> Any:
    account, region, name, (partition, sort) = key
    table = dynamodb._tables.get_scoped(account, region, name) or {}
    return table.get("items", {}).get(partition, {}).get(sort)


def _apply_item(state: Any, key: Key, item: Any) -> None:
    account, region, name, (partition, sort) = key
    table = state["tables"].get_scoped(account, region, name)
    if table is None:
        return  # it was deleted, which is saved
    items = table["items"]
    if item is None:
        items.get(partition, {}).pop(sort, None)
        if not items.get(partition, True):
            del items[partition]
    else:
        items.setdefault(partition, {})[sort] = item
    table["ItemCount"] = sum(len(sorts) for sorts in items.values())


def _message(key: Key) -> Any:
    account, region, url, (identity,) = key
    queue = sqs._queues.get_scoped(account, region, url) or {}
    message = next((one for one in reversed(queue.get("messages", ())) if one["id"] == identity), None)
    return {"message": message, "dedup_cache": queue.get("dedup_cache"), "fifo_seq": queue.get("fifo_seq")}


def _apply_message(state: Any, key: Key, value: dict[str, Any]) -> None:
    account, region, url, (identity,) = key
    queue = state["queues"].get_scoped(account, region, url)
    if queue is None:
        return
    messages, new = queue["messages"], value["message"]
    place = next((number for number, one in enumerate(messages) if one["id"] == identity), len(messages))
    messages[place : place + 1] = [] if new is None else [new]
    queue["dedup_cache"], queue["fifo_seq"] = value["dedup_cache"], value["fifo_seq"]


_VALUES: dict[str, Callable[[Key], Any]] = {"dynamodb": _item, "sqs": _message}
_APPLY: dict[str, Callable[[Any, Key, Any], None]] = {"dynamodb": _apply_item, "sqs": _apply_message}
