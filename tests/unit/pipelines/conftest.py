"""Pipelines compiled once for all tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from configuration import Configuration, Model

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def model(configuration: Configuration) -> Model:
    """Return the test application's model."""
    return configuration.models[0]


@pytest.fixture(scope="session")
def variant(model: Model) -> Model:
    """Return a model that takes the other branch wherever a pipeline has one."""
    document = model.canonical()
    document["name"] = "variant"
    document["description"] = 'Costs ${Money}, "quoted"'
    document["gate"] = {"metric": "log_loss", "minimum": 0.5, "min_improvement": 0.01}
    document["processing"] = {"instance_type": "ml.g4dn.2xlarge"}
    training: Any = document["training"]
    training["instance_type"] = "ml.g4dn.xlarge"
    training["hyperparameters"] = {"booster": "gbtree", "early_stopping": True, "eta": 0.3}
    document["serving"] = {"prod": {"profile": "serverless", "memory_mb": 2048, "max_concurrency": 5}}
    return Model.model_validate_json(json.dumps(document))


@pytest.fixture(scope="session")
def compilations(model: Model, variant: Model) -> list[str]:
    """Return the output for both models of two processes with different hash seeds and regions."""
    runs = [
        subprocess.Popen(
            [sys.executable, "-m", "pipelines.definition"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "PYTHONHASHSEED": seed, "AWS_DEFAULT_REGION": region},
        )
        for seed, region in (("1", "us-east-1"), ("2", "eu-central-1"))
    ]
    stdin = json.dumps([model.canonical(), variant.canonical()])
    return [run.communicate(stdin)[0].splitlines()[-1] for run in runs]


@pytest.fixture(scope="session")
def definition(compilations: list[str]) -> dict[str, Any]:
    """Return the pipeline of the test application's model."""
    document: dict[str, Any] = json.loads(json.loads(compilations[0])[0])
    return document


@pytest.fixture(scope="session")
def other_definition(compilations: list[str]) -> dict[str, Any]:
    """Return the variant's pipeline."""
    document: dict[str, Any] = json.loads(json.loads(compilations[0])[1])
    return document
