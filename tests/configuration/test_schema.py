"""The editors' schemas say what the models say."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator

from configuration.schema import schemas


def test_the_schemas_in_the_tree_are_current() -> None:
    for path, text in schemas().items():
        assert path.read_text(encoding="utf-8") == text, f"run python -m configuration schema: {path.name} is old"


def test_the_files_in_the_tree_satisfy_their_schemas(root: Path) -> None:
    files = {"evergreen": [root / "evergreen.yaml"], "model": sorted((root / "models").glob("*/model.yaml"))}
    for name, paths in files.items():
        schema = json.loads((root / "configuration" / f"{name}.schema.json").read_text(encoding="utf-8"))
        for path in paths:
            Draft202012Validator(schema).validate(yaml.safe_load(path.read_text(encoding="utf-8")))
