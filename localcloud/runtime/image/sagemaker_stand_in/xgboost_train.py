"""XGBoost's container without a script: the built-in algorithm, trained on the channels `train` and `validation`.

Source: SageMaker Developer Guide, "XGBoost hyperparameters".
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import xgboost as xgb

from .xgboost_data import DataError, channel_format, read_channel

ML = Path("/opt/ml")
_INTEGERS = {
    "num_round", "csv_weights", "early_stopping_rounds", "verbosity", "nthread", "max_depth", "refresh_leaf",
    "max_leaves", "max_bin", "one_drop", "num_class", "seed", "num_parallel_tree",
}  # fmt: skip
_NUMBERS = {
    "eta", "gamma", "min_child_weight", "max_delta_step", "subsample", "colsample_bytree", "colsample_bylevel",
    "colsample_bynode", "lambda", "alpha", "sketch_eps", "scale_pos_weight", "rate_drop", "skip_drop", "lambda_bias",
    "tweedie_variance_power", "base_score", "aft_loss_distribution_scale", "huber_slope",
}  # fmt: skip
_WORDS = {
    "booster", "tree_method", "updater", "dsplit", "process_type", "grow_policy", "monotone_constraints",
    "interaction_constraints", "sample_type", "normalize_type", "objective", "eval_metric", "aft_loss_distribution",
    "deterministic_histogram", "sampling_method", "single_precision_histogram", "predictor",
    "save_model_on_termination",
}  # fmt: skip
_NOT_BOOSTER = {"num_round", "csv_weights", "early_stopping_rounds", "save_model_on_termination", "predictor"}


class UserError(Exception):
    """The request is wrong."""


def read_hyperparameters(given: dict[str, str]) -> dict[str, Any]:
    """Convert and check the built-in algorithm's hyperparameters."""
    values: dict[str, Any] = {}
    for name, text in given.items():
        if name.startswith("sagemaker_"):
            continue
        if name.startswith("_"):
            raise UserError(f"Hyperparameter {name} is not supported by the local stand-in.")
        try:
            if name in _INTEGERS:
                values[name] = int(text)
            elif name in _NUMBERS:
                values[name] = float(text)
            elif name in _WORDS:
                values[name] = text
            else:
                raise UserError(f"Extraneous hyperparameter found: {name}")
        except ValueError as error:
            raise UserError(f"Hyperparameter {name}: could not parse value {text!r}") from error
    if "num_round" not in values:
        raise UserError("Missing required hyperparameter: num_round")
    if values.get("objective", "").startswith("multi:") and "num_class" not in values:
        raise UserError("Require input for parameter 'num_class' for multi-classification")
    if "eval_metric" in values:
        values["eval_metric"] = [metric.strip() for metric in values["eval_metric"].split(",")]
    return values


class Report(xgb.callback.TrainingCallback):  # type: ignore[misc]
    """Writes each round as the container does; CloudWatch shows its tabs as `#011`, and metric patterns expect that."""

    def after_iteration(self, _model: Any, epoch: int, evals_log: dict[str, dict[str, list[float]]]) -> bool:
        scores = [f"{data}-{name}:{log[-1]:.5f}" for data, logs in evals_log.items() for name, log in logs.items()]
        sys.stdout.write("#011".join([f"[{epoch}]", *scores]) + "\n")
        sys.stdout.flush()
        return False


def train(ml: Path) -> None:
    """Train on `/opt/ml/input` and write `/opt/ml/model/xgboost-model`."""
    config = ml / "input/config"
    hyperparameters = read_hyperparameters(json.loads((config / "hyperparameters.json").read_text()))
    channels = json.loads((config / "inputdataconfig.json").read_text())
    if "train" not in channels:
        raise UserError("Missing required channel: train")
    data = ml / "input/data"
    kind = channel_format(channels["train"].get("ContentType"))
    matrix = read_channel(data / "train", kind, weights=hyperparameters.get("csv_weights") == 1)
    watched = [(matrix, "train")]
    if "validation" in channels:
        kind = channel_format(channels["validation"].get("ContentType"))
        watched.append((read_channel(data / "validation", kind, features=matrix.num_col()), "validation"))
    sys.stdout.write(f"Train matrix has {matrix.num_row()} rows and {matrix.num_col()} columns\n")
    try:
        booster = xgb.train(
            {name: value for name, value in hyperparameters.items() if name not in _NOT_BOOSTER},
            matrix,
            num_boost_round=hyperparameters["num_round"],
            evals=watched,
            early_stopping_rounds=hyperparameters.get("early_stopping_rounds"),
            callbacks=[Report()],
            verbose_eval=False,
        )
    except xgb.core.XGBoostError as error:
        raise UserError(f"XGB train call failed with exception:\n {error}") from error
    (ml / "model").mkdir(exist_ok=True)
    # The container's file has no extension, and holds XGBoost's own format.
    (ml / "model/xgboost-model").write_bytes(booster.save_raw("ubj"))


def main() -> None:
    try:
        train(ML)
    except (UserError, DataError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        (ML / "output/failure").write_text(f"framework error: {type(error).__name__}: {error}")
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
