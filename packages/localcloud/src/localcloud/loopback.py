"""Requests to the gateway without a proxy.

A company's shell often has `HTTP_PROXY` and no `NO_PROXY`. A proxy cannot reach this machine's loopback address.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Mapping
from http.client import HTTPResponse

_HOSTS = ("127.0.0.1", "localhost")
_NAMES = ("NO_PROXY", "no_proxy")


def no_proxy(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that exempt loopback from proxies, in addition to the hosts that are exempt already.

    Both spellings are set: programs differ in which one they read, and a lower-case one hides the other.
    """
    given = [environment.get(name, "").strip() for name in _NAMES]
    if "*" in given:  # every host, and only where it stands alone
        return dict.fromkeys(_NAMES, "*")
    hosts = [host.strip() for value in given for host in value.split(",") if host.strip()]
    return dict.fromkeys(_NAMES, ",".join(dict.fromkeys([*hosts, *_HOSTS])))


def request(call: urllib.request.Request, timeout: float | None = None) -> HTTPResponse:
    """Send a request to the gateway without a proxy.

    Args:
        call: A request to a loopback address.
        timeout: Seconds to wait for each part of the answer; None waits for ever.

    Raises:
        OSError: There is no answer, or (`urllib.error.HTTPError`) its status is an error.
    """
    response: HTTPResponse = _opener.open(call, timeout=timeout)
    return response


_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
