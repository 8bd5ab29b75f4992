"""Signatures' dates on an accelerated clock: clients outside live by the real one, functions and jobs by the virtual.

A request is good when it was signed now by either clock; and, as the clock may jump between a signature and its
arrival, at any virtual instant since the cloud began.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from ministack.core import sigv4

from localcloud.hooks.virtual_clock import real_time
from localcloud.ministack_adapter.patching import wrap

_LEEWAY = timedelta(minutes=15)


def install(start: float) -> None:
    """Judge dates by both clocks; `start` is the virtual clock's first instant, in epoch seconds."""
    began = datetime.fromtimestamp(start, UTC) - _LEEWAY
    wrap(sigv4, "request_time_failure", lambda original: _by_nearest(original, began))
    wrap(sigv4, "presigned_request_is_expired", _by_own_clock)


def _by_nearest(original: Callable[..., Any], began: datetime) -> Callable[..., Any]:
    def failure(signature: Any, *, now: datetime | None = None) -> Any:
        signed = sigv4._amz_datetime(signature.amz_date)
        virtual = now or datetime.now(UTC)
        if signed is not None and began <= signed <= virtual + _LEEWAY:
            return None
        return original(signature, now=datetime.fromtimestamp(real_time(), UTC))

    return failure


def _by_own_clock(original: Callable[..., bool]) -> Callable[..., bool]:
    """A link that was signed by the real clock ends by it; one that was signed by the virtual clock, by that."""

    def expired(amz_date: str, expires: str | int, *, now: datetime | None = None) -> bool:
        virtual = now or datetime.now(UTC)
        signed = sigv4._amz_datetime(amz_date)
        real = datetime.fromtimestamp(real_time(), UTC)
        ours = signed is None or abs(signed - virtual) <= abs(signed - real)
        return original(amz_date, expires, now=virtual if ours else real)

    return expired
