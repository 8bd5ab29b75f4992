"""The gateway's administration on loopback, with the root's secret: the clock and injected faults."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from localcloud.clockwork import Clockwork, StillBusyError, iso
from localcloud.ministack_adapter.environment import is_root_secret
from localcloud.sagemaker.closed_services import ClosedServices
from localcloud.sagemaker.faults import Faults, InvalidFault
from localcloud.sagemaker.stack_outcomes import StackOutcomes

KEY_HEADER = "x-localcloud-key"
Reply = tuple[int, dict[str, Any], bytes]
_WORDS = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}


class ClockAdmin:
    """Clock requests: `GET` returns its status, `POST {"to": epoch seconds, …}` advances it and answers afterwards.

    Args:
        clockwork: None for the real clock, which nobody can advance.
    """

    def __init__(self, clockwork: Clockwork | None) -> None:
        self._clockwork = clockwork

    async def handle(self, method: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Answer one request."""
        if not has_the_secret(headers):
            return FORBIDDEN
        if method == "GET":
            return _reply(200, await asyncio.to_thread(self._status))
        if method != "POST":
            return _reply(405, {"error": f"{method} is not allowed here"})
        if self._clockwork is None:
            return _reply(
                409,
                {"error": "the real clock cannot be advanced; start the local cloud with --clock accelerated"},
            )
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


class FaultAdmin:
    """Fault requests: `GET` lists faults, `POST` injects one, `DELETE` removes those that match.

    `POST {"endpoint", "stack_outcome"}` instead decides once how the stack of a rolled-back endpoint update ends.
    `POST {"closed"}` closes a service to the account, and `DELETE {"closed"}` opens it again.
    """

    def __init__(self, faults: Faults, outcomes: StackOutcomes, closed: ClosedServices) -> None:
        self._faults, self._outcomes, self._closed = faults, outcomes, closed

    async def handle(self, method: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Answer one request."""
        if not has_the_secret(headers):
            return FORBIDDEN
        if method not in ("GET", "POST", "DELETE"):
            return _reply(405, {"error": f"{method} is not allowed here"})
        try:
            return _reply(200, await asyncio.to_thread(self._act, method, body))
        except ValueError as error:
            return _reply(400, {"error": str(error)})

    def _act(self, method: str, body: bytes) -> dict[str, Any]:
        if method == "GET":
            return self._listed()
        kinds: dict[str, type] = {"endpoint": str, "config": str, "instance": int, "closed": str}
        if method == "DELETE":
            self._clear(_members(body, kinds))
            return self._listed()
        request = _members(body, kinds | {"error_rate": float, "latency_ms": int, "stack_outcome": str})
        if set(request) == {"closed"}:
            self._closed.close(request["closed"])
        elif "closed" in request:
            raise InvalidFault("give closed alone: it is about the account")
        elif set(request) == {"endpoint", "stack_outcome"}:
            self._outcomes.choose(request["endpoint"], request["stack_outcome"])
        elif "stack_outcome" in request or not {"endpoint", "config"} <= set(request):
            raise InvalidFault("give endpoint and config with the fault's values, or endpoint and stack_outcome alone")
        else:
            self._faults.inject(**request)
        return self._listed()

    def _clear(self, matching: dict[str, Any]) -> None:
        closed = matching.pop("closed", None)
        if closed is not None or not matching:
            self._closed.open(closed)
        if closed is not None and not matching:
            return
        if not {"config", "instance"} & set(matching):
            self._outcomes.clear(matching.get("endpoint"))
        self._faults.clear(**matching)

    def _listed(self) -> dict[str, Any]:
        return {
            "faults": [asdict(fault) for fault in self._faults.all()],
            "stack_outcomes": self._outcomes.all(),
            "closed": self._closed.all(),
        }


def has_the_secret(headers: Mapping[str, str]) -> bool:
    """Check the key header. A web page cannot send this header without a preflight, which is refused."""
    return is_root_secret(headers.get(KEY_HEADER, ""))


def _request(body: bytes) -> dict[str, Any]:
    """Read and check a request to the clock.

    Raises:
        ValueError: The request is malformed; the text says how.
    """
    kinds = {"to": float, "by": float, "resolution": float, "patience": float, "over_approvals": bool}
    request = _members(body, kinds)
    if ("to" in request) == ("by" in request):
        raise ValueError("give one of to (epoch seconds) and by (seconds)")
    return request


def _members(body: bytes, kinds: Mapping[str, type]) -> dict[str, Any]:
    """Read the members of a JSON object and check their types.

    Raises:
        ValueError: The body is malformed; the text says how.
    """
    request = json.loads(body or b"{}")
    if not isinstance(request, dict) or not set(request) <= set(kinds):
        raise ValueError(f"the body is an object with some of {', '.join(kinds)}")
    for name, value in request.items():
        kind = kinds[name]
        accepted = (int, float) if kind is float else kind
        if not isinstance(value, accepted) or isinstance(value, bool) is not (kind is bool):
            raise ValueError(f"{name} is {_WORDS[kind]}, got {value!r}")
    return request


def _reply(status: int, document: Mapping[str, Any]) -> Reply:
    return status, {"Content-Type": "application/json"}, json.dumps(document).encode()


FORBIDDEN = _reply(403, {"error": f"the header {KEY_HEADER} must carry the root's secret"})
