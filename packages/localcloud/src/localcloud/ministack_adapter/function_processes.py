"""Functions' processes in containers: ministack starts them, and this module replaces its `subprocess`.

A function sees its code and layers, read-only, a /tmp of its own, and this environment of Python or the machine's Node.
It gets its own variables, and of the gateway's those that programs need.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from localcloud.runtime import visible
from localcloud.runtime.sandbox import isolation, launch

_LAYERS = "_LAMBDA_LAYERS_DIRS"
# Variables of the gateway that a function inherits: how programs find libraries, certificates, proxies and the time.
# The gateway's own credentials, which are the root's, are not among them.
_INHERITED = re.compile(
    r"AWS_(?!ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN)|GATEWAY_|LANG$|LC_|LD_LIBRARY_PATH|LOCALCLOUD_CLOCK|NODE_EXTRA_CA_CERTS|NO_PROXY|PATH$|PYTHONPATH|TZ$"
    r"|SSL_CERT_|(REQUESTS|CURL)_CA_BUNDLE|HTTPS?_PROXY",
    re.IGNORECASE,
)


class Subprocess:
    """A stand-in for the module `subprocess` in ministack's modules that run functions."""

    def __getattr__(self, name: str) -> Any:
        return getattr(subprocess, name)

    def Popen(
        self, command: Sequence[str], *, cwd: str, env: Mapping[str, str], **options: Any
    ) -> subprocess.Popen[Any]:
        """Start a function's program in a container.

        Raises:
            ContainerError: it could not be started.
        """
        variables = own_variables(env)
        if not isolation().namespaces:
            return subprocess.Popen(command, cwd=cwd, env=variables, **options)
        root = Path(tempfile.mkdtemp(prefix="localcloud-function-"))
        for name in ("tmp", "root"):
            (root / name).mkdir()
        layers = [path for path in variables.get(_LAYERS, "").split(os.pathsep) if path]
        scratch = tempfile.gettempdir()  # ministack unpacks functions below it
        code = [cwd, *(str(Path(word).parent) for word in command if Path(word).is_relative_to(scratch))]
        plan = {
            "warm": None,
            "command": list(command),
            "environment": variables,
            "cwd": cwd,
            "namespaces": True,
            "pid_namespace": isolation().pid_namespace,
            "isolate_network": False,
            "root": f"{root}/root",
            "own": [[f"{root}/tmp", "/tmp"]],  # noqa: S108
            "read_only": [*visible.always(), *visible.this_environment(), *visible.programs(), *code, *layers],
            "overlays": [],
            "read_only_root": True,
            "keep_stdin": True,
            "pass_fds": [],
        }
        streams = {name: options.pop(name, None) for name in ("stdin", "stdout", "stderr")}
        process, lifeline = launch(plan, (), **streams, **options)
        weakref.finalize(process, _end, lifeline, root)
        return process

    def run(
        self, command: Sequence[str], *, timeout: float, capture_output: bool, **options: Any
    ) -> subprocess.CompletedProcess[Any]:
        """Run a function's program once, as `subprocess.run` does."""
        text = options.pop("input")
        pipe = subprocess.PIPE if capture_output else None
        process = self.Popen(command, stdin=subprocess.PIPE, stdout=pipe, stderr=pipe, **options)
        with process:
            try:
                output, errors = process.communicate(text, timeout=timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return subprocess.CompletedProcess(command, process.returncode, output, errors)


def own_variables(given: Mapping[str, str]) -> dict[str, str]:
    """Return a program's variables without those that are only the gateway's."""
    own = {name: value for name, value in given.items() if os.environ.get(name) != value or _INHERITED.match(name)}
    return own | {"HOME": "/tmp"}  # noqa: S108 (the function's /tmp)


def _end(lifeline: IO[bytes], root: Path) -> None:
    lifeline.close()
    shutil.rmtree(root, ignore_errors=True)  # the program may still write; the next start empties the folder
