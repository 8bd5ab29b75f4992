"""One local cloud for the whole folder; what a newcomer runs is what is tested.

It lives by the accelerated clock: a canary bakes for ten minutes, twice, and no test can wait for that.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from evergreen.demo.__main__ import MODEL
from evergreen.demo.cloud import ROOT, LocalCloud
from evergreen.demo.training import Model


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_demo(cloud: LocalCloud) -> str:
    """`make demo ARGS="--yes --until live"` on this cloud; its whole output."""
    where = ["--port", str(cloud.port), "--state", str(cloud.state)]
    command = [sys.executable, "-m", "evergreen.demo", "--yes", "--until", "live", *where]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def localcloud(cloud: LocalCloud, *words: str) -> str:
    """What a command of the local cloud says."""
    where = ["--port", str(cloud.port), "--state", str(cloud.state)]
    command = [sys.executable, "-m", "localcloud", *words, *where]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="session")
def model() -> Model:
    return MODEL


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalCloud, str]]:
    """The cloud after a first demo, and what the demo said."""
    cloud = LocalCloud(free_port(), tmp_path_factory.mktemp("loop") / "state")
    localcloud(cloud, "up", "--clock", "accelerated")
    try:
        yield cloud, run_demo(cloud)
    finally:
        cloud.down("--purge")


@pytest.fixture(scope="session")
def cloud(demo: tuple[LocalCloud, str]) -> LocalCloud:
    return demo[0]


@pytest.fixture(scope="session")
def artifact_bucket(cloud: LocalCloud, model: Model) -> str:
    return cloud.outputs(f"{model.app}-platform-{model.stage}")["ArtifactBucketName"]


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")
