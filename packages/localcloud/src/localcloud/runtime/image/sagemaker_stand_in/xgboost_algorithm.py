"""Training of the built-in XGBoost algorithm; imported only after the request has been validated."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import xgboost as xgb

from .xgboost_data import channel_format, read_channel

_NOT_BOOSTER = {"num_round", "csv_weights", "early_stopping_rounds", "save_model_on_termination", "predictor"}


class TrainingError(Exception):
    """XGBoost rejected the data or the hyperparameters."""


class Report(xgb.callback.TrainingCallback):  # type: ignore[misc]
    """Prints the scores of each round as the container does.

    CloudWatch shows the container's tabs as `#011`, and metric patterns expect that.
    """

    def after_iteration(self, _model: Any, epoch: int, evals_log: dict[str, dict[str, list[float]]]) -> bool:
        """Print one round's scores; return whether training stops."""
        scores = [f"{data}-{name}:{log[-1]:.5f}" for data, logs in evals_log.items() for name, log in logs.items()]
        sys.stdout.write("#011".join([f"[{epoch}]", *scores]) + "\n")
        sys.stdout.flush()
        return False


def train(ml: Path, hyperparameters: dict[str, Any], channels: dict[str, dict[str, str]]) -> None:
    """Train on `/opt/ml/input/data` and write `/opt/ml/model/xgboost-model`."""
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
        raise TrainingError(f"XGB train call failed with exception:\n {error}") from error
    (ml / "model").mkdir(exist_ok=True)
    # The container's file has no extension, and holds XGBoost's own format.
    (ml / "model/xgboost-model").write_bytes(booster.save_raw("ubj"))
