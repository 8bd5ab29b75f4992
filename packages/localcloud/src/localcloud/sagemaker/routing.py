"""Routing of invocations to the fleets of an endpoint, with a count of the requests in flight.

A fleet has one worker for each of its variants. A variant's instances are slots of that worker, each with faults of its
own. While an update shifts traffic an endpoint has two fleets, the old one and the new one.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from localcloud.sagemaker.sampling import BlockSampler

Workers = Mapping[str, str]
_MAX_INVOCATION_SECONDS = 65.0


@dataclass(frozen=True)
class VariantTraffic:
    """The traffic of one variant of a fleet.

    Attributes:
        weight: relative to the other variants.
        instances: number of instances that have traffic.
    """

    weight: float
    instances: int


def traffic_by_variant(
    summaries: Sequence[Mapping[str, Any]], active: Callable[[int], int] = int
) -> dict[str, VariantTraffic]:
    """Return the traffic by variant name; a serverless variant counts as one instance.

    Args:
        summaries: `DescribeEndpoint.ProductionVariants`.
        active: returns the number of instances with traffic, given the number of instances.
    """
    return {
        one["VariantName"]: VariantTraffic(float(one["CurrentWeight"]), max(active(one["CurrentInstanceCount"]), 1))
        for one in summaries
    }


class ServingFleet:
    """The workers of one endpoint configuration; drain it before stopping them.

    Attributes:
        config: the endpoint configuration's name.
        workers: worker ids by variant.
        traffic: by variant; replaced as a whole when weights or counts change.
    """

    def __init__(self, config: str, workers: Workers, traffic: Mapping[str, VariantTraffic]) -> None:
        self.config, self.workers, self.traffic = config, workers, traffic
        self._in_flight = 0
        self._idle = threading.Condition()

    def choose(self) -> str | None:
        """Choose a variant by weight; return None where no variant has a weight."""
        current = self.traffic
        chances = [variant.weight for variant in current.values()]
        if not any(chances):
            return None
        return random.choices(list(current), chances)[0]  # noqa: S311 (routes traffic, guards nothing)

    @contextmanager
    def lease(self) -> Iterator[ServingFleet]:
        """Keep the workers running for one invocation."""
        with self._idle:
            self._in_flight += 1
        try:
            yield self
        finally:
            with self._idle:
                self._in_flight -= 1
                self._idle.notify_all()

    def drain(self) -> None:
        """Wait until no invocation is in flight, at most as long as one may take."""
        with self._idle:
            self._idle.wait_for(lambda: self._in_flight == 0, timeout=_MAX_INVOCATION_SECONDS)


@dataclass
class _EndpointFleets:
    """The fleets of one endpoint.

    Attributes:
        old: None while it is being started.
        new: None while no traffic is shifted.
        sampler: decides which requests go to the new fleet.
    """

    old: ServingFleet | None = None
    new: ServingFleet | None = None
    sampler: BlockSampler | None = None

    def next(self) -> ServingFleet | None:
        """Return the fleet for the next request."""
        if self.new is not None and self.sampler is not None and self.sampler.draw():
            return self.new
        return self.old


class TrafficRouter:
    """The fleets of all endpoints; an invocation during a restart waits for its fleet."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._endpoints: dict[str, _EndpointFleets] = {}

    @contextmanager
    def lease(self, endpoint_name: str, timeout: float) -> Iterator[ServingFleet]:
        """Reserve the fleet for the next request.

        Raises:
            LookupError: no fleet serves the endpoint, or none does within `timeout` seconds.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._is_expected(endpoint_name), timeout)
            fleets = self._endpoints.get(endpoint_name)
            fleet = fleets.next() if fleets is not None else None
            if fleet is None:
                raise LookupError(endpoint_name)
            held = fleet.lease()
            held.__enter__()
        try:
            yield fleet
        finally:
            held.__exit__(None, None, None)

    def _is_expected(self, endpoint_name: str) -> bool:
        fleets = self._endpoints.get(endpoint_name)
        return fleets is not None and fleets.old is None

    def expect(self, endpoint_name: str) -> None:
        """Let invocations wait for a fleet that is being started."""
        with self._changed:
            self._endpoints.setdefault(endpoint_name, _EndpointFleets())

    def connect(self, endpoint_name: str, fleet: ServingFleet) -> None:
        """Make this the only fleet that serves the endpoint."""
        with self._changed:
            self._endpoints[endpoint_name] = _EndpointFleets(fleet)
            self._changed.notify_all()

    def shift(self, endpoint_name: str, new: ServingFleet, share: Fraction) -> None:
        """Give a share of the traffic to the new fleet; the old one stays available, also without traffic."""
        with self._changed:
            fleets = self._endpoints[endpoint_name]
            fleets.new, fleets.sampler = new, BlockSampler(share)

    def revert(self, endpoint_name: str) -> ServingFleet | None:
        """Give all traffic to the old fleet; return the new one, if any."""
        with self._changed:
            fleets = self._endpoints[endpoint_name]
            new, fleets.new, fleets.sampler = fleets.new, None, None
        return new

    def set_weights(self, endpoint_name: str, traffic: Mapping[str, VariantTraffic]) -> None:
        """Set the weights and instance counts of the fleet that serves the endpoint."""
        with self._changed:
            fleets = self._endpoints.get(endpoint_name)
            if fleets is not None and fleets.old is not None:
                fleets.old.traffic = traffic

    def promote(self, endpoint_name: str) -> ServingFleet | None:
        """Make the new fleet the endpoint's only one; return the old one."""
        with self._changed:
            fleets = self._endpoints[endpoint_name]
            before, self._endpoints[endpoint_name] = fleets.old, _EndpointFleets(fleets.new)
        return before

    def disconnect(self, endpoint_name: str) -> list[ServingFleet]:
        """Remove the endpoint's fleets, and return them."""
        with self._changed:
            fleets = self._endpoints.pop(endpoint_name, None)
            self._changed.notify_all()
        return [one for one in (fleets.old, fleets.new) if one is not None] if fleets is not None else []
