"""The clock's administration on the gateway: loopback only, with the root key, at `/_localcloud/clock`."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from localcloud.clockwork import Clockwork, StillBusyError, iso
from localcloud.ministack_adapter.environment import ROOT_KEY

KEY_HEADER = "x-localcloud-key"
Reply = tuple[int, dict[str, Any], bytes]


class ClockAdmin:
    """`GET` says what the clock says; `POST {"to": epoch seconds, …}` advances it and answers when all is settled.

    Args:
        clockwork: None where the cloud lives by the real clock, which nobody can advance.
    """

    def __init__(self, clockwork: Clockwork | None) -> None:
        self._clockwork = clockwork

    async def handle(self, method: str, headers: Mapping[str, str], body: bytes) -> Reply:
        # A header of our own: a page in the developer's browser cannot send it without asking first.
        if not hmac.compare_digest(headers.get(KEY_HEADER, ""), ROOT_KEY):
            return _reply(403, {"error": f"the header {KEY_HEADER} must carry the root key"})
        if method == "GET":
            return _reply(200, await asyncio.to_thread(self._status))
        if method != "POST":
            return _reply(405, {"error": f"{method} is not allowed here"})
        if self._clockwork is None:
            return _reply(409, {"error": "this local cloud lives by the real clock; start it with --clock accelerated"})
        try:
            request = _request(body)
        except ValueError as error:
            return _reply(400, {"error": str(error)})
        return await asyncio.to_thread(self._advance, self._clockwork, request)

    def _status(self) -> dict[str, Any]:
        if self._clockwork is None:
            return {"mode": "real", "now": iso(datetime.now(UTC).timestamp())}
        return self._clockwork.status()

    @staticmethod
    def _advance(clockwork: Clockwork, request: dict[str, Any]) -> Reply:
        target = request.pop("to", None)
        if target is None:
            target = datetime.now(UTC).timestamp() + request.pop("by")
        try:
            return _reply(200, clockwork.advance(target, **request).document())
        except StillBusyError as error:
            return _reply(409, {"error": str(error)})


def _request(body: bytes) -> dict[str, Any]:
    """Check the request's members. Raises ValueError."""
    request = json.loads(body)
    kinds = {"to": float, "by": float, "resolution": float, "patience": float, "over_approvals": bool}
    if not isinstance(request, dict) or not set(request) <= set(kinds):
        raise ValueError(f"the body is an object with some of {', '.join(kinds)}")
    if ("to" in request) == ("by" in request):
        raise ValueError("give one of to (epoch seconds) and by (seconds)")
    for name, value in request.items():
        if kinds[name] is float and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ValueError(f"{name} is a number, got {value!r}")
        if kinds[name] is bool and not isinstance(value, bool):
            raise ValueError(f"{name} is true or false, got {value!r}")
    return request


def _reply(status: int, document: Mapping[str, Any]) -> Reply:
    return status, {"Content-Type": "application/json"}, json.dumps(document).encode()
