"""The pinned CDK CLI as a child process: its milestones are progress, its whole output is a file."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from evergreen import ROOT
from evergreen.errors import FailedError

QUIET = {"JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "20", "AWS_CDK_DISABLE_CLI_TELEMETRY": "true"}
"""Variables that end two notices about nothing of the deployment: the age of Node 20, and usage statistics."""
_HEARTBEAT_SECONDS = 10  # until the first sign of life of a command that prints nothing; then twice as long
_TAIL = 12


class CdkError(FailedError):
    """The CDK CLI failed."""


def run(
    arguments: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str],
    say: Callable[[float, str], None],
    cwd: Path = ROOT,
    inherited: Sequence[int] = (),
) -> None:
    """Run the CDK CLI.

    Args:
        arguments: Its command line.
        log: Receives its output.
        environment: Its environment.
        say: Called with the seconds since the start and a milestone's line.
        cwd: Its working folder.
        inherited: File descriptors that the CLI keeps open, such as a lock that it shall hold for as long as it runs.

    Raises:
        CdkError: It failed.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    began = spoke = time.monotonic()
    read, silence = 0, _HEARTBEAT_SECONDS
    with log.open("w") as sink:
        process = subprocess.Popen(  # noqa: S603 (no user's words)
            [ROOT / "node_modules" / ".bin" / "cdk", *arguments],
            cwd=cwd,
            env=environment,
            stdout=sink,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            pass_fds=tuple(inherited),
        )
        try:
            while process.poll() is None:
                time.sleep(0.2)
                lines = log.read_text(errors="replace").splitlines()
                for line in filter(_is_milestone, lines[read:]):
                    spoke = time.monotonic()
                    say(spoke - began, line.strip())
                read = len(lines)
                if time.monotonic() - spoke > silence:
                    spoke, silence = time.monotonic(), 2 * silence
                    say(spoke - began, f"cdk {arguments[0]} is running")
        finally:
            process.terminate()
            process.wait()
    lines = log.read_text(errors="replace").splitlines()
    for line in filter(_is_milestone, lines[read:]):
        say(time.monotonic() - began, line.strip())
    if process.returncode:
        tail = "\n".join(lines[-_TAIL:])
        raise CdkError(f"`npx cdk {' '.join(arguments)}` failed; the whole log is in {log}, which ends with:\n{tail}")


def _is_milestone(line: str) -> bool:
    """Say whether a line of the CLI is about a whole stack: started, done or failed."""
    return any(mark in line for mark in ("✅", "❌", "✨  Synthesis time", "⏳  Bootstrapping"))
