"""`evergreen prove` on the local cloud, killed once in each of its steps.

The local cloud has the accelerated clock, which this test moves while a proof waits for something: a bake, a full hour,
the delivery of captured data. The command does not know.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from evergreen import ROOT
from evergreen.demo.cloud import LocalCloud
from evergreen.demo.terminal import DemoError
from evergreen.prove.run import CLEANING, STEPS
from tests.loop.conftest import free_port, localcloud

pytestmark = [pytest.mark.loop, pytest.mark.timeout(900)]

_TITLES = {step.title: step.name for step in (*STEPS, *CLEANING)}
# Steps that wait for the clock, and how far it moves at once: the alarm needs requests in each minute of the bake.
_MINUTES = {"capture": 1, "rollback": 1, "canary": 5, "reject": 5, "monitor": 15, "drift": 1}
# How long a proof may work on a step before it is killed in it, seconds. In the others it is killed at once.
_INTO = {"deploy": 6.0, "upload": 0.5, "train": 3.0, "release": 2.0, "destroy": 3.0, "remove": 0.3}


class Run:
    """A proof's process: its output, the step that it is in, and whether it waits."""

    def __init__(self, cloud: LocalCloud, folder: Path, *arguments: str) -> None:
        command = [sys.executable, "-u", "-m", "evergreen", "prove", "--yes", "--folder", str(folder), *arguments]
        where = ["--port", str(cloud.port), "--state", str(cloud.state)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        self.process = subprocess.Popen(
            [*command, *where], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.lines: list[str] = []
        self.step = ""
        self.waits = False
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if line.strip() in _TITLES:
                self.step, self.waits = _TITLES[line.strip()], False
            self.waits = self.waits or "  waiting for " in line

    @property
    def runs(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        self.process.kill()
        self.join()

    def join(self) -> int:
        code = self.process.wait()
        self._reader.join(5)  # a CLI that outlives the proof keeps its own files open, not this pipe
        return code


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """Yield a local cloud with CDK's bootstrap and nothing else."""
    folder = tmp_path_factory.mktemp("prove")
    cloud = LocalCloud(free_port(), folder / "state")
    localcloud(cloud, "up", "--clock", "accelerated")
    try:
        cloud.cdk("bootstrap", "aws://000000000000/us-east-1", cwd=folder)  # where no cdk.json asks for a synth
        yield cloud
    finally:
        cloud.down("--purge")


def _may_move(step: str, folder: Path) -> bool:
    """Say whether a step has done what must precede the time: the canary gets malformed requests while it bakes."""
    if step != "canary":
        return True
    (path,) = folder.glob("prove*/state.json")
    return "canary_refusals" in json.loads(path.read_text(encoding="utf-8"))["facts"]


@pytest.fixture(scope="module")
def proof(account: LocalCloud, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], list[str]]:
    """Run a proof to its end, killed once in each step. Return its folder, its output and the steps of the kills."""
    folder = tmp_path_factory.mktemp("proofs")
    killed: list[str] = []
    said: list[str] = []
    run = Run(account, folder)
    entered, at = "", 0.0
    while run.runs:
        time.sleep(0.1)
        if run.step != entered:
            entered, at = run.step, time.monotonic()
        if not run.step:
            continue
        # The alarm's step is killed when it waits for it: requests have reached the canary by then.
        ripe = run.waits if run.step == "rollback" else time.monotonic() - at > _INTO.get(run.step, 0)
        if run.step not in killed and ripe:
            killed.append(run.step)
            run.kill()
            said += [*run.lines, "(killed)"]
            run, entered = Run(account, folder), ""
        elif run.step in _MINUTES and run.waits and run.runs and _may_move(run.step, folder):
            minutes = timedelta(minutes=_MINUTES[run.step])
            try:
                account.advance(account.now() + minutes, timedelta(minutes=1), over_approvals=True)
            except DemoError as error:
                run.lines.append(f"clock: {error}")
    code = run.join()
    said += run.lines
    assert code == 0, "\n".join(said)
    return folder, said, killed


def test_a_proof_that_is_killed_in_each_step_continues_to_its_end(proof: tuple[Path, list[str], list[str]]) -> None:
    _, lines, killed = proof
    assert killed == [name for name in _TITLES.values() if name in killed]
    # What these wait for may be there before they look, so they can end before they are killed.
    assert set(_TITLES.values()) - set(killed) <= {"train-bad", "train-good", "verify"}
    assert any("Continuing prove" in line for line in lines)


def test_every_assumption_holds_on_the_local_cloud(proof: tuple[Path, list[str], list[str]]) -> None:
    (path,) = proof[0].glob("prove*/report.json")
    report = json.loads(path.read_text(encoding="utf-8"))
    assert {row["id"]: row["seen"] for row in report["rows"] if row["verdict"] != "held"} == {}
    assert "000000000000" not in path.read_text(encoding="utf-8")


def test_nothing_of_the_proof_is_left(account: LocalCloud, proof: tuple[Path, list[str], list[str]]) -> None:
    """The account holds CDK's bootstrap only: each list is empty, whatever the names are."""
    stacks = account.client("cloudformation").describe_stacks()["Stacks"]
    assert [stack["StackName"] for stack in stacks] == ["CDKToolkit"]
    (bucket,) = account.client("s3").list_buckets()["Buckets"]
    assert "Versions" not in account.client("s3").list_object_versions(Bucket=bucket["Name"]), "assets are left"
    sagemaker = account.client("sagemaker")
    assert not sagemaker.list_endpoints()["Endpoints"]
    assert not sagemaker.list_models()["Models"]
    assert not sagemaker.list_endpoint_configs()["EndpointConfigs"]
    assert not sagemaker.list_model_package_groups()["ModelPackageGroupSummaryList"]
    assert not sagemaker.list_processing_jobs()["ProcessingJobSummaries"]
    assert not sagemaker.list_training_jobs()["TrainingJobSummaries"]
    assert not account.client("dynamodb").list_tables()["TableNames"]
    assert not account.client("cloudwatch").describe_alarms()["MetricAlarms"]
    kms = account.client("kms")
    states = [kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["KeyState"] for key in kms.list_keys()["Keys"]]
    assert set(states) <= {"PendingDeletion"}


def test_there_is_nothing_to_clean_afterwards(account: LocalCloud, proof: tuple[Path, list[str], list[str]]) -> None:
    run = Run(account, proof[0], "--clean")
    assert run.join() == 0
    assert "nothing to delete" in "\n".join(run.lines)
