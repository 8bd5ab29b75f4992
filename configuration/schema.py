"""The JSON Schemas of the configuration files for editors, and the reference page for people."""

from __future__ import annotations

import json
from pathlib import Path

from configuration.application import Application
from configuration.model import Model
from configuration.reference import reference

_FOLDER = Path(__file__).parent
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[Path, str]:
    """Return what each generated file should hold."""
    specified = {name: spec.model_json_schema() for name, spec in (("evergreen", Application), ("model", Model))}
    files = {
        _FOLDER / f"{name}.schema.json": json.dumps({"$schema": _DIALECT, **schema}, indent=2) + "\n"
        for name, schema in specified.items()
    }
    pages = {"evergreen.yaml": specified["evergreen"], "models/<name>/model.yaml": specified["model"]}
    return {**files, _FOLDER.parent / "docs" / "reference" / "configuration.md": reference(pages)}


def write_schemas() -> list[Path]:
    """Write the schemas beside this file, and the reference page under `docs/`."""
    for path, text in schemas().items():
        path.write_text(text, encoding="utf-8")
    return list(schemas())
