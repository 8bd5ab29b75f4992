"""Behind a company's proxy: nothing that talks to the local cloud uses it."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from localcloud_support.pipelines import git

from localcloud import loopback
from localcloud.testing import LocalCloud, wait_until

_FUNCTION = """
import boto3, os
def handler(event, context):
    return {"account": boto3.client("sts").get_caller_identity()["Account"], "proxy": os.environ.get("HTTP_PROXY")}
"""
_JOB = "import boto3; boto3.client('s3').put_object(Bucket='proxied', Key='made', Body=b'by a container')"


class Proxy:
    """A proxy that accepts connections and never answers."""

    def __init__(self) -> None:
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            connection.close()


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    """Yield a proxy that every variable names, with no host exempt."""
    made = Proxy()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            patch.setenv(name, made.url)
            patch.setenv(name.lower(), made.url)
        for name in ("NO_PROXY", "no_proxy"):
            patch.delenv(name, raising=False)
        yield made
    made.close()


@pytest.fixture(scope="module")
def cloud(proxy: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    with LocalCloud(tmp_path_factory.mktemp("proxied") / "state", accelerated=True) as made:
        made.client("s3").create_bucket(Bucket="proxied")
        yield made


@pytest.fixture(autouse=True)
def not_asked(proxy: Proxy) -> Iterator[None]:
    yield
    assert proxy.connections == 0


def test_the_commands_answer(cloud: LocalCloud) -> None:
    assert cloud.run("up", "--clock", "accelerated").stdout.startswith("Already up")
    assert cloud.run("status").returncode == 0
    assert cloud.clock("advance", "--by", "1h")["now"]
    assert json.loads(cloud.run("fault").stdout)["faults"] == []


def test_a_shell_with_the_exports_asks_past_the_proxy(cloud: LocalCloud) -> None:
    program = "import boto3; boto3.client('s3').list_buckets()"
    script = f"{cloud.run('env').stdout}\n{shlex.join([sys.executable, '-c', program])}"
    subprocess.run(["bash", "-c", script], check=True, capture_output=True, timeout=60)


def test_a_function_asks_past_the_proxy(cloud: LocalCloud, proxy: Proxy) -> None:
    name = cloud.create_function(_FUNCTION, cloud.create_role([], "lambda.amazonaws.com"))
    answer = json.load(cloud.client("lambda").invoke(FunctionName=name)["Payload"])
    assert answer == {"account": "000000000000", "proxy": proxy.url}


def test_a_container_asks_past_the_proxy(cloud: LocalCloud) -> None:
    role = cloud.create_role([{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}], "sagemaker.amazonaws.com")
    sagemaker = cloud.client("sagemaker")
    sagemaker.create_processing_job(
        ProcessingJobName="proxied",
        RoleArn=role,
        AppSpecification={"ImageUri": "python", "ContainerEntrypoint": ["python3", "-c", _JOB]},
        ProcessingResources={"ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}},
    )

    def ended() -> dict[str, Any] | None:
        job: dict[str, Any] = sagemaker.describe_processing_job(ProcessingJobName="proxied")
        return job if job["ProcessingJobStatus"] in ("Completed", "Failed") else None

    assert wait_until(ended, 30).get("FailureReason") is None
    assert cloud.client("s3").get_object(Bucket="proxied", Key="made")["Body"].read() == b"by a container"


def test_a_push_reaches_the_gateway(cloud: LocalCloud, tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "remote", "add", "local", cloud.run("remote", "proxied").stdout.strip())
    git(tmp_path, "commit", "-qm", "first", "--allow-empty")
    pushed = git(tmp_path, "push", "local", "main")
    assert (pushed.returncode, "No pipeline was started" in pushed.stderr) == (0, True), pushed.stderr


@pytest.mark.parametrize(
    ("given", "exempt"),
    [
        ({}, "127.0.0.1,localhost"),
        ({"NO_PROXY": "internal.example, 10.0.0.1"}, "internal.example,10.0.0.1,127.0.0.1,localhost"),
        ({"no_proxy": "a", "NO_PROXY": "b,localhost"}, "b,localhost,a,127.0.0.1"),
        ({"no_proxy": "*"}, "*"),
    ],
)
def test_loopback_is_added_to_what_is_exempt_already(given: dict[str, str], exempt: str) -> None:
    assert loopback.no_proxy(given) == {"NO_PROXY": exempt, "no_proxy": exempt}


def test_env_exports_what_is_exempt(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "internal.example")
    shell = f"{cloud.run('env').stdout}\nenv"
    seen = subprocess.run(
        ["bash", "-c", shell], capture_output=True, text=True, check=True, env=dict(os.environ)
    ).stdout
    assert "NO_PROXY=internal.example,127.0.0.1,localhost" in seen.splitlines()
    assert "no_proxy=internal.example,127.0.0.1,localhost" in seen.splitlines()
