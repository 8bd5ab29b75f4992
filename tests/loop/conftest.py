"""One local cloud for the whole folder, with the demo deployed, as a new user would run it.

It has the accelerated clock: a canary bakes for ten minutes, twice, and no test can wait for that.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from evergreen import ROOT
from evergreen.demo import CONFIGURATION, MODEL
from evergreen.demo.cloud import LocalCloud
from evergreen.names import Names


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_demo(cloud: LocalCloud) -> str:
    """Run `make demo ARGS="--yes --until live"` on this cloud. Return its output."""
    where = ["--port", str(cloud.port), "--state", str(cloud.state)]
    command = [sys.executable, "-m", "evergreen", "demo", "--yes", "--until", "live", *where]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def localcloud(cloud: LocalCloud, *words: str) -> str:
    """Run a command of the local cloud. Return its output."""
    where = ["--port", str(cloud.port), "--state", str(cloud.state)]
    command = [sys.executable, "-m", "localcloud", *words, *where]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def selecting(cloud: LocalCloud) -> dict[str, str]:
    """Return an environment without AWS settings that selects this cloud and the demo's application."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return environment | {
        "TARGET": "local",
        "EVERGREEN_PORT": str(cloud.port),
        "EVERGREEN_STATE": str(cloud.state),
        "EVERGREEN_CONFIG": CONFIGURATION,
    }


def evergreen(cloud: LocalCloud, *words: str, exit_code: int = 0) -> str:
    """Run a command of the command line on this cloud. Return its standard output."""
    command = [sys.executable, "-m", "evergreen", *words]
    done = subprocess.run(command, cwd=ROOT, env=selecting(cloud), capture_output=True, text=True, timeout=120)
    assert done.returncode == exit_code, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def model() -> Names:
    return MODEL


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalCloud, str]]:
    """Yield the cloud after a first demo, and the demo's output."""
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
def artifact_bucket(cloud: LocalCloud, model: Names) -> str:
    return cloud.outputs(model.platform_stack)["ArtifactBucketName"]


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")
