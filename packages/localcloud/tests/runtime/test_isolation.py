"""Isolation: containers end with their gateway, and machines without namespaces run the same scripts."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from localcloud_support.containers import BUCKET, FIXTURES, FakeAws, Jobs, processing, script_mode, training

from localcloud.runtime import jobs as jobs_module
from localcloud.runtime import sandbox
from localcloud.runtime.contract import JobUpdate
from localcloud.runtime.sandbox import Isolation, Sandbox, process_start

_GATEWAY = """
import os, sys
from pathlib import Path
from localcloud.runtime.sandbox import Sandbox
box = Sandbox(Path(sys.argv[1]))
box.ml.mkdir()
container = box.start(["sh", "-c", "setsid sleep 4714 & sleep 4714"], {"PATH": os.defpath}, cwd="/")
print(container.pid, flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def no_namespaces(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sandbox, "isolation", lambda: Isolation(False, False, "none"))
    yield


def _gone_within(seconds: float, pid: int) -> bool:
    deadline = time.monotonic() + seconds
    while process_start(pid) is not None and time.monotonic() < deadline:
        time.sleep(0.02)
    return process_start(pid) is None


@pytest.mark.usefixtures("pid_namespace")
def test_containers_end_when_their_gateway_is_killed(tmp_path: Path) -> None:
    gateway = subprocess.run([sys.executable, "-c", _GATEWAY, str(tmp_path)], capture_output=True, text=True)
    assert gateway.returncode == -signal.SIGKILL
    assert _gone_within(5, int(gateway.stdout))
    assert "4714" not in _command_lines()


def _command_lines() -> str:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(entry.read_text())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return "".join(found)


@pytest.mark.usefixtures("namespaces")
def test_a_container_sees_what_python_imports_below_tmp_and_nothing_else_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package that is installed in place, in a clone below /tmp, is a folder of its own on the path."""
    if not tmp_path.is_relative_to("/tmp"):
        pytest.skip("pytest's folder is not below /tmp here")
    for name in ("package", "other"):
        (tmp_path / name).mkdir()
    monkeypatch.syspath_prepend(tmp_path / "package")
    box = Sandbox(tmp_path / "box")
    box.ml.mkdir(parents=True)
    looked = ["sh", "-c", f"test -d {tmp_path}/package && ! test -d {tmp_path}/other"]
    container = box.start(looked, {"PATH": os.defpath}, cwd="/")
    assert container.wait() == 0, container.output.read()
    container.output.close()


def test_jobs_of_a_killed_gateway_are_ended_and_reported_failed(aws: FakeAws) -> None:
    root = aws.cloud.state_dir / "runtime/jobs/x"
    box = Sandbox(root)
    box.ml.mkdir()
    container = box.start(["sleep", "4715"], {"PATH": os.defpath}, cwd="/")
    record = {"root": str(root), "pid": container.pid, "start": process_start(container.pid)}
    aws.cloud.store.put("RuntimeJob", "training/lost", record)
    updates: list[tuple[str, str, JobUpdate]] = []
    jobs_module.JobRunner(aws.cloud, lambda *update: updates.append(update)).recover()
    container.wait()
    container.output.close()
    assert [(kind, name, update.status) for kind, name, update in updates] == [("training", "lost", "Failed")]
    assert "stopped while the job was running" in str(updates[0][2].failure_reason)
    assert not root.exists()
    assert aws.cloud.store.list("RuntimeJob") == []


def test_shutdown_ends_running_jobs_and_reports_them(aws: FakeAws) -> None:
    running = Jobs(aws)
    running.runner.start("processing", "long", "arn", processing("long", ["sleep", "4716"]))
    running.wait_for("long", "Training")
    began = time.monotonic()
    running.runner.shutdown()
    assert time.monotonic() - began < 3
    assert running.updates["long"][-1].status == "Failed"
    assert "4716" not in _command_lines()


@pytest.mark.usefixtures("namespaces")
def test_a_script_cannot_change_the_developers_environment(tmp_path: Path) -> None:
    box = Sandbox(tmp_path)
    box.ml.mkdir()
    target = Path(sys.prefix) / "made-by-a-container"
    container = box.start(["touch", str(target)], {"PATH": os.defpath}, cwd="/")
    assert b"Read-only file system" in container.output.read()
    assert container.wait() == 1
    container.output.close()
    assert not target.exists()


def _processor_seconds(work: Callable[[], object]) -> float:
    """Return the processor time of the processes that `work` starts and waits for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_a_container_costs_no_more_than_a_few_starts_of_python(tmp_path: Path) -> None:
    """Compare processor times measured in the same run, because both depend on the machine's load."""
    sandbox.isolation()

    def contained() -> None:
        container = box.start(["true"], {"PATH": os.defpath}, cwd="/")
        container.wait()
        container.output.close()

    spent, floor = [], []
    for number in range(5):
        box = Sandbox(tmp_path / str(number))
        box.ml.mkdir()
        spent.append(_processor_seconds(contained))
        floor.append(_processor_seconds(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True)))
    assert min(spent) < 6 * min(floor), (spent, floor)


@pytest.mark.usefixtures("no_namespaces")
def test_without_namespaces_hard_coded_paths_still_work(aws: FakeAws, jobs: Jobs) -> None:
    script = (
        "import pathlib, os, shutil\n"
        "source = pathlib.Path('/opt/ml/processing/input/x')\n"
        "assert os.path.exists('/opt/ml/processing/out') and not os.path.exists('/opt/ml/nonesuch')\n"
        "shutil.copy(next(source.glob('*.txt')), '/opt/ml/processing/out/copied')\n"
    )
    aws.put("x/a.txt", "content")
    request = processing(
        "mapped",
        ["python3", "/opt/ml/processing/input/code/s.py"],
        inputs={"x": f"s3://{BUCKET}/x", "code": aws.put("s.py", script)},
        outputs={"out": f"s3://{BUCKET}/o"},
    )
    assert jobs.run("processing", request).failure_reason is None
    assert aws.get("o/copied") == b"content"


@pytest.mark.usefixtures("no_namespaces")
def test_without_namespaces_a_script_still_gets_sigterm(aws: FakeAws, jobs: Jobs) -> None:
    aws.put("code/handles_sigterm.py", (FIXTURES / "handles_sigterm.py").read_bytes().replace(b"4711", b"0.1"))
    request = training(
        "stopped",
        "sagemaker-scikit-learn:1.4-2",
        channels={"code": "s3://data/code/"},
        HyperParameters=script_mode("handles_sigterm.py", "/opt/ml/input/data/code"),
    )
    jobs.runner.start("training", "stopped", "arn", request)
    jobs.wait_for("stopped", "Training")
    deadline = time.monotonic() + 60
    while "ready" not in aws.log_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    jobs.runner.stop("training", "stopped")
    update = jobs.wait("stopped")
    assert update.secondary_status == "Stopped"
    assert aws.get_archive(str(update.model_artifacts)) == {"checkpoint": b"stopped in time"}


@pytest.mark.usefixtures("pid_namespace")
def test_a_sigterm_before_the_container_watches_for_it_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program may run before its supervisor has a handler; the launcher's source is slowed down there."""
    source = sandbox.LAUNCHER.read_text(encoding="utf-8")
    slow = source.replace("    reader, writer = os.pipe()\n", "    time.sleep(1)\n    reader, writer = os.pipe()\n")
    assert slow != source
    launcher = tmp_path / "launcher.py"
    launcher.write_text(slow.replace("import sys\n", "import sys\nimport time\n", 1), encoding="utf-8")
    for name in ("messages.py", "mounts.py", "tree.py"):
        shutil.copy(sandbox.LAUNCHER.with_name(name), tmp_path)
    monkeypatch.setattr(sandbox, "LAUNCHER", launcher)
    box = Sandbox(tmp_path / "box")
    box.ml.mkdir(parents=True)
    container = box.start(["sh", "-c", "trap 'exit 7' TERM; echo up; sleep 20 & wait"], {"PATH": os.defpath}, cwd="/")
    assert container.output.readline() == b"up\n"
    container.terminate()
    assert container.wait() == 7
    container.output.close()
