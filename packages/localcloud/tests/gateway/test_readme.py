"""The README says what the gateway does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from localcloud_support import coverage

from localcloud.ministack_adapter import boundary
from localcloud.testing import LocalCloud

PACKAGE = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def readme() -> str:
    return (PACKAGE / "README.md").read_text()


def test_the_coverage_of_sagemaker_is_what_is_answered(local: LocalCloud, readme: str) -> None:
    table = coverage.sagemaker_table(local)
    assert table in readme, f"put this into the README:\n{table}"


def test_the_coverage_of_the_other_services_is_what_is_answered(local: LocalCloud, readme: str) -> None:
    table = coverage.other_services_table(local)
    assert table in readme, f"put this into the README:\n{table}"


def test_the_coverage_of_cloudformation_is_what_is_made(readme: str) -> None:
    table = coverage.cloudformation_table()
    assert table in readme, f"put this into the README:\n{table}"


def test_every_service_is_named(readme: str) -> None:
    names = ", ".join(f"`{name}`" for name in sorted(set(boundary.SERVICES.values())))
    assert f"Signing names: {names}." in readme


def test_every_command_is_described(readme: str) -> None:
    command = [sys.executable, "-m", "localcloud", "--help"]
    help_text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    commands = re.findall(r"^    ([a-z]+) ", help_text, re.MULTILINE)
    assert {"up", "down", "status", "clock"} <= set(commands)
    assert [name for name in commands if not re.search(rf"^\| `localcloud {name}\b", readme, re.MULTILINE)] == []


def test_the_example_of_a_test_passes(readme: str, tmp_path: Path) -> None:
    (example,) = [block for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "import pytest" in block]
    (tmp_path / "test_example.py").write_text(example)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
