"""The app, synthesised once a test run."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

# Before anything imports aws_cdk: the built-in validation costs seconds at each synth. The compliance test runs it.
os.environ["CDK_VALIDATION"] = "false"
os.environ.setdefault("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "20")

ROOT = Path(__file__).resolve().parent.parent


# Folders whose files take minutes, most of them waiting: begun last, they would be what a run ends with, one by one.
_FIRST = (ROOT / "tests" / "loop", ROOT / "packages" / "localcloud" / "tests" / "gateway")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the long files begin first; xdist hands out files in this order."""

    def rank(item: pytest.Item) -> int:
        return next((index for index, folder in enumerate(_FIRST) if folder in item.path.parents), len(_FIRST))

    items.sort(key=rank)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def assembly(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cloud assembly of this tree."""
    from configuration import load
    from stacks import build

    outdir = tmp_path_factory.mktemp("assembly")
    build(load(ROOT), str(outdir)).synth()
    return outdir


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what a user edits: evergreen.yaml and the models."""
    shutil.copy(ROOT / "evergreen.yaml", tmp_path)
    shutil.copy(ROOT / "cdk.json", tmp_path)
    shutil.copytree(ROOT / "models", tmp_path / "models", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.fixture
def edit(tree: Path) -> Callable[[str, str], None]:
    """Replaces a text that stands in the model's model.yaml once."""

    def replace(old: str, new: str) -> None:
        path = tree / "models" / "flight_delays" / "model.yaml"
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {path.name}"
        path.write_text(text.replace(old, new), encoding="utf-8")

    return replace


@pytest.fixture(scope="session")
def template(assembly: Path) -> Callable[[str], dict[str, object]]:
    """Reads the template of a stack by its name."""

    def read(stack: str) -> dict[str, object]:
        document: dict[str, object] = json.loads((assembly / f"{stack}.template.json").read_text(encoding="utf-8"))
        return document

    return read
