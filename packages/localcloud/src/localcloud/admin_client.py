"""Requests of the commands to the running gateway's administration."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from localcloud import loopback, process
from localcloud.ministack_adapter.environment import root_secret

_EXIT_REFUSED, _EXIT_NOT_RUNNING = 1, 3


class AdminError(Exception):
    """The gateway does not run, or refused the request; the text is one line for a person."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def ask(state: Path, what: str, method: str | None, request: Mapping[str, Any] | None) -> dict[str, Any]:
    """Send a request to `/_localcloud/<what>` of the state folder's gateway and return the answer.

    Args:
        state: The state folder.
        what: `clock` or `faults`.
        method: The HTTP method; None for the method that the body implies (GET without one).
        request: The JSON body; None for none.

    Raises:
        AdminError: The gateway does not run, or refused.
    """
    known = process.running(state.resolve())
    if known is None:
        raise AdminError(f"Not running (state: {state.resolve()})", _EXIT_NOT_RUNNING)
    call = urllib.request.Request(
        f"http://127.0.0.1:{known.port}/_localcloud/{what}",
        data=None if request is None else json.dumps(request).encode(),
        headers={"x-localcloud-key": root_secret(state.resolve()), "content-type": "application/json"},
        method=method,
    )
    try:
        with loopback.request(call) as reply:
            return dict(json.load(reply))
    except urllib.error.HTTPError as error:
        body = error.read().decode(errors="replace")
        reason = json.loads(body)["error"] if body.startswith("{") else f"{error}: see the gateway's log"
        raise AdminError(reason, _EXIT_REFUSED) from error
