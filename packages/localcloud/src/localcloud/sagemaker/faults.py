"""Fault injection into endpoints' instances, to test alarms, rollbacks and releases.

All instances of a variant are slots of one worker, and each request is assigned to a slot that has traffic. A faulty
slot answers a share of its requests with HTTP 500 instead of the container's response, or delays its responses, or
both. Faults survive a restart and end with their fleet.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

from localcloud.sagemaker.context import Document
from localcloud.sagemaker.sampling import BlockSampler
from localcloud.store import Store

KIND = "InstanceFault"
_MAX_LATENCY_MS = 60_000


class InvalidFault(ValueError):
    """The fault is not valid; the message says why, in one line."""


@dataclass(frozen=True)
class Fault:
    """A fault of one instance.

    Attributes:
        error_rate: share of its requests that end in HTTP 500, exact over every 20 of them.
        latency_ms: added to each of its responses.
    """

    endpoint: str
    config: str
    instance: int
    error_rate: float = 0.0
    latency_ms: int = 0


class Faults:
    """The active faults."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._active: dict[tuple[str, str, int], tuple[Fault, BlockSampler]] = {}
        for _, members in store.list(KIND):
            self._activate(Fault(**members))

    def inject(
        self, endpoint: str, config: str, instance: int | None = None, *, error_rate: float = 0.0, latency_ms: int = 0
    ) -> list[Fault]:
        """Inject a fault into one instance, or into all instances of a fleet; it replaces an earlier one.

        Args:
            endpoint: the endpoint's name.
            config: the endpoint configuration that names the fleet.
            instance: its number, from 0; None for all.
            error_rate: see `Fault`.
            latency_ms: see `Fault`.

        Raises:
            InvalidFault: the fleet or the instance does not exist, or a value is out of range.
        """
        if not 0 <= error_rate <= 1:
            raise InvalidFault(f"error_rate must be from 0 to 1, got {error_rate:g}")
        if not 0 <= latency_ms <= _MAX_LATENCY_MS:
            raise InvalidFault(f"latency_ms must be from 0 to {_MAX_LATENCY_MS}, got {latency_ms}")
        if not error_rate and not latency_ms:
            raise InvalidFault("a fault needs an error_rate or a latency_ms above 0")
        count = self._instances(endpoint, config)
        if instance is not None and not 0 <= instance < count:
            raise InvalidFault(f"the fleet of {config} has the instances 0 to {count - 1}, got {instance}")
        faults = [
            Fault(endpoint, config, number, error_rate, latency_ms)
            for number in (range(count) if instance is None else [instance])
        ]
        with self._store.transaction():
            for fault in faults:
                self._store.put(KIND, _key(fault), asdict(fault))
                self._activate(fault)
        return faults

    def clear(self, endpoint: str | None = None, config: str | None = None, instance: int | None = None) -> int:
        """Remove the faults that match; return how many were removed."""
        wanted = (endpoint, config, instance)
        with self._store.transaction(), self._lock:
            matching = [
                key
                for key in self._active
                if all(
                    filter_value is None or filter_value == value
                    for filter_value, value in zip(wanted, key, strict=True)
                )
            ]
            for key in matching:
                fault, _ = self._active.pop(key)
                self._store.delete(KIND, _key(fault))
        return len(matching)

    def all(self) -> list[Fault]:
        """Return the active faults."""
        with self._lock:
            return [fault for fault, _ in self._active.values()]

    def draw(self, endpoint: str, config: str, instance: int) -> tuple[float, bool]:
        """Return the effect of an instance's faults on one request: (seconds of delay, whether it fails)."""
        with self._lock:
            found = self._active.get((endpoint, config, instance))
        if found is None:
            return 0.0, False
        fault, sampler = found
        return fault.latency_ms / 1000, sampler.draw()

    def _activate(self, fault: Fault) -> None:
        sampler = BlockSampler(Fraction(fault.error_rate).limit_denominator(10_000))
        with self._lock:
            self._active[fault.endpoint, fault.config, fault.instance] = fault, sampler

    def _instances(self, endpoint: str, config: str) -> int:
        """Return the number of instances of the fleet that serves or will serve the configuration."""
        document = self._store.get("Endpoint", endpoint)
        if document is None:
            raise InvalidFault(f"there is no endpoint {endpoint}")
        pending = document.get("PendingDeploymentSummary") or {}
        fleets: Mapping[str, list[Document]] = {
            document["EndpointConfigName"]: document.get("ProductionVariants", []),
            pending.get("EndpointConfigName", ""): pending.get("ProductionVariants", []),
        }
        if not config or config not in fleets:
            known = ", ".join(sorted(filter(None, fleets)))
            raise InvalidFault(f"endpoint {endpoint} has no fleet of {config or '(no configuration)'}; it has: {known}")
        return max((_count(variant) for variant in fleets[config]), default=1)


def _count(variant: Mapping[str, Any]) -> int:
    return max(int(variant.get("DesiredInstanceCount", 1)), 1)


def _key(fault: Fault) -> str:
    return f"{fault.endpoint}/{fault.config}/{fault.instance}"
