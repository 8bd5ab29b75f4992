"""Where a command acts: the local cloud, or the account that the credentials belong to."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from evergreen import ROOT
from evergreen.errors import UsageError

if TYPE_CHECKING:
    import boto3

STATE = ROOT / ".localcloud"
_CONNECT_SECONDS = 2.0


class Target(StrEnum):
    """Which cloud a command talks to."""

    LOCAL = "local"
    AWS = "aws"


@dataclass(frozen=True)
class Identity:
    """Who the credentials belong to.

    Attributes:
        account: Twelve digits.
        arn: The principal.
        region: The region that the command acts in.
    """

    account: str
    arn: str
    region: str


@dataclass(frozen=True)
class Place:
    """A target, and for the local cloud its port and its state folder.

    Attributes:
        port: None for the one that the state folder's cloud listens on.
    """

    target: Target = Target.LOCAL
    port: int | None = None
    state: Path = STATE

    def session(self, region: str) -> boto3.Session:
        """Return a session whose clients talk to this place.

        For the local cloud this process's `AWS_*` variables are replaced, so no client can reach an account by mistake.

        Raises:
            UsageError: The local cloud is not installed or does not run.
        """
        if self.target is Target.LOCAL:
            settings = local_environment(self.port, self.state)
            _require_listening(settings["AWS_ENDPOINT_URL"])
            for name in [name for name in os.environ if name.startswith("AWS_")]:
                del os.environ[name]
            os.environ.update(settings)
        import boto3

        return boto3.Session(region_name=region)

    def now(self) -> datetime:
        """Return the time there: the local cloud may run on a virtual clock.

        Raises:
            UsageError: The local cloud does not say.
        """
        if self.target is Target.AWS:
            return datetime.now(UTC)
        status = json.loads(_localcloud("clock", "status", "--state", str(self.state)))
        return datetime.fromisoformat(status["now"])


def local_environment(port: int | None, state: Path) -> dict[str, str]:
    """Return the variables that point AWS clients at a local cloud, as `localcloud env` prints them.

    Raises:
        UsageError: There is no state folder, `localcloud` is not installed, or it refuses the port.
    """
    if not state.is_dir():
        raise UsageError(
            f"There is no local cloud in {state} yet. Start it with `make up`, or set --target aws to use your account."
        )
    where = ["--state", str(state), *([] if port is None else ["--port", str(port)])]
    words = (word.partition("=") for word in shlex.split(_localcloud("env", *where)) if "=" in word)
    return {name: value for name, _, value in words}


def _localcloud(*arguments: str) -> str:
    """Return what a command of the local cloud prints.

    Raises:
        UsageError: It failed, or `localcloud` is not installed.
    """
    command = [sys.executable, "-m", "localcloud", *arguments]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)  # noqa: S603 (no user's words)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["no reason"])[-1]
        raise UsageError(f"`localcloud {arguments[0]}` failed: {why}. Set --target aws to use your account.")
    return done.stdout


def identity(session: boto3.Session) -> Identity:
    """Return who the session's credentials belong to."""
    caller = session.client("sts").get_caller_identity()
    return Identity(account=caller["Account"], arn=caller["Arn"], region=session.region_name)


def _require_listening(url: str) -> None:
    place = urlsplit(url)
    try:
        with socket.create_connection((place.hostname or "127.0.0.1", place.port or 80), timeout=_CONNECT_SECONDS):
            return
    except OSError:
        raise UsageError(
            f"The local cloud does not run at {url}. Start it with `make up`, or set --target aws to use your account."
        ) from None
