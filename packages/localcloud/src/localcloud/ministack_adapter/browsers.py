"""Refuse what a web browser sends for another site's page, or after a click on a malicious link.

The gateway answers on loopback, which every page in the developer's browser can reach. A page has no signature, unless
somebody gave it a presigned URL; health and links need none. No AWS client sends the headers that are checked here, and
a browser lets no page forge or omit them:

- `Host` is the name in the request's URL. A name that is not loopback means DNS rebinding.
- `Origin` and `Sec-Fetch-Site` say which site's page sends the request.
- `User-Agent` begins with `Mozilla/` in every browser, also in those that are too old for `Sec-Fetch-Site`.

A person may open an address in a browser, such as a presigned URL of an S3 object. That request may only read. The page
that it shows runs in a sandbox: a script in a stored HTML file would otherwise have the gateway's own origin.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

_READING = ("GET", "HEAD")
_SANDBOX = [(b"content-security-policy", b"sandbox"), (b"x-content-type-options", b"nosniff")]


def refusal(scope: Scope) -> str | None:
    """Return why an HTTP request is refused, or None where it may pass.

    Args:
        scope: The request as ASGI describes it.
    """
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) != 1 or not _is_loopback(hosts[0]):
        shown = b", ".join(hosts).decode("latin-1")
        return f"Host is {shown!r}; the local cloud answers to 127.0.0.1, [::1] and localhost only."
    sites = [value for name, value in headers if name == b"sec-fetch-site"]
    for name, value in headers:
        if name == b"origin":
            return f"Origin is {value.decode('latin-1')!r}; the local cloud answers no web page."
        if name == b"sec-fetch-site" and value != b"none":  # "none" is an address that a person opens
            return f"Sec-Fetch-Site is {value.decode('latin-1')!r}; the local cloud answers no web page."
        if name == b"user-agent" and value.startswith(b"Mozilla/") and not sites:
            return "User-Agent is a browser's, without Sec-Fetch-Site; the local cloud answers no web page."
    if sites and not _only_reads(scope):
        return "Sec-Fetch-Site is 'none'; a browser may only read from the local cloud. Use an AWS client."
    return None


def protected(send: Send) -> Send:
    """Return a `send` that lets no other site's page read an answer and no script run in it."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [pair for pair in message.get("headers", ()) if not pair[0].lower().startswith(b"access-control-")]
            message = {**message, "headers": [*kept, *_SANDBOX]}
        await send(message)

    return sending


def _only_reads(scope: Scope) -> bool:
    """Tell whether a request changes nothing: the query protocol allows any action in a GET."""
    parameters = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    return scope["method"] in _READING and not any(name.lower() == "action" for name in parameters)


def _is_loopback(host: bytes) -> bool:
    """Tell whether a `Host` names this machine: a loopback address, `localhost` or a name below it."""
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
