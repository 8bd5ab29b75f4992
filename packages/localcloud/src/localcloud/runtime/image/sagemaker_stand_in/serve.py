"""Model server: loads the model, then answers `/ping` and `/invocations` on connections from the gateway.

Run as `python -m sagemaker_stand_in.serve <control descriptor> <framework>`. Connections arrive as descriptors over the
control socket, so the server needs no network and works with network isolation. A message is a line of JSON and the
body.
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import sys
import threading
from multiprocessing.connection import Connection
from typing import Any, Protocol

from .handlers import Answer, UserModel

MODEL_DIR = "/opt/ml/model"


class Model(Protocol):
    """A loaded model."""

    def answer(self, body: bytes, content_type: str, accept: str | None) -> Answer:
        """Answer one invocation."""


def load(framework: Any) -> Model:
    """Load the user's module where SAGEMAKER_PROGRAM names one, the image's algorithm otherwise."""
    program = os.environ.get("SAGEMAKER_PROGRAM")
    if program:
        return UserModel(program, MODEL_DIR, framework.DEFAULTS)
    if not hasattr(framework, "AlgorithmModel"):
        raise RuntimeError("this image serves scripts only: set SAGEMAKER_PROGRAM and SAGEMAKER_SUBMIT_DIRECTORY")
    model: Model = framework.AlgorithmModel(MODEL_DIR)
    return model


def _respond(model: Model, message: bytes) -> bytes:
    head, _, body = message.partition(b"\n")
    request = json.loads(head)
    if request["path"] == "/ping":
        answer = Answer(200, b"", "text/plain")
    else:
        answer = model.answer(body, request["content_type"], request["accept"])
    return json.dumps({"status": answer.status, "content_type": answer.content_type}).encode() + b"\n" + answer.body


def _serve_connection(model: Model, connection: Connection) -> None:
    with connection:
        while True:
            try:
                message = connection.recv_bytes()
            except EOFError:
                return
            connection.send_bytes(_respond(model, message))


def main() -> None:
    """Serve until the gateway closes the control socket."""
    control = socket.socket(fileno=int(sys.argv[1]))
    model = load(importlib.import_module(f"{__package__}.{sys.argv[2]}_serve"))
    while True:
        marker, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not marker:
            os._exit(0)  # the gateway closed its end
        for descriptor in descriptors:
            arguments = (model, Connection(descriptor))
            threading.Thread(target=_serve_connection, args=arguments, daemon=True).start()


if __name__ == "__main__":
    main()
