"""Faults of endpoints' instances, for tests of what a fleet, an alarm and a release do about them.

An instance is a slot of its fleet: all instances of a variant are one worker here, and a request is given to one of
the slots that have traffic. A faulty one answers a share of its requests with HTTP 500 in the container's place, or
late, or both. Faults outlive a restart, and end with their fleet.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

from localcloud.sagemaker.context import Document
from localcloud.sagemaker.deck import Deck
from localcloud.store import Store

KIND = "InstanceFault"
_LONGEST_LATENCY_MS = 60_000


class WrongFault(ValueError):
    """The fault cannot be: the text says why, in one line."""


@dataclass(frozen=True)
class Fault:
    """What is wrong with one instance.

    Attributes:
        error_rate: share of its requests that end in HTTP 500, kept over every twenty of them.
        latency_ms: added to each of its answers.
    """

    endpoint: str
    config: str
    instance: int
    error_rate: float = 0.0
    latency_ms: int = 0


class Faults:
    """The faults that are in force."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._struck: dict[tuple[str, str, int], tuple[Fault, Deck]] = {}
        for _, members in store.list(KIND):
            self._remember(Fault(**members))

    def inject(
        self, endpoint: str, config: str, instance: int | None = None, *, error_rate: float = 0.0, latency_ms: int = 0
    ) -> list[Fault]:
        """Put a fault on an instance (from 0), or on all of a fleet's; it replaces the one before.

        Raises:
            WrongFault: no such fleet or instance, or values that cannot be.
        """
        if not 0 <= error_rate <= 1:
            raise WrongFault(f"error_rate is a share from 0 to 1, got {error_rate:g}")
        if not 0 <= latency_ms <= _LONGEST_LATENCY_MS:
            raise WrongFault(f"latency_ms is from 0 to {_LONGEST_LATENCY_MS}, got {latency_ms}")
        if not error_rate and not latency_ms:
            raise WrongFault("a fault has an error_rate or a latency_ms above 0")
        count = self._instances(endpoint, config)
        if instance is not None and not 0 <= instance < count:
            raise WrongFault(f"the fleet of {config} has the instances 0 to {count - 1}, got {instance}")
        faults = [
            Fault(endpoint, config, number, error_rate, latency_ms)
            for number in (range(count) if instance is None else [instance])
        ]
        with self._store.transaction():
            for fault in faults:
                self._store.put(KIND, _key(fault), asdict(fault))
                self._remember(fault)
        return faults

    def clear(self, endpoint: str | None = None, config: str | None = None, instance: int | None = None) -> int:
        """Take the faults away that match; return how many did."""
        wanted = (endpoint, config, instance)
        with self._store.transaction(), self._lock:
            matching = [
                key
                for key in self._struck
                if all(asked is None or asked == has for asked, has in zip(wanted, key, strict=True))
            ]
            for key in matching:
                fault, _ = self._struck.pop(key)
                self._store.delete(KIND, _key(fault))
        return len(matching)

    def all(self) -> list[Fault]:
        with self._lock:
            return [fault for fault, _ in self._struck.values()]

    def strike(self, endpoint: str, config: str, instance: int) -> tuple[float, bool]:
        """What happens to one request: seconds to wait, and whether it fails."""
        with self._lock:
            found = self._struck.get((endpoint, config, instance))
        if found is None:
            return 0.0, False
        fault, deck = found
        return fault.latency_ms / 1000, deck.draw()

    def _remember(self, fault: Fault) -> None:
        deck = Deck(Fraction(fault.error_rate).limit_denominator(10_000))
        with self._lock:
            self._struck[fault.endpoint, fault.config, fault.instance] = fault, deck

    def _instances(self, endpoint: str, config: str) -> int:
        """How many instances the fleet has that serves, or is being brought up with, the configuration."""
        document = self._store.get("Endpoint", endpoint)
        if document is None:
            raise WrongFault(f"there is no endpoint {endpoint}")
        pending = document.get("PendingDeploymentSummary") or {}
        fleets: Mapping[str, list[Document]] = {
            document["EndpointConfigName"]: document.get("ProductionVariants", []),
            pending.get("EndpointConfigName", ""): pending.get("ProductionVariants", []),
        }
        if not config or config not in fleets:
            known = ", ".join(sorted(filter(None, fleets)))
            raise WrongFault(f"endpoint {endpoint} has no fleet of {config or '(no configuration)'}; it has: {known}")
        return max((_count(variant) for variant in fleets[config]), default=1)


def _count(variant: Mapping[str, Any]) -> int:
    return max(int(variant.get("DesiredInstanceCount", 1)), 1)


def _key(fault: Fault) -> str:
    return f"{fault.endpoint}/{fault.config}/{fault.instance}"
