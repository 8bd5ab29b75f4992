"""The local cloud and the CDK CLI, through their command lines; the clock through HTTP, because each day needs it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from configuration import ConfigurationError, load_application
from evergreen import ROOT, cdk
from evergreen.demo import CONFIGURATION, MODEL
from evergreen.demo.terminal import DemoError, say
from evergreen.ledger import Ledger
from evergreen.names import Names
from evergreen.target import STATE, local_environment

_WITHOUT_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy can reach loopback
_DEFAULT_PORT = 4747
_PATIENCE_SECONDS = 600  # real seconds that one operation may hold the clock


@dataclass(frozen=True)
class LocalCloud:
    """A local cloud: a port and a state folder. `up` may be called at any time."""

    port: int
    state: Path
    _clients: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def _command(self, verb: str, *arguments: str) -> list[str]:
        where = ["--port", str(self.port), "--state", str(self.state)]
        # The actions of `clock` take the options, not `clock` itself.
        words = [verb, *arguments, *where] if verb == "clock" else [verb, *where, *arguments]
        return [sys.executable, "-m", "localcloud", *words]

    def up(self, *, accelerated: bool = False) -> None:
        """Start it, or continue where it is.

        Args:
            accelerated: Use the accelerated clock. Otherwise use the folder's clock, the real one in a new folder.

        Raises:
            DemoError: It does not start, or an accelerated clock is wanted and the folder has the real one.
        """
        clock = ["--clock", "accelerated"] if accelerated else []
        if subprocess.run(self._command("up", *clock), cwd=ROOT, check=False).returncode:
            raise DemoError("the local cloud did not start; its own message is above. To start from nothing: --fresh")
        if accelerated and self._clock()["mode"] != "accelerated":
            raise DemoError(
                f"{self.state} has a cloud on the real clock, which cannot replay months. "
                "Use --fresh to delete it and start from nothing, or --state FOLDER --port PORT to leave it alone"
            )

    def down(self, *arguments: str) -> None:
        """Stop it."""
        subprocess.run(self._command("down", *arguments), cwd=ROOT, check=True)

    def now(self) -> datetime:
        """Return the time on its clock."""
        return datetime.fromisoformat(self._clock()["now"])

    def advance(self, to: datetime, resolution: timedelta, *, over_approvals: bool = False) -> list[str]:
        """Advance its clock and run everything that is due. Return the approvals that stopped it, none at the end.

        Args:
            to: The time to advance to.
            resolution: Work that is due within one resolution runs together.
            over_approvals: Do not stop at an open approval.
        """
        request = {"to": to.timestamp(), "resolution": resolution.total_seconds(), "patience": _PATIENCE_SECONDS}
        return list(self._clock({**request, "over_approvals": over_approvals})["held_by"])

    def fault(self, *arguments: str) -> None:
        """Make instances of an endpoint fail (`localcloud fault --help`).

        Raises:
            DemoError: The fault was not accepted.
        """
        done = subprocess.run(self._command("fault", *arguments), cwd=ROOT, check=False, capture_output=True, text=True)
        if done.returncode:
            raise DemoError(f"the fault was not injected: {done.stderr.strip()}")

    def _clock(self, request: dict[str, Any] | None = None) -> dict[str, Any]:
        """Advance the clock with a request, read it without one, as `localcloud clock` does."""
        call = urllib.request.Request(  # noqa: S310 (our own loopback address)
            f"{self.settings['AWS_ENDPOINT_URL']}/_localcloud/clock",
            data=None if request is None else json.dumps(request).encode(),
            headers={"x-localcloud-key": self.settings["AWS_SECRET_ACCESS_KEY"]},
        )
        try:
            with _WITHOUT_PROXY.open(call) as reply:
                return dict(json.load(reply))
        except urllib.error.HTTPError as error:
            raise DemoError(f"the local cloud's clock: {error.read().decode(errors='replace')}") from error
        except OSError as error:
            raise DemoError(f"the local cloud does not answer: {error}; `make status` says what runs") from error

    @cached_property
    def settings(self) -> dict[str, str]:
        """The variables that point every client here, and nowhere else."""
        return local_environment(self.port, self.state)

    @cached_property
    def environment(self) -> dict[str, str]:
        """This process's environment with the local cloud's AWS settings in place of its own."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return inherited | cdk.QUIET | self.settings

    @cached_property
    def _session(self) -> boto3.Session:
        return boto3.Session(
            aws_access_key_id=self.settings["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.settings["AWS_SECRET_ACCESS_KEY"],
            region_name=self.settings["AWS_DEFAULT_REGION"],
        )

    def client(self, service: str) -> Any:
        """Return a boto3 client of a service here."""
        if service not in self._clients:
            config = Config(
                retries={"mode": "standard", "max_attempts": 3}, s3={"addressing_style": "path"}, proxies={}
            )
            create: Any = self._session.client  # its overloads want a literal service name
            self._clients[service] = create(service, endpoint_url=self.settings["AWS_ENDPOINT_URL"], config=config)
        return self._clients[service]

    def aws(self, arguments: str) -> str:
        """Return an AWS CLI line that runs as pasted from the repository's root."""
        names = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")
        return " ".join([*(f"{name}={self.settings[name]}" for name in names), ".venv/bin/aws", arguments])

    def evergreen(self, arguments: str) -> str:
        """Return an `evergreen` line that runs as pasted from the repository's root."""
        config = [] if _is_users_application() else ["--config", CONFIGURATION]
        port = [] if self.port == _DEFAULT_PORT else ["--port", str(self.port)]
        state = [] if self.state == STATE else ["--state", shlex.quote(str(self.state))]
        return " ".join([".venv/bin/evergreen", *config, arguments, *port, *state])

    def remote(self, repository: str) -> str:
        """Return the git repository that pipelines take their code from, created where it is missing."""
        command = self._command("remote", repository)
        return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()

    def cdk(self, *arguments: str, cwd: Path = ROOT) -> None:
        """Run the pinned CDK CLI. Print its milestones, and keep its output in the state folder.

        Raises:
            DemoError: It failed.
        """
        try:
            cdk.run(
                arguments,
                log=self.state / "demo" / f"cdk-{arguments[0]}.log",
                environment=self.environment,
                say=lambda seconds, line: say(f"[dim]{seconds:5.1f} s[/]  {line}"),
                cwd=cwd,
            )
        except cdk.CdkError as error:
            raise DemoError(str(error)) from error

    @property
    def assembly(self) -> Path:
        """This cloud's cloud assembly: the CLI locks cdk.out while it reads it."""
        return self.state / "demo" / "cdk.out"

    def outputs(self, stack: str) -> dict[str, str]:
        """Return a stack's outputs."""
        found = self.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
        return {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}


def ledger_of(cloud: LocalCloud, model: Names) -> Ledger:
    """Return a reader of the model's ledger rows."""
    table = cloud.outputs(model.platform_stack)["LedgerTableName"]
    return Ledger(cloud.client("dynamodb"), table, model=model.name, stage=model.stage)


@cache
def _is_users_application() -> bool:
    """Say whether `evergreen.yaml` has the name and the stage of the demo's application, so that it stands for it."""
    try:
        application = load_application(ROOT)
    except ConfigurationError:
        return False
    return application.name == MODEL.app and [stage.name for stage in application.stages] == [MODEL.stage]
