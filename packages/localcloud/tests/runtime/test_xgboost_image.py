"""Our part of the XGBoost image, in this Python: hyperparameters by version, and the file of a model."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from localcloud.runtime.images import IMAGE_ROOT

Import = Callable[[str], ModuleType]


@pytest.fixture
def glue(monkeypatch: pytest.MonkeyPatch) -> Iterator[Import]:
    for folder in ("common", "xgboost"):
        monkeypatch.syspath_prepend(IMAGE_ROOT / folder)
    yield lambda name: importlib.import_module(f"sagemaker_xgboost_container.{name}")
    for name in [name for name in sys.modules if name.startswith(("sagemaker_xgboost", "sagemaker_algorithm"))]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"eta": "2"}, "Hyperparameter eta: 2.0 is not in [0, 1]"),
        ({"learning_rate": "-0.1"}, "Hyperparameter eta: -0.1 is not in [0, 1]"),
        ({"subsample": "0"}, "Hyperparameter subsample: 0.0 is not in (0, 1]"),
        ({"num_round": "0"}, "Hyperparameter num_round: 0 is not in [1, +inf)"),
        ({"num_round": "1.5"}, "Hyperparameter num_round: could not parse value"),
        ({"max_depth": "-1"}, "Hyperparameter max_depth: -1 is not in [0, +inf)"),
        ({"booster": "forest"}, "Hyperparameter booster: forest is not in ['gbtree', 'gblinear', 'dart']"),
        ({"objective": "binary:logit"}, "Hyperparameter objective: binary:logit is not in"),
        ({"objective": "multi:softmax"}, "Require input for parameter 'num_class'"),
        ({"eval_metric": "rmse,auroc"}, "Hyperparameter eval_metric: value ['rmse', 'auroc'] not in range"),
        ({"eval_metric": "auc", "objective": "reg:squarederror"}, "Metric 'auc' can only be applied"),
        ({"eval_metric": "rmse@3"}, "Metric 'rmse@3' is not supported"),
        ({"eval_metric": "error@high"}, "Threshold value 't' in 'error@t' expects float input"),
        ({"monotone_constraints": "(1,0)"}, "monotone_constraints can be used only when"),
        ({"monotone_constraints": "(1,2)", "tree_method": "hist"}, "value (1, 2) not in range [-1, 0, 1]"),
        ({"updater": "shotgun"}, "Tree updater should be selected from these options"),
        ({"depth": "3"}, "Extraneous hyperparameter found: depth"),
        ({"silent": "1"}, "Extraneous hyperparameter found: silent"),
    ],
)
def test_hyperparameters_out_of_their_range_are_refused(glue: Import, given: dict[str, str], said: str) -> None:
    hyperparameters, exceptions = (
        glue("hyperparameters"),
        importlib.import_module("sagemaker_algorithm_toolkit.exceptions"),
    )
    with pytest.raises(exceptions.UserError) as raised:
        hyperparameters.validate({"num_round": "3", **given}, (3, 2))
    assert said in str(raised.value)


def test_hyperparameters_are_converted_and_the_containers_metrics_are_known(glue: Import) -> None:
    given = {
        "num_round": "3",
        "reg_lambda": "2",
        "eval_metric": "f1,accuracy,error@0.7",
        "objective": "binary:logistic",
    }
    assert glue("hyperparameters").validate(given, (3, 2)) == {
        "num_round": 3, "lambda": 2.0, "eval_metric": ["f1", "accuracy", "error@0.7"], "objective": "binary:logistic",
    }  # fmt: skip
    assert glue("hyperparameters").validate({"num_round": "3", "silent": "1"}, (1, 0))["silent"] == 1
    assert glue("metrics").added(["f1", "logloss", "accuracy"]) == ["f1", "accuracy"]


@pytest.mark.parametrize(("version", "pickled"), [((1, 0), True), ((1, 2), True), ((1, 3), False), ((3, 2), False)])
def test_old_versions_write_a_pickle(
    glue: Import, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: tuple[int, int], pickled: bool
) -> None:
    import xgboost

    algorithm = glue("algorithm")
    monkeypatch.setattr(algorithm, "VERSION", version)
    booster = xgboost.train({}, xgboost.DMatrix([[0.0], [1.0]], label=[0, 1]), 1)
    algorithm.save(booster, str(tmp_path))
    assert (tmp_path / "xgboost-model").read_bytes().startswith(b"\x80") is pickled
