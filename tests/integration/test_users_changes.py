"""A user's valid change of `evergreen.yaml` or `models/` passes `make check`, in a copy of the tree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(600)

SHARED = (".venv", "node_modules", ".cache")
NOT_COPIED = (".git", ".localcloud", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", "cdk.out")
# Of the unit and stacks tests, those whose code reads the configuration.
READERS = ("configuration", "delivery", "pipelines", "preflight")


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    """Return a copy of the tree with the example in `models/`, which shares the environment."""
    folder = tmp_path / "tree"
    ignored = shutil.ignore_patterns("__pycache__", *SHARED, *NOT_COPIED)
    shutil.copytree(root, folder, ignore=ignored)
    for name in SHARED:
        (folder / name).symlink_to(root / name)
    shutil.rmtree(folder / "models")
    shutil.copytree(root / "models", folder / "models", ignore=lambda _folder, names: set(names) - {"ruff.toml"})
    shutil.copytree(root / "examples", folder / "models", dirs_exist_ok=True)
    shutil.copy(root / "tests" / "fixtures" / "application" / "evergreen.yaml", folder)
    return folder


def edit(file: Path, *changes: tuple[str, str]) -> None:
    text = file.read_text(encoding="utf-8")
    for old, new in changes:
        assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times in {file.name}"
        text = text.replace(old, new)
    file.write_text(text, encoding="utf-8")


def a_second_model_on_the_built_in_analyzer_with_an_alert_address(copy: Path) -> None:
    shutil.copytree(copy / "models" / "flight_delays", copy / "models" / "second_model")
    edit(copy / "models" / "second_model" / "model.yaml", ("name: flight-delays", "name: second-model"))
    edit(
        copy / "evergreen.yaml",
        ("model_monitor: available", "model_monitor: closed"),
        ("alert_emails: []", "alert_emails: [ml-alerts@example.com]"),
    )


def another_model_only_in_another_application_and_region(copy: Path) -> None:
    shutil.rmtree(copy / "models" / "flight_delays")
    shutil.copytree(copy / "tests" / "fixtures" / "iris_species", copy / "models" / "iris_species")
    edit(
        copy / "evergreen.yaml",
        ("name: evergreen\n\n", "name: botany\n\n"),
        ("region: us-east-1", "region: eu-central-1"),
        (
            "source: {codecommit: evergreen, branch: main}",
            "source: {codecommit: botany, branch: trunk}\n  test: make lint",
        ),
        ("log_retention_days: 90", "log_retention_days: 30"),
    )


def a_second_stage_and_a_model_of_the_same_module_names(copy: Path) -> None:
    serverless = "  staging: {profile: serverless, memory_mb: 2048, max_concurrency: 5}\n"
    edit(copy / "models" / "flight_delays" / "model.yaml", ("serving:\n", f"serving:\n{serverless}"))
    shutil.copytree(copy / "tests" / "fixtures" / "iris_species", copy / "models" / "iris_species")
    edit(copy / "models" / "iris_species" / "model.yaml", ("serving:\n", f"serving:\n{serverless}"))
    edit(
        copy / "evergreen.yaml",
        ("stages:\n", "stages:\n  - {name: staging, account: null, region: us-east-1}\n"),
    )


def no_model_and_no_delivery(copy: Path) -> None:
    shutil.rmtree(copy / "models")
    file = copy / "evergreen.yaml"
    file.write_text(file.read_text(encoding="utf-8").split("delivery:")[0], encoding="utf-8")


CHANGES = (
    a_second_model_on_the_built_in_analyzer_with_an_alert_address,
    another_model_only_in_another_application_and_region,
    a_second_stage_and_a_model_of_the_same_module_names,
    no_model_and_no_delivery,
)


def run(copy: Path, *command: str) -> str:
    """Run a command in the copy and return its output; a failure fails the test with it."""
    environment = {"PATH": os.environ["PATH"], "CDK_OUTDIR": str(copy.parent / "cdk.out"), "HOME": os.environ["HOME"]}
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_users_change_passes_lint_and_nag(copy: Path, change: Callable[[Path], None]) -> None:
    change(copy)
    run(copy, ".venv/bin/ruff", "check", ".")
    run(copy, ".venv/bin/ruff", "format", "--check", ".")
    run(copy, sys.executable, "app.py")
    names = {path.name for path in (copy.parent / "cdk.out").glob("*-platform-*.template.json")}
    assert names, "nothing was synthesised"


def test_no_test_of_make_check_reads_the_users_files(root: Path, copy: Path) -> None:
    """In a tree without the example in `models/` and with another evergreen.yaml."""
    another_model_only_in_another_application_and_region(copy)
    units = [f"tests/unit/{name}" for name in READERS]
    stacks = [f"tests/stacks/test_{name}.py" for name in ("content", "training")]
    said = run(copy, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *units, *stacks)
    assert re.search(r"^\d+ passed", said.splitlines()[-1]), said
    assert (root / "models").is_dir()


def test_mypy_reads_no_script_of_a_user(root: Path) -> None:
    """Two models have modules of the same names, and nobody is made to annotate a script."""
    (files,) = re.findall(r"^files = \[(.*)\]$", (root / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    assert '"models"' not in files
    assert '"examples"' in files
