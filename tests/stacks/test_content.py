"""The content hash changes with scripts, pipeline and data contract, and with nothing else."""

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


def test_content_hash_covers_scripts_pipeline_and_data_contract(model: Model, folder: Path) -> None:
    before = content_sha256(model, folder, DEFINITION)
    target = model.data.model_copy(update={"columns": model.data.columns[:-1]})
    assert content_sha256(model.model_copy(update={"data": target}), folder, DEFINITION) != before
    assert content_sha256(model, folder, json.dumps({"Steps": [{"Name": "Train"}]})) != before
    (folder / "train.py").write_text("print()\n", encoding="utf-8")
    assert content_sha256(model, folder, DEFINITION) != before


def test_content_hash_ignores_what_training_does_not_use(model: Model, folder: Path) -> None:
    """Training does not use sample data, the owner, and the serving of a stage."""
    before = content_sha256(model, folder, DEFINITION)
    (folder / "data.py").write_text("print()\n", encoding="utf-8")
    (folder / "model.yaml").write_text("name: other\n", encoding="utf-8")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "train.cpython-311.pyc").write_bytes(b"\0")
    assert content_sha256(model.model_copy(update={"owner": "somebody", "serving": {}}), folder, DEFINITION) == before
