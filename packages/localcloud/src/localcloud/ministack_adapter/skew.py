"""Signatures' dates on an accelerated clock: clients outside live by the real one, functions and jobs by the virtual.

A request is good when it was signed now by either clock; and, as the clock may jump between a signature and its
arrival, at any virtual instant since the cloud began. The answer's `Date` is by the clock of whoever asked: the AWS SDK
for JavaScript (the CDK CLI) takes another one for a skew of its own clock, and tries every error seven times more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from typing import Any

from ministack.core import sigv4

from localcloud.hooks.virtual_clock import real_time
from localcloud.ministack_adapter.patching import wrap

Application = Callable[[Any, Any, Any], Awaitable[None]]
_LEEWAY = timedelta(minutes=15)


def install(start: float) -> None:
    """Judge dates by both clocks; `start` is the virtual clock's first instant, in epoch seconds."""
    began = datetime.fromtimestamp(start, UTC) - _LEEWAY
    wrap(sigv4, "request_time_failure", lambda original: _by_nearest(original, began))
    wrap(sigv4, "presigned_request_is_expired", _by_own_clock)


def answering_by_their_clock(app: Application) -> Application:
    """The ASGI application, with the real time in the `Date` of answers to requests that were signed by it."""

    async def dated(scope: Any, receive: Any, send: Any) -> None:
        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start":
                others = [pair for pair in message.get("headers", ()) if pair[0].lower() != b"date"]
                message = {**message, "headers": [*others, (b"date", formatdate(real_time(), usegmt=True).encode())]}
            await send(message)

        signed = next((value for name, value in scope.get("headers", ()) if name.lower() == b"x-amz-date"), b"")
        await app(scope, receive, answer if _by_real_clock(signed.decode("latin-1")) else send)

    return dated


def _by_real_clock(amz_date: str) -> bool:
    signed = sigv4._amz_datetime(amz_date) if amz_date else None
    if signed is None:
        return False
    return bool(abs(signed.timestamp() - real_time()) < abs(signed.timestamp() - datetime.now(UTC).timestamp()))


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
