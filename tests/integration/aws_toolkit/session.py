"""Train and serve under AWS's toolkit, alone in a network namespace: `session.py BASE`, where BASE is /opt/ml.

Reads `requests.json` in BASE: a list of `{"body", "headers"}`. Writes `answers.json`: a list of
`{"status", "type", "body"}`, or `{"failed": what}` where a program ended with an error.
"""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

_PORT = 8080
_PATIENCE_SECONDS = 60


def _loopback_up() -> None:
    """Bring the namespace's loopback interface up (SIOCSIFFLAGS, IFF_UP)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh", b"lo", 1))


def _run(base: Path, program: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    home = Path(sys.executable).parent
    variables = {
        "PATH": f"{home}:/usr/bin:/bin",
        "SAGEMAKER_BASE_DIR": str(base),
        "HOME": str(base),
        "PIP_RETRIES": "0",
        **environment,
    }
    with (base / f"{program}.log").open("wb") as log:
        return subprocess.Popen(
            [str(home / program)], env=variables, stdout=log, stderr=log, cwd=base, start_new_session=True
        )


def _ask(method: str, path: str, body: str = "", headers: dict[str, str] | None = None) -> dict[str, object]:
    connection = http.client.HTTPConnection("127.0.0.1", _PORT, timeout=30)
    connection.request(method, path, body=body.encode("latin-1"), headers=headers or {})
    answer = connection.getresponse()
    return {
        "status": answer.status,
        "type": answer.getheader("Content-Type"),
        "body": answer.read().decode("utf-8", "replace"),
    }


def _ready(server: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if _ask("GET", "/ping")["status"] == 200:
                return True
        except OSError:
            time.sleep(0.2)
    return False


def main(base: Path) -> None:
    """Train, serve, ask, stop."""
    _loopback_up()
    settings = json.loads((base / "settings.json").read_text())
    training = {"SAGEMAKER_TRAINING_MODULE": "sagemaker_xgboost_container.training:main", **settings["training"]}
    if _run(base, "train", training).wait():
        (base / "answers.json").write_text(json.dumps({"failed": "train"}))
        return
    serving = {
        "SAGEMAKER_SERVING_MODULE": "sagemaker_xgboost_container.serving:main",
        "SAGEMAKER_USE_NGINX": "false",
        "SAGEMAKER_BIND_TO_PORT": str(_PORT),
        **settings["serving"],
    }
    server = _run(base, "serve", serving)
    try:
        answers: object = {"failed": "serve"}
        if _ready(server):
            requests = json.loads((base / "requests.json").read_text())
            answers = [_ask("POST", "/invocations", one["body"], one["headers"]) for one in requests]
        (base / "answers.json").write_text(json.dumps(answers))
    finally:
        os.killpg(server.pid, signal.SIGKILL)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
