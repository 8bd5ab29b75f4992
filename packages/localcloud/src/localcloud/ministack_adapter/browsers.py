"""Refuse what a web browser sends on behalf of another site's page.

The gateway answers on loopback, which every page in the developer's browser can reach too. No AWS client sends the
headers that are checked here, and a browser lets no page forge or omit them:

- `Host` is the name that the page's author chose. A name that is not loopback means DNS rebinding.
- `Origin` and `Sec-Fetch-Site` say which site's page sends the request.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

_OUR_FETCHES = frozenset({b"same-origin", b"none"})  # "none" is an address that a person typed


def refusal(headers: list[tuple[bytes, bytes]]) -> str | None:
    """Return why a request is refused, or None where it may pass.

    Args:
        headers: The request's headers as ASGI gives them, names in lower case.
    """
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) != 1 or not _is_loopback(hosts[0]):
        shown = b", ".join(hosts).decode("latin-1")
        return f"Host is {shown!r}; the local cloud answers to 127.0.0.1, [::1] and localhost only."
    for name, value in headers:
        if name == b"origin" and value.lower() != b"http://" + hosts[0].lower():
            return f"Origin is {value.decode('latin-1')!r}; the local cloud answers no page of another site."
        if name == b"sec-fetch-site" and value not in _OUR_FETCHES:
            return f"Sec-Fetch-Site is {value.decode('latin-1')!r}; the local cloud answers no page of another site."
    return None


def without_cors(send: Send) -> Send:
    """Return a `send` that drops the headers by which a server lets other sites' pages read its answers."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [pair for pair in message.get("headers", ()) if not pair[0].lower().startswith(b"access-control-")]
            message = {**message, "headers": kept}
        await send(message)

    return sending


def _is_loopback(host: bytes) -> bool:
    """Whether a `Host` names this machine: a loopback address, or `localhost` and what stands before it."""
    try:
        name = urlsplit(f"//{host.decode('ascii')}").hostname or ""
    except ValueError:
        return False
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
