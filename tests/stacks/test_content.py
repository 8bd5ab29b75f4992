"""What counts as another model: its scripts, its pipeline, its data contract."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from configuration import Configuration, Model
from stacks.content import content_sha256

DEFINITION = json.dumps({"Steps": []})


@pytest.fixture
def model(configuration: Configuration) -> Model:
    return configuration.models[0]


@pytest.fixture
def folder(configuration: Configuration, model: Model, tmp_path: Path) -> Path:
    copy = tmp_path / model.folder
    shutil.copytree(configuration.folder_of(model), copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def test_a_script_the_pipeline_or_the_contract_is_another_content(model: Model, folder: Path) -> None:
    before = content_sha256(model, folder, DEFINITION)
    target = model.data.model_copy(update={"columns": model.data.columns[:-1]})
    assert content_sha256(model.model_copy(update={"data": target}), folder, DEFINITION) != before
    assert content_sha256(model, folder, json.dumps({"Steps": [{"Name": "Train"}]})) != before
    (folder / "train.py").write_text("print()\n", encoding="utf-8")
    assert content_sha256(model, folder, DEFINITION) != before


def test_what_trains_nothing_is_the_same_content(model: Model, folder: Path) -> None:
    """Sample data, the owner, and how a stage serves."""
    before = content_sha256(model, folder, DEFINITION)
    (folder / "data.py").write_text("print()\n", encoding="utf-8")
    (folder / "model.yaml").write_text("name: other\n", encoding="utf-8")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "train.cpython-311.pyc").write_bytes(b"\0")
    assert content_sha256(model.model_copy(update={"owner": "somebody", "serving": {}}), folder, DEFINITION) == before
