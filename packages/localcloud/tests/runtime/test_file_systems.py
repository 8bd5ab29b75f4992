"""A container's file system: the host's files are not in it, and its links are not followed on the host."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from localcloud_support.containers import BUCKET, IMAGES, FakeAws, Jobs, processing, script_mode, training

import localcloud
from localcloud.codebuild import image
from localcloud.runtime import images, visible
from localcloud.runtime.contract import ContainerError
from localcloud.runtime.sandbox import Sandbox
from localcloud.runtime.transfer import TransferError, unpack
from localcloud.runtime.warm import interpreter_environment

_TRIES = """
import json, os, pathlib
def attempt(act, *arguments):
    try:
        return str(act(*arguments))
    except OSError as error:
        return type(error).__name__
asked = json.loads(os.environ["ASKED"])
read = {path: attempt(lambda: pathlib.Path(path).read_text()[:40]) for path in asked}
wrote = {path: attempt(lambda: pathlib.Path(path).write_text("x")) for path in ("/usr/x", os.environ["PREFIX"] + "/x")}
print(json.dumps({
    "read": read, "wrote": wrote, "home": os.path.expanduser("~"), "in home": os.listdir(os.path.expanduser("~")),
    "processes": len([name for name in os.listdir("/proc") if name.isdigit()]),
    "kernel": attempt(lambda: pathlib.Path("/proc/sys/kernel/core_pattern").write_text("|/tmp/x")),
    "mount": os.system("mount -t tmpfs none /mnt 2>/dev/null") != 0,
    "device": attempt(lambda: os.mknod("/tmp/disk", 0o60600, os.makedev(254, 0))),
}))
"""


def _secrets(folder: Path) -> list[str]:
    """Write what a developer would not show; return the files, and further ones that exist on any machine."""
    found = ["/etc/shadow", "/etc/machine-id", str(Path(localcloud.__file__).parents[2] / "pyproject.toml")]
    for name in ("home/.ssh/id_rsa", "project/.env", "state/runtime/jobs/other/ml/input/data.csv"):
        file = folder / name
        file.parent.mkdir(parents=True)
        file.write_text("secret")
        found.append(str(file))
    return found


@pytest.mark.usefixtures("namespaces")
@pytest.mark.parametrize("isolated", [True, False])
def test_a_job_reads_neither_home_nor_project_nor_another_jobs_folder(
    aws: FakeAws, jobs: Jobs, tmp_path: Path, isolated: bool
) -> None:
    asked = _secrets(tmp_path)
    found = images.stand_in(f"{IMAGES}sagemaker-scikit-learn:1.4-2")
    assert found is not None
    request = processing(
        f"curious-{isolated}",
        ["python3", "-c", _TRIES],
        Environment={"ASKED": json.dumps(asked), "PREFIX": str(found.environment.base)},
        NetworkConfig={"EnableNetworkIsolation": isolated},
    )
    assert jobs.run("processing", request).failure_reason is None
    seen = json.loads(aws.log_text())
    assert set(seen["read"].values()) == {"FileNotFoundError"}, seen["read"]
    assert set(seen["wrote"].values()) == {"OSError"}  # read-only
    shown = (found.environment.root, found.environment.base)
    below_home = {path.relative_to("/root").parts[0] for path in shown if path.is_relative_to("/root")}
    assert seen["home"] == "/root"
    assert set(seen["in home"]) <= below_home
    assert (seen["kernel"], seen["mount"], seen["device"]) == ("OSError", True, "PermissionError")


def _python_of_everybody() -> str | None:
    """Return a Python of this version that every user of the machine may run."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return shutil.which(name, path="/usr/bin:/usr/local/bin")


_AS_NOBODY = """
import os, subprocess, sys
from pathlib import Path
from localcloud.runtime.contract import ContainerError
from localcloud.runtime.sandbox import Sandbox, isolation
box = Sandbox(Path(sys.argv[1]))
box.ml.mkdir()
assert isolation().namespaces, isolation().sentence
environment = {"PATH": "/usr/bin:/bin", "ASKED": sys.argv[3], "PREFIX": "/usr", "HOME": "/root"}
container = box.start([sys.executable, "-c", sys.argv[2]], environment, cwd="/opt/ml", isolate_network=True)
print(container.output.read().decode())
raise SystemExit(container.wait())
"""


@pytest.mark.usefixtures("namespaces")
def test_an_ordinary_users_container_is_the_same() -> None:
    python, package = _python_of_everybody(), Path(localcloud.__file__).parents[1]
    if os.getuid() != 0 or python is None:
        pytest.skip("needs root, to become an ordinary user, and a Python that every user may run")
    with tempfile.TemporaryDirectory(dir="/tmp") as given:
        folder = Path(given)
        asked = _secrets(folder)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, 65534, 65534)
        found = subprocess.run(
            [python, "-P", "-c", _AS_NOBODY, str(folder / "box"), _TRIES, json.dumps(asked)],
            env={"PYTHONPATH": os.pathsep.join([str(package), sysconfig.get_path("purelib")]), "PATH": os.defpath},
            user=65534, group=65534, extra_groups=[], cwd="/", capture_output=True, text=True,
        )  # fmt: skip
        if "Permission denied" in found.stderr or "No module named" in found.stderr:
            pytest.skip(f"the repository is not readable for an ordinary user: {found.stderr.splitlines()[-1]}")
        assert found.returncode == 0, found.stdout + found.stderr
        seen = json.loads(found.stdout)
    assert set(seen["read"].values()) == {"FileNotFoundError"}, seen["read"]
    assert set(seen["wrote"].values()) == {"OSError"}
    assert (seen["in home"], seen["mount"], seen["device"]) == ([], True, "PermissionError")


@pytest.mark.usefixtures("namespaces")
def test_a_project_on_the_path_shows_its_packages_and_nothing_around_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pyproject.toml", ".env", "package/__init__.py", "module.py", "models/data.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("value = 1")
    monkeypatch.syspath_prepend(tmp_path)
    box = Sandbox(tmp_path / "box")
    box.ml.mkdir()
    script = (
        f"import sys, os; sys.path.append({str(tmp_path)!r}); import package, module; print(os.listdir(sys.path[-1]))"
    )
    container = box.start(["python3", "-c", script], interpreter_environment(), cwd="/")
    output = container.output.read().decode()
    container.output.close()
    assert container.wait() == 0, output
    assert sorted(name.strip("' []\n") for name in output.split(",")) == ["module.py", "package"]


def test_a_home_on_the_path_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    (tmp_path / "user").mkdir()
    for entry in (tmp_path, tmp_path / "user", Path("/")):
        monkeypatch.setattr(sys, "path", [*sys.path, str(entry)])
    assert not {str(tmp_path), str(tmp_path / "user"), "/"} & set(visible.this_environment())


@pytest.mark.parametrize("entry", ["", "relative", "/nonesuch", "{folder}/closed", "{folder}/closed/below"])
def test_a_path_that_nobody_can_read_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    text = entry.format(folder=tmp_path)
    monkeypatch.setattr(os, "access", _denying(closed))
    monkeypatch.setenv("PATH", os.pathsep.join([text, os.environ["PATH"]]))
    monkeypatch.setattr(sys, "path", [text, *sys.path])
    assert text not in visible.programs()
    assert text not in visible.this_environment()


def _denying(closed: Path) -> Callable[..., bool]:
    """Return an `os.access` that also denies root what is closed for everybody."""
    original = os.access

    def access(path: str | Path, mode: int) -> bool:
        return not Path(path).is_relative_to(closed) and original(path, mode)

    return access


@pytest.mark.usefixtures("namespaces")
def test_symbolic_links_of_a_processing_job_are_not_followed(aws: FakeAws, jobs: Jobs, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/key.txt").write_text("secret")
    script = (
        f"ln -s {tmp_path}/secret/key.txt {tmp_path}/secret /opt/ml/processing/out;"
        f"echo mine > /opt/ml/processing/out/mine; ln -s {tmp_path}/secret/key.txt /opt/ml/output/message"
    )
    request = processing("linked", ["sh", "-c", script], outputs={"out": f"s3://{BUCKET}/linked"})
    update = jobs.run("processing", request)
    assert (update.failure_reason, update.exit_message) == (None, None)
    assert aws.keys("linked") == ["linked/mine"]
    replaced = f"rm -r /opt/ml/processing/out; ln -s {tmp_path}/secret /opt/ml/processing/out"
    request = processing("replaced", ["sh", "-c", replaced], outputs={"out": f"s3://{BUCKET}/replaced"})
    assert "symbolic link" in str(jobs.run("processing", request).failure_reason)
    assert aws.keys("replaced") == []
    failing = f"ln -s {tmp_path}/secret/key.txt /opt/ml/output/failure; exit 1"
    reason = jobs.run("processing", processing("failing", ["sh", "-c", failing])).failure_reason
    assert reason == "AlgorithmError: See job logs for more information, exit code: 1"


@pytest.mark.usefixtures("namespaces")
@pytest.mark.parametrize("directory", ["model", "output/data", "output"])
def test_symbolic_links_of_a_training_job_are_not_followed(
    aws: FakeAws, jobs: Jobs, tmp_path: Path, directory: str
) -> None:
    (tmp_path / "secret/data").mkdir(parents=True)
    (tmp_path / "secret/key.txt").write_text("secret")
    place = f"/opt/ml/{directory}"
    script = f"import os, shutil; shutil.rmtree({place!r}); os.symlink('{tmp_path}/secret', {place!r})"
    aws.put("code/train.py", script)
    name = f"links-{directory.replace('/', '-')}"
    request = training(
        name,
        "sagemaker-scikit-learn:1.4-2",
        channels={"code": f"s3://{BUCKET}/code/"},
        HyperParameters=script_mode("train.py", "/opt/ml/input/data/code"),
    )
    update = jobs.run("training", request)
    assert "symbolic link" in str(update.failure_reason)
    assert not aws.keys(f"out/{name}/output/{directory.split('/')[0]}")


@pytest.mark.parametrize("directory", ["{folder}", "/opt/ml/../../{folder}", "relative"])
def test_code_is_not_taken_from_the_host(aws: FakeAws, jobs: Jobs, tmp_path: Path, directory: str) -> None:
    (tmp_path / "train.py").write_text("print('ran')")
    request = training(
        "host-code",
        "sagemaker-scikit-learn:1.4-2",
        HyperParameters=script_mode("train.py", directory.format(folder=tmp_path)),
    )
    assert "No such file or directory" in str(jobs.run("training", request).failure_reason)


@pytest.mark.parametrize(
    "links",
    [
        [("a", "b", False), ("b", "..", False)],
        [("d/e", "..", False), ("f", "d/e/../../x", False)],
        [("a", "/etc", False)],
    ],
    ids=["chain", "dots behind a link", "absolute"],
)
def test_an_archive_cannot_write_through_its_links(tmp_path: Path, links: list[tuple[str, str, bool]]) -> None:
    archive = tmp_path / "model.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, target, _ in links:
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            tar.addfile(link)
        member = tarfile.TarInfo("a/written")
        member.size = 1
        tar.addfile(member, io.BytesIO(b"x"))
    with pytest.raises(TransferError):
        unpack(archive, tmp_path / "to/deep", "model.tar.gz")
    assert not list(tmp_path.rglob("written"))


@pytest.mark.usefixtures("namespaces")
@pytest.mark.parametrize("inside", ["/tmp", "/root"])
def test_a_restarted_server_cannot_lead_its_mounts_out_by_links(tmp_path: Path, inside: str) -> None:
    if not os.access(inside, os.W_OK):
        pytest.skip(f"needs a directory of its own in {inside}")
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "module.py").write_text("precious")
    box = Sandbox(tmp_path / "box")
    box.ml.mkdir()
    seen = f"{inside}/seen-{os.getpid()}"
    host = Path(seen)
    host.mkdir()
    try:
        (host / "module.py").write_text("value = 1")
        planted = box.tmp if inside == "/tmp" else box.home
        (planted / host.name).symlink_to(victim)
        with pytest.raises(ContainerError, match="symbolic link"):
            box.start(["true"], {"PATH": os.defpath}, cwd="/", read_only=[f"{seen}/module.py", f"{seen}/new"])
        assert (victim / "module.py").read_text() == "precious"
        assert [file.name for file in victim.iterdir()] == ["module.py"]
    finally:
        shutil.rmtree(host)


@pytest.mark.usefixtures("namespaces")
def test_a_build_has_programs_and_caches_but_not_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = tmp_path / "user"
    for name in (".ssh/id_rsa", ".cache/uv/wheel", ".npmrc"):
        (user / name).parent.mkdir(parents=True, exist_ok=True)
        (user / name).write_text("registry=https://r.example/\n//r.example/:_authToken=secret\n")
    monkeypatch.setenv("HOME", str(user))
    monkeypatch.delenv("UV_CACHE_DIR", raising=False)
    home = tmp_path / "build"
    image.prepare(home, tmp_path / "python", "/tmp/python")
    assert (home / ".npmrc").read_text() == "registry=https://r.example/\n"
    box = Sandbox(tmp_path / "box")
    box.ml.mkdir()
    script = (
        f"git --version && uv --version; cat {user}/.cache/uv/wheel >/dev/null && echo new > {user}/.cache/uv/wheel"
    )
    environment = image.environment("/tmp/home", "/tmp/python")
    container = box.start(
        ["sh", "-c", f"{script} && echo cached; ls -A {user} {user}/.ssh"],
        environment, cwd="/", read_only=image.visible_paths(), overlays=image.caches(),
    )  # fmt: skip
    output = container.output.read().decode()
    container.output.close()
    container.wait()
    assert "git version" in output
    assert "id_rsa" not in output
    if "cached" in output:  # overlays are not permitted everywhere; then the cache is empty
        assert ".cache" in output
    assert "secret" in (user / ".cache/uv/wheel").read_text()
