"""What a model is made of, as one hash: other content is trained, the same content never twice."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from configuration import Model

# What is not the model's own code, and is said by the definition or by nothing (training_pipeline.py).
_LEFT_OUT = {"model.yaml", "data.py"}


def content_sha256(model: Model, folder: Path, definition: str) -> str:
    """The SHA-256 of a model's scripts, its compiled pipeline and its data contract.

    Args:
        definition: The compiled pipeline, with names for what is known at deployment only: so neither an account nor a
            new version of our own scripts is a change of the model.
    """
    files = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in _LEFT_OUT and not _hidden(path.relative_to(folder))
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
