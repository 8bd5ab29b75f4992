"""JSON Schemas of the configuration files, for editors."""

from __future__ import annotations

import json
from pathlib import Path

from configuration.application import Application
from configuration.model import Model

_FOLDER = Path(__file__).parent
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[Path, str]:
    """Each schema's file and what it should hold."""
    return {
        _FOLDER / f"{name}.schema.json": json.dumps({"$schema": _DIALECT, **spec.model_json_schema()}, indent=2) + "\n"
        for name, spec in (("evergreen", Application), ("model", Model))
    }


def write_schemas() -> list[Path]:
    """Write the schemas beside this file."""
    for path, text in schemas().items():
        path.write_text(text, encoding="utf-8")
    return list(schemas())
