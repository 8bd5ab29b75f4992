"""The git hooks of a local cloud's repository: `python -I hook.py pre-receive|post-receive <state> <repository>`.

`pre-receive` refuses a push while the gateway does not run. `post-receive` reports the push to the gateway and prints
what it started.
"""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

_ZERO = "0" * 40


def main(hook: str, state: str, repository: str) -> int:
    """Run one hook and return its exit code."""
    updates = [line.split() for line in sys.stdin.read().splitlines()]
    port = running_port(Path(state))
    if port is None:
        # git shows what a hook writes as "remote: …"
        sys.stderr.write(f"The local cloud of {state} does not run; start it: localcloud up\n")
        return 1
    if hook == "pre-receive":
        return 0
    body = {"repository": repository, "updates": [update for update in updates if update[1] != _ZERO]}
    try:
        answer = ask(port, "push", body, (Path(state) / "root-secret").read_text())
    except (OSError, ValueError) as error:
        sys.stderr.write(f"The local cloud did not process the push: {error}\n")
        return 1
    for line in answer["lines"]:
        sys.stderr.write(f"{line}\n")
    return 0


def running_port(state: Path) -> int | None:
    """Return the port of the state folder's gateway, or None if it does not answer."""
    try:
        port = int(json.loads((state / "gateway.json").read_text())["port"])
        health = ask(port, "health", None)
    except (OSError, ValueError, KeyError):
        return None
    return port if health.get("ready") and Path(health["state"]).resolve() == state else None


def ask(port: int, what: str, body: Any, secret: str = "") -> dict[str, Any]:
    """Send a request to the gateway's administration and return the answer.

    Raises:
        OSError: There is no answer, or its status is an error.
    """
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/_localcloud/{what}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"x-localcloud-key": secret, "content-type": "application/json"},
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as reply:
        return dict(json.load(reply))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
