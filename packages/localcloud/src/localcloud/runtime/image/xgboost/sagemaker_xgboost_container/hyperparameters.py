"""Hyperparameters of the built-in algorithm: names, ranges and conditions.

Source: SageMaker Developer Guide, "XGBoost hyperparameters"; the behaviour of aws/sagemaker-xgboost-container.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sagemaker_algorithm_toolkit.exceptions import UserError
from sagemaker_xgboost_container.metrics import MAXIMIZED, MINIMIZED

_ALIASES = {"learning_rate": "eta", "min_split_loss": "gamma", "reg_lambda": "lambda", "reg_alpha": "alpha"}
_UPDATERS = ("grow_colmaker", "distcol", "grow_histmaker", "grow_skmaker", "sync", "refresh", "prune")
_LINEAR_UPDATERS = ("shotgun", "coord_descent")
_OBJECTIVES = (
    "aft_loss_distribution", "binary:logistic", "binary:logitraw", "binary:hinge", "count:poisson", "multi:softmax",
    "multi:softprob", "rank:pairwise", "rank:ndcg", "rank:map", "reg:linear", "reg:squarederror", "reg:logistic",
    "reg:gamma", "reg:pseudohubererror", "reg:squaredlogerror", "reg:absoluteerror", "reg:tweedie", "survival:aft",
    "survival:cox",
)  # fmt: skip


@dataclass(frozen=True)
class Interval:
    """A range of numbers, in the mathematical notation: `(0, 1]`, `[1, +inf)`."""

    text: str

    def __str__(self) -> str:
        return self.text

    def __contains__(self, value: float) -> bool:
        low, high = (float(part) for part in self.text[1:-1].split(","))
        above = value > low if self.text[0] == "(" else value >= low
        return above and (value < high if self.text[-1] == ")" else value <= high)


_INTEGERS = {
    "num_round": "[1, +inf)", "csv_weights": "[0, 1]", "early_stopping_rounds": "[1, +inf)", "verbosity": "[0, 3]",
    "nthread": "[1, +inf)", "max_depth": "[0, +inf)", "refresh_leaf": "[0, 1]", "max_leaves": "[0, +inf)",
    "max_bin": "[0, +inf)", "one_drop": "[0, 1]", "num_class": "[2, +inf)", "_kfold": "[2, +inf)",
    "_num_cv_round": "[1, +inf)", "seed": "(-2147483648, 2147483647)", "num_parallel_tree": "[1, +inf)",
    "prob_buffer_row": "(1.0, +inf)",
}  # fmt: skip
_NUMBERS = {
    "eta": "[0, 1]", "gamma": "[0, +inf)", "min_child_weight": "[0, +inf)", "max_delta_step": "[0, +inf)",
    "subsample": "(0, 1]", "colsample_bytree": "(0, 1]", "colsample_bylevel": "(0, 1]", "colsample_bynode": "(0, 1]",
    "lambda": "[0, +inf)", "alpha": "[0, +inf)", "sketch_eps": "(0, 1)", "scale_pos_weight": "(0, +inf)",
    "rate_drop": "[0, 1]", "skip_drop": "[0, 1]", "lambda_bias": "[0, 1]", "tweedie_variance_power": "(1, 2)",
    "base_score": "[0, +inf)", "aft_loss_distribution_scale": "[0, +inf)",
}  # fmt: skip
_BOOLEANS = ("true", "false")
_CHOICES = {
    "booster": ("gbtree", "gblinear", "dart"),
    "tree_method": ("auto", "exact", "approx", "hist", "gpu_hist"),
    "dsplit": ("row", "col"),
    "process_type": ("default", "update"),
    "grow_policy": ("depthwise", "lossguide"),
    "predictor": ("auto", "cpu_predictor", "gpu_predictor"),
    "sample_type": ("uniform", "weighted"),
    "normalize_type": ("tree", "forest"),
    "objective": _OBJECTIVES,
    "save_model_on_termination": _BOOLEANS,
    "aft_loss_distribution": ("normal", "logistic", "extreme"),
    "deterministic_histogram": _BOOLEANS,
    "sampling_method": ("uniform", "gradient_based"),
    "use_dask_gpu_training": _BOOLEANS,
    "_tuning_objective_metric": tuple(f"validation:{name}" for name in (*MAXIMIZED, *MINIMIZED)),
}


def _list_of(text: str) -> list[str]:
    return text.split(",")


_PARSERS: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(_INTEGERS, int),
    **dict.fromkeys(_NUMBERS, float),
    **dict.fromkeys(_CHOICES, str),
    "updater": _list_of,
    "eval_metric": _list_of,
    "monotone_constraints": ast.literal_eval,
    "interaction_constraints": ast.literal_eval,
}


def validate(given: dict[str, str], version: tuple[int, int]) -> dict[str, Any]:
    """Return the hyperparameters converted.

    Args:
        given: as text, with aliases.
        version: XGBoost's version; `silent` ended with 1.0.

    Raises:
        UserError: one is missing, unknown, not in its range, or does not fit the others.
    """
    renamed = {_ALIASES.get(name, name): text for name, text in given.items()}
    if "num_round" not in renamed:
        raise UserError("Missing required hyperparameter: num_round")
    values = {}
    for name, text in renamed.items():
        parse = int if name == "silent" and version <= (1, 0) else _PARSERS.get(name)
        if parse is None:
            raise UserError(f"Extraneous hyperparameter found: {name}")
        try:
            values[name] = parse(text)
        except (ValueError, SyntaxError) as error:
            raise UserError(f"Hyperparameter {name}: could not parse value", caused_by=error) from error
    for name, value in values.items():
        _check_range(name, value)
    _check_together(values)
    return values


def _check_range(name: str, value: Any) -> None:
    if name in _INTEGERS or name in _NUMBERS or name == "silent":
        interval = Interval({**_INTEGERS, **_NUMBERS, "silent": "[0, 1]"}[name])
        if value not in interval:
            raise UserError(f"Hyperparameter {name}: {value} is not in {interval}")
    elif name in _CHOICES:
        if value not in _CHOICES[name]:
            raise UserError(f"Hyperparameter {name}: {value} is not in {list(_CHOICES[name])}")
    elif name == "eval_metric":
        if not all(_is_metric(metric) for metric in value):
            raise UserError(f"Hyperparameter {name}: value {value} not in range {[*MAXIMIZED, *MINIMIZED]}")
    elif name == "updater":
        if not set(value) <= {*_UPDATERS, *_LINEAR_UPDATERS}:
            raise UserError(f"Hyperparameter {name}: value {value} not in range {[*_UPDATERS, *_LINEAR_UPDATERS]}")
    elif name == "monotone_constraints":
        if not set(value) <= {-1, 0, 1}:
            raise UserError(f"Hyperparameter {name}: value {value} not in range [-1, 0, 1]")
    elif any(feature < 1 for group in value for feature in group):
        raise UserError(f"Hyperparameter {name}: value {value} not in range [1, +inf)")


def _is_metric(metric: str) -> bool:
    name, at, threshold = (part.strip() for part in metric.partition("@"))
    if "<function" in metric:
        raise UserError(f"User defined evaluation metric {metric} is not supported yet.")
    if not at:
        return metric in MAXIMIZED or metric in MINIMIZED
    if name not in ("error", "ndcg", "map"):
        raise UserError(
            f"Metric '{metric}' is not supported. Parameter 'eval_metric' with customized threshold should "
            "be one of these options: 'error', 'ndcg', 'map'."
        )
    try:
        float(threshold)
    except ValueError as error:
        raise UserError(f"Threshold value 't' in '{name}@t' expects float input.") from error
    return True


def _check_together(values: dict[str, Any]) -> None:
    objective = values.get("objective")
    if objective in ("multi:softmax", "multi:softprob") and "num_class" not in values:
        raise UserError("Require input for parameter 'num_class' for multi-classification")
    metrics = values.get("eval_metric", ())
    if "auc" in metrics and not str(objective).startswith(("binary:", "rank:")):
        raise UserError("Metric 'auc' can only be applied for classification and ranking problems.")
    if "aft-nloglik" in metrics and objective != "survival:aft":
        raise UserError("Metric 'aft-nloglik' can only be applied for 'survival:aft' objective.")
    method = values.get("tree_method")
    if "monotone_constraints" in values and method not in ("exact", "hist"):
        raise UserError(
            "monotone_constraints can be used only when the tree_method parameter is set to either 'exact' or 'hist'."
        )
    if "interaction_constraints" in values and method not in ("exact", "hist", "approx"):
        raise UserError(
            "interaction_constraints can be used only when the tree_method parameter is set to "
            "either 'exact', 'hist' or 'approx'."
        )
    if "updater" in values:
        _check_updaters(values["updater"], values)


def _check_updaters(updaters: list[str], values: dict[str, Any]) -> None:
    if values.get("booster") == "gblinear":
        if len(updaters) != 1 or updaters[0] not in _LINEAR_UPDATERS:
            raise UserError("Linear updater should be one of these options: 'shotgun', 'coord_descent'.")
    elif values.get("process_type") == "update":
        if not set(updaters) <= {"refresh", "prune"}:
            raise UserError("process_type 'update' can only be used with updater 'refresh' and 'prune'")
    elif not set(updaters) <= set(_UPDATERS):
        raise UserError(f"Tree updater should be selected from these options: {', '.join(map(repr, _UPDATERS))}.")
    elif sum(one in ("grow_colmaker", "distcol", "grow_histmaker") for one in updaters) > 1:
        raise UserError("Only one tree grow plugin can be selected.")
