"""A proof whose account is scripted by the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import boto3
import pytest

from evergreen.prove.proof import Proof
from evergreen.prove.state import Lock, Store
from evergreen.prove.waiting import Waits

ACCOUNT, REGION = "123456789012", "eu-west-1"
NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Client:
    """A client whose operations are functions; paginators give one page."""

    def __init__(self, operations: dict[str, Callable[..., Any]]) -> None:
        self._operations = operations
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        def call(**arguments: Any) -> Any:
            self.calls.append((operation, arguments))
            return self._operations[operation](**arguments)

        return call

    def get_paginator(self, operation: str) -> Any:
        call = getattr(self, operation)

        class Pages:
            def paginate(self, **arguments: Any) -> Iterator[Any]:
                yield call(**arguments)

        return Pages()


class Scripted(Proof):
    """A proof with clients of the test's, and what it said."""

    def __init__(self, folder: Path) -> None:
        self.said: list[str] = []
        self.time = Time()
        store = Store(folder)
        waits = Waits(self.said.append, self.time.sleep, lambda: self.time.now)
        session = boto3.Session(region_name=REGION)
        super().__init__(session, store, store.begin(ACCOUNT, REGION, NOW), Lock(folder), waits)

    def script(self, service: str, **operations: Callable[..., Any]) -> Client:
        """Let a client answer."""
        client = Client(operations)
        self._clients[service] = cast(Any, client)
        return client


@pytest.fixture
def proof(tmp_path: Path) -> Scripted:
    return Scripted(tmp_path)
