"""XGBoost's container without a script: trains the built-in algorithm on the channels `train` and `validation`.

Source: SageMaker Developer Guide, "XGBoost hyperparameters".
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NoReturn

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


class UserError(Exception):
    """The request is not valid."""


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


def main() -> None:
    """Validate the request and train."""
    config = ML / "input/config"
    try:
        hyperparameters = read_hyperparameters(json.loads((config / "hyperparameters.json").read_text()))
        channels = json.loads((config / "inputdataconfig.json").read_text())
        if "train" not in channels:
            raise UserError("Missing required channel: train")
    except UserError as error:
        fail(error)
    from .xgboost_algorithm import TrainingError, train
    from .xgboost_data import DataError

    try:
        train(ML, hyperparameters, channels)
    except (TrainingError, DataError) as error:
        fail(error)


def fail(error: Exception) -> NoReturn:
    """Write the reason to `/opt/ml/output/failure`, and exit."""
    sys.stderr.write(f"{type(error).__name__}: {error}\n")
    (ML / "output/failure").write_text(f"framework error: {type(error).__name__}: {error}")
    raise SystemExit(1) from error


if __name__ == "__main__":
    main()
