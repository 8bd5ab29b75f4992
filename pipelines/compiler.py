"""Compile pipelines in a subprocess, and remember what was compiled by its content.

Importing the SageMaker SDK takes seconds, and a synth should not wait for it twice for the same model.
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
    """The SDK could not compile a pipeline; the message ends with what it said."""


def compile_pipeline(model: Model) -> str:
    """The definition of a model's SageMaker Pipeline.

    Returns:
        The definition's JSON. The defaults of `DEPLOY_TIME_PARAMETERS` are `${Name}`, for one `Fn::Sub`.

    Raises:
        CompileError: The SDK refused it.
    """
    return compile_pipelines([model])[0]


def compile_pipelines(models: Sequence[Model], cache: Path = CACHE) -> list[str]:
    """The definitions of several models, in their order; what is not in the cache is compiled by one subprocess.

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
    """Everything that a definition follows from: the specification, the sources that read it, the SDK."""
    digest = hashlib.sha256(json.dumps(model.canonical(), sort_keys=True).encode())
    for package in ("pipelines", "configuration"):
        for source in sorted((ROOT / package).glob("*.py")):
            digest.update(source.read_bytes())
    for distribution in SDK:
        digest.update(f"{distribution}=={metadata.version(distribution)}".encode())
    return digest.hexdigest()


def _compile(models: Sequence[Model]) -> list[str]:
    # No credentials, no profile, no endpoint: only a region, which the SDK wants at import.
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
    """Whole or not at all: another synth may read at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        file.write(definition)
    Path(file.name).replace(path)
