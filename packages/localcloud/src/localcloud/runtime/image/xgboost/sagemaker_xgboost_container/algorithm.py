"""Training of the built-in algorithm."""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
from typing import Any

import xgboost as xgb

from sagemaker_algorithm_toolkit.exceptions import AlgorithmError, UserError
from sagemaker_xgboost_container import data_utils, metrics
from sagemaker_xgboost_container.hyperparameters import validate

VERSION = tuple(int(part) for part in xgb.__version__.split(".")[:2])
MODEL = "xgboost-model"
# Parts of XGBoost's messages that the user's data cause.
_USERS_ERRORS = (
    "label must be in [0,1] for logistic regression",
    "label must be in [0, num_class)",
    "Target is multiclass but average='binary'",
    "feature_names mismatch",
    "Check failed: preds.size() == info.labels_.size()",
    "AUC: the dataset only contains pos or neg samples",
    "base_score must be in (0,1)",
    "label must be nonnegative",
    "Parameter reg_lambda should be greater equal to 0",
)


class Report(xgb.callback.TrainingCallback if VERSION >= (1, 3) else object):  # type: ignore[misc]
    """Prints the scores of each round, and saves the model where that is asked for.

    CloudWatch shows the container's tabs as `#011`, and metric patterns expect that.
    """

    def __init__(self, save_to: str | None) -> None:
        self._save_to = save_to

    def after_iteration(self, model: Any, epoch: int, evals_log: dict[str, dict[str, list[Any]]]) -> bool:
        """Print one round's scores; return whether training stops."""
        scores = [(f"{data}-{name}", log[-1]) for data, logs in evals_log.items() for name, log in logs.items()]
        self.report(epoch, scores)
        if self._save_to:
            save(model, self._save_to)
        return False

    def report(self, epoch: int, scores: list[tuple[str, Any]]) -> None:
        """Print scores."""
        sys.stdout.write("#011".join([f"[{epoch}]", *(f"{name}:{value:.5f}" for name, value in scores)]) + "\n")
        sys.stdout.flush()

    def __call__(self, env: Any) -> None:
        """Print one round's scores, for XGBoost 1.2 and older."""
        self.report(env.iteration, env.evaluation_result_list)


def save(booster: Any, folder: str) -> None:
    """Write the model: XGBoost's own format, a pickle by XGBoost 1.2 and older."""
    path = os.path.join(folder, MODEL)
    if VERSION <= (1, 2):
        with open(path, "wb") as file:
            pickle.dump(booster, file)
    else:
        booster.save_model(path)


def train() -> None:
    """Train on the channels `train` and `validation`, and write the model."""
    with open(os.environ["SM_INPUT_TRAINING_CONFIG_FILE"]) as file:
        values = validate(json.load(file), VERSION)  # type: ignore[arg-type]
    with open(os.environ["SM_INPUT_DATA_CONFIG_FILE"]) as file:
        kind = _check_channels(json.load(file))
    weights = values.get("csv_weights", 0)
    paths = {name: os.environ.get(f"SM_CHANNEL_{name.upper()}") for name in ("train", "validation")}
    data = {
        name: data_utils.get_dmatrix(path, kind, weights)
        for name, path in paths.items()
        if path is not None and data_utils.get_size(path) > 0
    }
    for name, path in paths.items():
        if path is not None and data.get(name) is None:
            said = "training" if name == "train" else name
            raise UserError(f"No data in {said} channel path {path}")
    for name, matrix in data.items():
        sys.stdout.write(f"{name.capitalize()} matrix has {matrix.num_row()} rows and {matrix.num_col()} columns\n")
    _fit(values, data, os.environ["SM_MODEL_DIR"])


def _check_channels(channels: dict[str, dict[str, str]]) -> str:
    """Check the channels' names and content types; return the format of the data."""
    if "train" not in channels:
        raise UserError("Missing required channel: train")
    for name, channel in channels.items():
        if name not in ("train", "validation", "code"):
            raise UserError(f"Extraneous channel found: {name}")
        kinds = ["text/python"] if name == "code" else data_utils.VALID_CONTENT_TYPES
        if channel.setdefault("ContentType", "text/libsvm").partition(";")[0].strip() not in kinds:
            raise UserError(f"Channel configuration for '{name}' channel is not supported: {channel}")
    return data_utils.get_content_type(channels["train"]["ContentType"])


def _fit(values: dict[str, Any], data: dict[str, Any], folder: str) -> None:
    for name in ("_kfold", "_num_cv_round", "use_dask_gpu_training"):
        if values.pop(name, "false") != "false":
            raise UserError(f"Hyperparameter {name} is not supported by the local cloud's stand-in.")
    rounds, stopping = values.pop("num_round"), values.pop("early_stopping_rounds", None)
    tuned = values.pop("_tuning_objective_metric", "").partition(":")[2]
    asked = sorted({*values.get("eval_metric", ()), tuned} - {""}) if tuned else values.get("eval_metric", [])
    own = metrics.added(asked)
    values.pop("eval_metric", None)
    if set(asked) - set(own):
        values["eval_metric"] = [name for name in asked if name not in own]
    if "updater" in values:
        values["updater"] = ",".join(values["updater"])
    on_termination = values.pop("save_model_on_termination", "false") == "true"
    if on_termination:  # the model of the last round is there already
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    options: dict[str, Any] = {"callbacks": [Report(folder if on_termination else None)], "verbose_eval": False}
    if own:
        options["custom_metric" if VERSION >= (2, 0) else "feval"] = metrics.evaluate(own)
    last = tuned or (asked[-1] if asked else None)
    if stopping and last and "validation" in data:
        if VERSION >= (1, 3):
            stop = xgb.callback.EarlyStopping(
                rounds=stopping, data_name="validation", metric_name=last,
                maximize=last in metrics.MAXIMIZED, save_best=True,
            )  # fmt: skip
            options["callbacks"].append(stop)
        else:
            options["early_stopping_rounds"] = stopping
    try:
        booster = xgb.train(
            values, data["train"], num_boost_round=rounds, evals=[(m, name) for name, m in data.items()], **options
        )
    except Exception as error:
        if any(part in str(error) for part in _USERS_ERRORS):
            raise UserError(str(error)) from error
        raise AlgorithmError(f"XGB train call failed with exception:\n {error}") from error
    os.makedirs(folder, exist_ok=True)
    save(booster, folder)
