"""Durable JSON documents.

One SQLite file in WAL mode: a document that `put` returned for survives `kill -9`. Keys are strings; `kind` is the
resource type (`"TrainingJob"`).
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Document = dict[str, Any]


class Store:
    """Thread-safe documents by (kind, key); `transaction()` groups several changes into one commit."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._depth = 0
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")  # survives kill -9; a power cut may lose the tail
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS documents (kind TEXT, key TEXT, body TEXT NOT NULL, PRIMARY KEY (kind, key))"
        )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Hold the lock and commit once at the end; an exception rolls everything back."""
        with self._lock:
            if self._depth == 0:
                self._db.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            except BaseException:
                self._depth -= 1
                if self._depth == 0:
                    self._db.execute("ROLLBACK")
                raise
            self._depth -= 1
            if self._depth == 0:
                self._db.execute("COMMIT")

    def put(self, kind: str, key: str, document: Document) -> None:
        """Insert or replace a document."""
        with self.transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", (kind, key, json.dumps(document, sort_keys=True))
            )

    def get(self, kind: str, key: str) -> Document | None:
        """Return a document, or None."""
        with self._lock:
            row = self._db.execute("SELECT body FROM documents WHERE kind=? AND key=?", (kind, key)).fetchone()
        return None if row is None else dict(json.loads(row[0]))

    def update(self, kind: str, key: str, **changes: Any) -> Document:
        """Merge `changes` into an existing document and return it.

        Raises:
            KeyError: There is no such document.
        """
        with self.transaction():
            document = self.get(kind, key)
            if document is None:
                raise KeyError(f"{kind} {key}")
            document.update(changes)
            self.put(kind, key, document)
        return document

    def delete(self, kind: str, key: str) -> bool:
        """Delete a document and return whether it existed."""
        with self.transaction():
            return self._db.execute("DELETE FROM documents WHERE kind=? AND key=?", (kind, key)).rowcount > 0

    def list(self, kind: str, prefix: str = "") -> list[tuple[str, Document]]:
        """Return all (key, document) of a kind whose key starts with `prefix`, in key order."""
        with self._lock:
            rows = self._db.execute(
                "SELECT key, body FROM documents WHERE kind=? AND substr(key, 1, ?)=? ORDER BY key",
                (kind, len(prefix), prefix),
            ).fetchall()
        return [(key, json.loads(body)) for key, body in rows]

    @property
    def revision(self) -> int:
        """A number that grows with each change, so that a reader knows whether to read again."""
        return self._db.total_changes

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.close()
