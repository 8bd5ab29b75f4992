"""The fleets that answer for an endpoint at this moment, and who still waits for an answer of theirs.

A fleet has one worker for each of its variants; the variant's instances are slots of that worker, which faults strike
one by one. While an update shifts traffic an endpoint has two fleets, the old one and the new one.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from localcloud.sagemaker.deck import Deck

Workers = Mapping[str, str]
_LONGEST_INVOCATION = 65.0


@dataclass(frozen=True)
class Place:
    """One variant of a fleet: its weight among the variants, and how many of its instances have traffic."""

    weight: float
    instances: int


def places(summaries: Sequence[Mapping[str, Any]], active: Callable[[int], int] = int) -> dict[str, Place]:
    """From `DescribeEndpoint.ProductionVariants`; a serverless variant counts as one instance."""
    return {
        one["VariantName"]: Place(float(one["CurrentWeight"]), max(active(one["CurrentInstanceCount"]), 1))
        for one in summaries
    }


class Serving:
    """One fleet: the workers of one endpoint configuration; it is drained before its workers are stopped.

    Attributes:
        config: the endpoint configuration's name.
        workers: worker ids by variant.
        places: by variant; replaced as a whole when weights or counts change.
    """

    def __init__(self, config: str, workers: Workers, where: Mapping[str, Place]) -> None:
        self.config, self.workers, self.places = config, workers, where
        self._in_flight = 0
        self._idle = threading.Condition()

    def choose(self) -> str | None:
        """A variant by weight; None where none has one."""
        current = self.places
        chances = [place.weight for place in current.values()]
        if not any(chances):
            return None
        return random.choices(list(current), chances)[0]  # noqa: S311 (routes traffic, guards nothing)

    @contextmanager
    def lease(self) -> Iterator[Serving]:
        """Hold the workers for one invocation."""
        with self._idle:
            self._in_flight += 1
        try:
            yield self
        finally:
            with self._idle:
                self._in_flight -= 1
                self._idle.notify_all()

    def drain(self) -> None:
        """Wait until no invocation is under way, at most as long as one may take."""
        with self._idle:
            self._idle.wait_for(lambda: self._in_flight == 0, timeout=_LONGEST_INVOCATION)


@dataclass
class _Traffic:
    """The fleets of one endpoint; `old` is None while it is being started."""

    old: Serving | None = None
    new: Serving | None = None
    turns: Deck | None = None

    def next(self) -> Serving | None:
        """Who answers the next request."""
        if self.new is not None and self.turns is not None and self.turns.draw():
            return self.new
        return self.old


class Switchboard:
    """Which fleets serve which endpoint; an invocation during a restart waits for the fleet."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._traffic: dict[str, _Traffic] = {}

    @contextmanager
    def lease(self, endpoint_name: str, timeout: float) -> Iterator[Serving]:
        """Hold the fleet whose turn it is.

        Raises:
            LookupError: no fleet serves the endpoint, or none does within `timeout` seconds.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._is_awaited(endpoint_name), timeout)
            traffic = self._traffic.get(endpoint_name)
            serving = traffic.next() if traffic is not None else None
            if serving is None:
                raise LookupError(endpoint_name)
            held = serving.lease()
            held.__enter__()
        try:
            yield serving
        finally:
            held.__exit__(None, None, None)

    def _is_awaited(self, endpoint_name: str) -> bool:
        traffic = self._traffic.get(endpoint_name)
        return traffic is not None and traffic.old is None

    def expect(self, endpoint_name: str) -> None:
        """Let invocations wait: a fleet is about to serve the endpoint."""
        with self._changed:
            self._traffic.setdefault(endpoint_name, _Traffic())

    def connect(self, endpoint_name: str, serving: Serving) -> None:
        """Let this fleet, and no other, serve the endpoint."""
        with self._changed:
            self._traffic[endpoint_name] = _Traffic(serving)
            self._changed.notify_all()

    def shift(self, endpoint_name: str, new: Serving, share: Fraction) -> None:
        """Give a share of the traffic to the new fleet; the old one keeps standing by, also when it has none."""
        with self._changed:
            traffic = self._traffic[endpoint_name]
            traffic.new, traffic.turns = new, Deck(share)

    def step_back(self, endpoint_name: str) -> Serving | None:
        """All traffic to the old fleet; return the new one, where there was one already."""
        with self._changed:
            traffic = self._traffic[endpoint_name]
            new, traffic.new, traffic.turns = traffic.new, None, None
        return new

    def reweigh(self, endpoint_name: str, where: Mapping[str, Place]) -> None:
        """Take new weights and instance counts for the fleet that serves."""
        with self._changed:
            traffic = self._traffic.get(endpoint_name)
            if traffic is not None and traffic.old is not None:
                traffic.old.places = where

    def promote(self, endpoint_name: str) -> Serving | None:
        """Let the new fleet be the endpoint's only one; return the one before."""
        with self._changed:
            traffic = self._traffic[endpoint_name]
            before, self._traffic[endpoint_name] = traffic.old, _Traffic(traffic.new)
        return before

    def disconnect(self, endpoint_name: str) -> list[Serving]:
        """Let nothing serve the endpoint; return the fleets that did."""
        with self._changed:
            traffic = self._traffic.pop(endpoint_name, None)
            self._changed.notify_all()
        return [one for one in (traffic.old, traffic.new) if one is not None] if traffic is not None else []
