"""The commands of `localcloud`."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from localcloud.ministack_adapter.environment import root_secret
from localcloud.testing import ACCOUNT, REGION, LocalCloud, wait_until


@pytest.fixture
def idle(tmp_path: Path) -> Iterator[LocalCloud]:
    cloud = LocalCloud(tmp_path / "state")
    yield cloud
    cloud.run("down", "--purge")


def test_up_twice_says_that_it_is_up(local: LocalCloud) -> None:
    again = local.run("up")
    assert (again.returncode, again.stdout) == (0, f"Already up: http://127.0.0.1:{local.port} (pid {local.pid})\n")


def test_a_taken_port_is_named_in_one_line_with_the_way_out(idle: LocalCloud) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", idle.port))
        other.listen()
        refused = idle.run("up")
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert f"Port {idle.port} is taken" in line
    assert "--port" in line
    assert not idle.state.exists()


def test_another_local_cloud_on_the_port_is_named_with_the_way_to_stop_it(local: LocalCloud, tmp_path: Path) -> None:
    stranger = LocalCloud(tmp_path / "other", local.port)
    way_out = f"localcloud down --port {local.port} --state {local.state}"
    for verb, code in (("up", 2), ("down", 0)):
        answer = stranger.run(verb)
        assert answer.returncode == code
        assert f"(pid {local.pid}; stop it: {way_out})" in answer.stderr
    assert local.run("status").returncode == 0


def test_down_leaves_no_process_and_keeps_the_state_until_purged(idle: LocalCloud) -> None:
    idle.up()
    role = idle.create_role([], service="lambda.amazonaws.com")
    function = idle.create_function("def handler(event, context):\n    return 1\n", role)
    idle.client("lambda").invoke(FunctionName=function)
    family = [psutil.Process(idle.pid), *psutil.Process(idle.pid).children(recursive=True)]
    assert len(family) > 1
    assert idle.run("down").returncode == 0
    assert not [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    assert idle.run("status").returncode == 3
    idle.up()
    assert idle.client("lambda").get_function(FunctionName=function)
    gateway = psutil.Process(idle.pid)
    (idle.state / "gateway.json").unlink()  # as when the folder was deleted under it
    purged = idle.run("down", "--purge")
    assert (purged.returncode, purged.stdout.splitlines()[0]) == (0, f"Stopped (pid {gateway.pid})")
    assert not gateway.is_running() or gateway.status() == psutil.STATUS_ZOMBIE
    assert not idle.state.exists()


def test_purge_leaves_a_folder_that_is_not_ours_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    refused = LocalCloud(tmp_path).run("down", "--purge")
    assert refused.returncode == 2
    assert (tmp_path / "thesis.txt").exists()


def test_a_reused_pid_is_not_taken_for_the_gateway(idle: LocalCloud) -> None:
    idle.state.mkdir()
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        record = f'{{"pid": {bystander.pid}, "started": 1000.0, "port": {idle.port}}}'
        (idle.state / "gateway.json").write_text(record)
        (idle.state / "gateway.log").touch()
        assert idle.run("status").returncode == 3
        assert idle.run("down").returncode == 0
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_control_c_in_the_foreground_ends_cleanly(idle: LocalCloud) -> None:
    command = [sys.executable, "-m", "localcloud", "up", "--foreground", "--port", str(idle.port)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    gateway = subprocess.Popen(
        [*command, "--state", str(idle.state)], env=environment, stderr=subprocess.PIPE, text=True
    )
    wait_until(lambda: idle.run("status").returncode == 0, 60)
    gateway.send_signal(signal.SIGINT)
    _, errors = gateway.communicate(timeout=30)
    assert gateway.returncode == 0
    assert "Traceback" not in errors


def test_env_leads_a_shell_here_whatever_it_carried(local: LocalCloud) -> None:
    exports = local.run("env").stdout
    script = f"export AWS_PROFILE=real AWS_SESSION_TOKEN=real\n{exports}\nenv"
    seen = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.splitlines()
    assert f"AWS_ENDPOINT_URL=http://127.0.0.1:{local.port}" in seen
    assert f"AWS_SECRET_ACCESS_KEY={root_secret(local.state)}" in seen
    assert not [line for line in seen if line.endswith("=real")]
    assert all(shlex.split(line)[0] in ("export", "unset") for line in exports.splitlines())


def test_env_keeps_the_sagemaker_sdk_here(local: LocalCloud) -> None:
    """The SDK asks AWS's own STS for its default bucket unless the bucket is configured."""
    path = next(line.partition("=")[2] for line in local.run("env").stdout.splitlines() if "SAGEMAKER_ADMIN" in line)
    modules = yaml.safe_load(Path(shlex.split(path)[0]).read_text())["SageMaker"]["PythonSDK"]["Modules"]
    assert modules == {"TelemetryOptOut": True, "Session": {"DefaultS3Bucket": f"sagemaker-{REGION}-{ACCOUNT}"}}


def test_status_says_what_runs(local: LocalCloud) -> None:
    local.deploy_stack("shown", {"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}})
    answer = local.run("status").stdout
    assert f"http://127.0.0.1:{local.port}" in answer
    assert f"pid {local.pid}" in answer
    assert any(line.split() == ["shown", "CREATE_COMPLETE"] for line in answer.splitlines())
    seen = json.loads(local.run("status", "--json").stdout)
    assert (seen["pid"], seen["port"], seen["endpoints"], seen["jobs"]) == (local.pid, local.port, [], [])
    assert seen["uptime_seconds"] > 0
    assert seen["isolation"] in answer
    assert {"name": "shown", "status": "CREATE_COMPLETE"} in seen["stacks"]


def test_status_says_that_nothing_runs(idle: LocalCloud) -> None:
    answer = idle.run("status", "--json")
    assert (answer.returncode, json.loads(answer.stdout)["running"]) == (3, False)


def test_env_redirects_clients_with_awss_hosts_in_their_code(local: LocalCloud) -> None:
    """Cover `aws sqs` of CLI v1, and STS as the SageMaker SDK v2 asks it."""
    exports = local.run("env", "--hosts").stdout
    asks = (
        "import boto3; print(boto3.client('sts', endpoint_url='https://sts.us-east-1.amazonaws.com')"
        ".get_caller_identity()['Account'])"
    )
    aws = shlex.quote(str(Path(sys.executable).with_name("aws")))
    commands = f"{aws} sqs list-queues --cli-connect-timeout 5 && {shlex.quote(sys.executable)} -c {shlex.quote(asks)}"
    done = subprocess.run(["sh", "-ec", f"{exports}\n{commands}"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, ACCOUNT), done.stderr
