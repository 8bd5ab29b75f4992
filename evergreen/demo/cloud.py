"""The local cloud and the CDK CLI, driven by their command lines as a person would; the clock by HTTP, for each day."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from evergreen.demo.terminal import DemoError, say

ROOT = Path(__file__).resolve().parents[2]
HEARTBEAT_SECONDS = 5
_WITHOUT_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy can reach loopback
_PATIENCE_SECONDS = 600  # real ones, that one thing may hold the clock
# Not AWS's, and not worth a person's eyes: that Node 20 is old, and that the CLI counts its uses.
QUIET = {"JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "20", "AWS_CDK_DISABLE_CLI_TELEMETRY": "true"}


@dataclass(frozen=True)
class LocalCloud:
    """One local cloud: a port and a folder of state. `up` may be called at any time."""

    port: int
    state: Path
    _clients: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def _command(self, verb: str, *arguments: str) -> list[str]:
        where = ["--port", str(self.port), "--state", str(self.state)]
        # `clock` has actions of its own, which take the options.
        words = [verb, *arguments, *where] if verb == "clock" else [verb, *where, *arguments]
        return [sys.executable, "-m", "localcloud", *words]

    def up(self, *, accelerated: bool = False) -> None:
        """Start it, or go on where it is.

        Args:
            accelerated: By the accelerated clock; else by the folder's, which is the real one where the folder is new.

        Raises:
            DemoError: It does not start, or its clock is to be accelerated and is the real one.
        """
        clock = ["--clock", "accelerated"] if accelerated else []
        if subprocess.run(self._command("up", *clock), cwd=ROOT, check=False).returncode:
            raise DemoError(
                "the local cloud did not start; its own message is above. To begin anew in this folder: --fresh"
            )
        if accelerated and self._clock()["mode"] != "accelerated":
            raise DemoError(
                f"{self.state} is a cloud that lives by the real clock, which ten months cannot be replayed on: "
                "--fresh purges it and begins anew, --state FOLDER --port PORT leaves it alone"
            )

    def down(self, *arguments: str) -> None:
        subprocess.run(self._command("down", *arguments), cwd=ROOT, check=True)

    def now(self) -> datetime:
        """What its clock says."""
        return datetime.fromisoformat(self._clock()["now"])

    def advance(self, to: datetime, resolution: timedelta, *, over_approvals: bool = False) -> list[str]:
        """Let its clock go on, with all that falls due; return the approvals that stopped it, none where it got there.

        Args:
            resolution: What falls due within one is done together.
            over_approvals: Do not stop at an open approval.
        """
        request = {"to": to.timestamp(), "resolution": resolution.total_seconds(), "patience": _PATIENCE_SECONDS}
        return list(self._clock({**request, "over_approvals": over_approvals})["held_by"])

    def fault(self, *arguments: str) -> None:
        """Let instances of an endpoint fail, as `localcloud fault --help` says.

        Raises:
            DemoError: It cannot be.
        """
        done = subprocess.run(self._command("fault", *arguments), cwd=ROOT, check=False, capture_output=True, text=True)
        if done.returncode:
            raise DemoError(f"the fault was not injected: {done.stderr.strip()}")

    def _clock(self, request: dict[str, Any] | None = None) -> dict[str, Any]:
        """What `localcloud clock` asks for: to advance it with a request, to look at it without."""
        call = urllib.request.Request(  # noqa: S310 (our own loopback address)
            f"{self.settings['AWS_ENDPOINT_URL']}/_localcloud/clock",
            data=None if request is None else json.dumps(request).encode(),
            headers={"x-localcloud-key": self.settings["AWS_ACCESS_KEY_ID"]},
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
        """The AWS_* variables that lead every client here, and nowhere else."""
        printed = subprocess.run(self._command("env"), cwd=ROOT, check=True, capture_output=True, text=True).stdout
        pairs = (word.partition("=") for word in shlex.split(printed) if "=" in word)
        return {name: value for name, _, value in pairs}

    @cached_property
    def environment(self) -> dict[str, str]:
        """This process's environment without any AWS setting of its own, then the local cloud's."""
        return (
            {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | QUIET | self.settings
        )

    @cached_property
    def _session(self) -> boto3.Session:
        return boto3.Session(
            aws_access_key_id=self.settings["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.settings["AWS_SECRET_ACCESS_KEY"],
            region_name=self.settings["AWS_DEFAULT_REGION"],
        )

    def client(self, service: str) -> Any:
        if service not in self._clients:
            config = Config(
                retries={"mode": "standard", "max_attempts": 3}, s3={"addressing_style": "path"}, proxies={}
            )
            create: Any = self._session.client  # its overloads want a literal service name
            self._clients[service] = create(service, endpoint_url=self.settings["AWS_ENDPOINT_URL"], config=config)
        return self._clients[service]

    def aws(self, arguments: str) -> str:
        """An AWS CLI line that runs as pasted, from the repository's root."""
        names = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")
        return " ".join([*(f"{name}={self.settings[name]}" for name in names), ".venv/bin/aws", arguments])

    def remote(self, repository: str) -> str:
        """The git repository that pipelines take their code from; made where it is not there yet."""
        command = self._command("remote", repository)
        return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()

    def cdk(self, *arguments: str, cwd: Path = ROOT) -> None:
        """Run the pinned CDK CLI; show its milestones, keep all that it said in the state folder."""
        log = self.state / "demo" / f"cdk-{arguments[0]}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        began = spoke = time.monotonic()
        read = 0
        with log.open("w") as sink:
            process = subprocess.Popen(
                [ROOT / "node_modules" / ".bin" / "cdk", *arguments],
                cwd=cwd,
                env=self.environment,
                stdout=sink,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
            try:
                while process.poll() is None:
                    time.sleep(0.2)
                    lines = log.read_text(errors="replace").splitlines()
                    for line in filter(_is_milestone, lines[read:]):
                        spoke = time.monotonic()
                        say(f"[dim]{spoke - began:5.1f} s[/]  {line.strip()}")
                    read = len(lines)
                    if time.monotonic() - spoke > HEARTBEAT_SECONDS:
                        spoke = time.monotonic()
                        say(f"[dim]{spoke - began:5.1f} s  cdk {arguments[0]} is at work[/]")
            finally:
                process.terminate()
                process.wait()
        lines = log.read_text(errors="replace").splitlines()
        for line in filter(_is_milestone, lines[read:]):
            say(f"[dim]{time.monotonic() - began:5.1f} s[/]  {line.strip()}")
        if process.returncode:
            tail = "\n".join(lines[-12:])
            raise DemoError(f"`npx cdk {' '.join(arguments)}` failed; its last words, all of them in {log}:\n{tail}")

    @property
    def assembly(self) -> Path:
        """Where this cloud's synth goes: the CLI lets nobody else write to cdk.out while it reads it."""
        return self.state / "demo" / "cdk.out"

    def outputs(self, stack: str) -> dict[str, str]:
        found = self.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
        return {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}


def _is_milestone(line: str) -> bool:
    """The CLI's own lines about a whole stack: done, failed, begun."""
    return any(mark in line for mark in ("✅", "❌", "✨  Synthesis time", "⏳  Bootstrapping"))
