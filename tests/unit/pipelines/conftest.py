"""Pipelines compiled once for all tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from configuration import Configuration, Model
from configuration.instances import ServingInstanceType, offered

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


def changed(model: Model, name: str, **sections: Any) -> Model:
    """Return the model under another name with sections replaced, or without those that are None."""
    document: dict[str, Any] = {**model.canonical(), "name": name, **sections}
    return Model.model_validate_json(json.dumps({key: value for key, value in document.items() if value is not None}))


def serving_types() -> list[str]:
    """Return the instance types that model.yaml accepts for serving."""
    accepts, found = TypeAdapter(ServingInstanceType), []
    for one in sorted(offered("serving")):
        with suppress(ValidationError):
            found.append(accepts.validate_python(one))
    return found


@pytest.fixture(scope="session")
def options(model: Model, variant: Model) -> dict[str, Model]:
    """Return models that together use every option of model.yaml, at its limits, by name."""
    document: dict[str, Any] = model.canonical()
    monitoring, realtime = document["monitoring"], document["serving"]["prod"]
    monitors = [["data_quality"], ["model_quality"], ["model_quality", "bias"], ["explainability"]]
    without = {key: value for key, value in monitoring.items() if [key] not in [*monitors, ["bias"]]}
    regression = {"metric": "rmse", "minimum": 10.5, "min_improvement": 0.1}
    multiclass = {"metric": "macro_f1", "minimum": 0.5, "min_improvement": 0.0}
    limits = {"volume_gb": 16_384, "instance_type": "ml.m5.24xlarge"}
    # One stage for each type that may serve: a version's specification lists them all.
    stages = {f"s{index}": {**realtime, "instance_type": one} for index, one in enumerate(serving_types())}
    made = [
        *(
            changed(model, f"monitors-{index}", monitoring=without | {kind: monitoring[kind] for kind in kinds})
            for index, kinds in enumerate(monitors)
        ),
        changed(model, "no-monitors", monitoring=None),
        changed(
            model, "regression", problem_type="regression", gate=regression, monitoring={**monitoring, "bias": None}
        ),
        changed(model, "multiclass", problem_type="multiclass_classification", gate=multiclass, monitoring=None),
        changed(model, "every-serving-type", serving=stages),
        changed(
            model,
            "limits-" + "n" * 33,
            description="d" * 1024,
            owner="o" * 1024,
            processing={**limits, "max_runtime_minutes": 12_960},
            training={
                **limits,
                "max_runtime_minutes": 40_320,
                "window_days": 3_660,
                "holdout_days": 3_659,
                "seed": 2**31 - 1,
                "hyperparameters": {f"h{i}" + "x" * 60: value for i, value in enumerate([1, 0.5, "a", True] * 15)},
            },
        ),
    ]
    return {one.name: one for one in (model, variant, *made)}


@pytest.fixture(scope="session")
def compilations(options: dict[str, Model]) -> list[str]:
    """Return the output for all models of two processes with different hash seeds and regions."""
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
    stdin = json.dumps([one.canonical() for one in options.values()])
    return [run.communicate(stdin)[0].splitlines()[-1] for run in runs]


@pytest.fixture(scope="session")
def definitions(compilations: list[str], options: dict[str, Model]) -> dict[str, str]:
    """Return the compiled pipelines as JSON, by model."""
    return dict(zip(options, json.loads(compilations[0]), strict=True))


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
