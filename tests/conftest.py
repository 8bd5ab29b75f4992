"""Fixtures of all tests: the test application, synthesised once for each worker.

Tests use the application in `tests/fixtures/application`, never the user's `evergreen.yaml` and `models/`: a valid
change of the user's must not break a test.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from botocore.loaders import JSONFileLoader
from hypothesis import settings

from configuration import Configuration, load

# Set before aws_cdk is imported: the built-in validation costs seconds at each synth. One test switches it on.
os.environ["CDK_VALIDATION"] = "false"
os.environ.setdefault("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "20")

# Hypothesis' deadline of 200 ms measures the machine's load as well.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")

# moto gives each test a session of its own, and each session would parse botocore's service models anew, half a second
# for one test. Within a session botocore shares what it parsed, so sharing it between sessions is as safe.
_parse = JSONFileLoader.load_file
_parsed = cache(lambda path: _parse(JSONFileLoader(), path))
JSONFileLoader.load_file = lambda _self, path: _parsed(path)  # type: ignore[assignment]

ROOT = Path(__file__).resolve().parent.parent
APPLICATION = "tests/fixtures/application"
EXAMPLE = "examples/flight_delays"

# The folders whose files take minutes, longest first. They start first, or the run would end with them, one by one.
_FIRST = (
    ROOT / "tests" / "loop",
    ROOT / "tests" / "integration",
    ROOT / "packages" / "localcloud" / "tests" / "gateway",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the long files first: xdist distributes files in this order."""

    def rank(item: pytest.Item) -> int:
        return next((index for index, folder in enumerate(_FIRST) if folder in item.path.parents), len(_FIRST))

    items.sort(key=rank)


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the repository's folder."""
    return ROOT


@pytest.fixture(scope="session")
def arguments() -> list[str]:
    """Return the arguments of app.py that select the test application."""
    return [f"{APPLICATION}/evergreen.yaml", f"{APPLICATION}/models"]


@pytest.fixture(scope="session")
def configuration(arguments: list[str]) -> Configuration:
    """Return the test application's configuration."""
    return load(ROOT, *arguments)


@pytest.fixture(scope="session")
def example() -> Configuration:
    """Return the test application with the example model, whose scripts can be run."""
    return load(ROOT, f"{APPLICATION}/evergreen.yaml", EXAMPLE)


@pytest.fixture(scope="session")
def assembly(configuration: Configuration, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the cloud assembly of the test application."""
    from stacks import build

    outdir = tmp_path_factory.mktemp("assembly")
    build(configuration, str(outdir)).synth()
    return outdir


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a copy of the test application, to edit."""
    shutil.copytree(ROOT / APPLICATION, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "cdk.json", tmp_path)
    return tmp_path


@pytest.fixture
def edit(tree: Path) -> Callable[[str, str], None]:
    """Return a function that replaces a text which occurs once in the copy's model.yaml."""

    def replace(old: str, new: str) -> None:
        path = tree / "models" / "flight_delays" / "model.yaml"
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times in {path.name}"
        path.write_text(text.replace(old, new), encoding="utf-8")

    return replace


@pytest.fixture(scope="session")
def template(assembly: Path) -> Callable[[str], dict[str, object]]:
    """Return a function that reads a stack's template by the stack's name."""

    def read(stack: str) -> dict[str, object]:
        document: dict[str, object] = json.loads((assembly / f"{stack}.template.json").read_text(encoding="utf-8"))
        return document

    return read
