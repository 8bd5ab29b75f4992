"""A hash of a model's content: the delivery trains changed content, and the same content never twice."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from configuration import Model

# Not in the model's code asset (training_pipeline.py). Of model.yaml the definition and the contract count.
_EXCLUDED = {"model.yaml", "data.py"}


def content_sha256(model: Model, folder: Path, definition: str) -> str:
    """Return the SHA-256 of a model's scripts, its compiled pipeline and its data contract.

    Args:
        model: The model's configuration.
        folder: The folder of its scripts.
        definition: The compiled pipeline, with placeholders for values that are known at deployment only. So neither
            another account nor a new version of Evergreen's own scripts changes the hash.
    """
    files = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in _EXCLUDED and not _hidden(path.relative_to(folder))
    }
    specification = model.canonical()
    content = {
        "files": files,
        "definition": json.loads(definition),
        "contract": {name: specification[name] for name in ("data", "target", "problem_type")},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == "__pycache__" for part in path.parts)
