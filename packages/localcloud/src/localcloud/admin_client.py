"""What the commands ask of the running gateway's administration."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from localcloud import loopback, process
from localcloud.ministack_adapter.environment import ROOT_KEY

_EXIT_REFUSED, _EXIT_NOT_RUNNING = 1, 3


class NoAnswer(Exception):
    """The gateway does not run, or refused; the text is for a person, in one line."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def ask(state: Path, what: str, method: str | None, request: Mapping[str, Any] | None) -> dict[str, Any]:
    """Send a request (`method` None: only look) to `/_localcloud/<what>` of the folder's gateway.

    Raises:
        NoAnswer: it does not run, or refused.
    """
    known = process.running(state.resolve())
    if known is None:
        raise NoAnswer(f"Not running (state: {state.resolve()})", _EXIT_NOT_RUNNING)
    call = urllib.request.Request(
        f"http://127.0.0.1:{known.port}/_localcloud/{what}",
        data=None if request is None else json.dumps(request).encode(),
        headers={"x-localcloud-key": ROOT_KEY, "content-type": "application/json"},
        method=method,
    )
    try:
        with loopback.request(call) as reply:
            return dict(json.load(reply))
    except urllib.error.HTTPError as error:
        body = error.read().decode(errors="replace")
        told = json.loads(body)["error"] if body.startswith("{") else f"{error}: see the gateway's log"
        raise NoAnswer(told, _EXIT_REFUSED) from error
