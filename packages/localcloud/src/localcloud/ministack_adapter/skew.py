"""Dates of signatures on an accelerated clock: outside clients use the real clock, functions and jobs the virtual one.

A request is valid if it was signed now by either clock. As the clock may jump between a signature and its arrival, any
virtual instant since the start is valid too. The answer's `Date` follows the client's clock: the AWS SDK for JavaScript
(the CDK CLI) takes another date for a skew of its own clock, and retries every error seven times.
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
    """Check dates by both clocks.

    Args:
        start: The virtual clock's first instant, in epoch seconds.
    """
    began = datetime.fromtimestamp(start, UTC) - _LEEWAY
    wrap(sigv4, "request_time_failure", lambda original: _by_nearest(original, began))
    wrap(sigv4, "presigned_request_is_expired", _by_own_clock)


def with_client_dates(app: Application) -> Application:
    """Return the ASGI application with the real time in the `Date` of answers to requests signed by it."""

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
    """Let a presigned URL expire by the clock that signed it."""

    def expired(amz_date: str, expires: str | int, *, now: datetime | None = None) -> bool:
        virtual = now or datetime.now(UTC)
        signed = sigv4._amz_datetime(amz_date)
        real = datetime.fromtimestamp(real_time(), UTC)
        ours = signed is None or abs(signed - virtual) <= abs(signed - real)
        return original(amz_date, expires, now=virtual if ours else real)

    return expired
