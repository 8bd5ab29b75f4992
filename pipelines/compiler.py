"""Compile pipelines in a subprocess, and cache the definitions by content.

Importing the SageMaker SDK takes seconds. A synth should not wait for it twice for the same model.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from configuration import Model

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "pipelines"
SDK = ("sagemaker", "sagemaker-core", "sagemaker-mlops", "botocore")
TIMEOUT_SECONDS = 300


class CompileError(Exception):
    """The SDK could not compile a pipeline; the message ends with its reason."""


def compile_pipeline(model: Model) -> str:
    """Return the definition of a model's SageMaker Pipeline.

    Returns:
        The definition's JSON. The defaults of `DEPLOY_TIME_PARAMETERS` are `${Name}`, which one `Fn::Sub` fills in.

    Raises:
        CompileError: The SDK refused it.
    """
    return compile_pipelines([model])[0]


def compile_pipelines(models: Sequence[Model], cache: Path = CACHE) -> list[str]:
    """Return the definitions of several models, in order; one subprocess compiles those that are not cached.

    Raises:
        CompileError: The SDK refused one.
    """
    paths = [cache / f"{_key(model)}.json" for model in models]
    stale = [(model, path) for model, path in zip(models, paths, strict=True) if not path.is_file()]
    if stale:
        for (_, path), definition in zip(stale, _compile([model for model, _ in stale]), strict=True):
            _write(path, definition)
    return [path.read_text(encoding="utf-8") for path in paths]


def _key(model: Model) -> str:
    """Return a hash of everything that determines a definition: specification, sources and SDK version."""
    digest = hashlib.sha256(json.dumps(model.canonical(), sort_keys=True).encode())
    for package in ("pipelines", "configuration"):
        for source in sorted((ROOT / package).glob("*.py")):
            digest.update(source.read_bytes())
    for distribution in SDK:
        digest.update(f"{distribution}=={metadata.version(distribution)}".encode())
    return digest.hexdigest()


def _compile(models: Sequence[Model]) -> list[str]:
    # No credentials, profile or endpoint: only a region, which the SDK requires at import.
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    run = subprocess.run(
        [sys.executable, "-m", "pipelines.definition"],
        input=json.dumps([model.canonical() for model in models]),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    if run.returncode:
        reason = (run.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise CompileError(f"the pipeline of {', '.join(model.name for model in models)} does not compile: {reason}")
    definitions: list[str] = json.loads(run.stdout.splitlines()[-1])
    return definitions


def _write(path: Path, definition: str) -> None:
    """Write a file atomically: another synth may read it at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        file.write(definition)
    Path(file.name).replace(path)
