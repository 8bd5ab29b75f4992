"""Evaluation metrics: XGBoost's, and those that the container adds from scikit-learn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

MAXIMIZED = (
    "accuracy", "auc", "aucpr", "balanced_accuracy", "f1", "f1_binary", "f1_macro", "map", "ndcg", "precision", "r2",
    "recall", "precision_macro", "precision_micro", "recall_macro", "recall_micro",
)  # fmt: skip
MINIMIZED = (
    "aft-nloglik", "cox-nloglik", "error", "gamma-deviance", "gamma-nloglik", "interval-regression-accuracy",
    "logloss", "mae", "mape", "merror", "mlogloss", "mphe", "mse", "poisson-nloglik", "rmse", "rmsle",
    "tweedie-nloglik",
)  # fmt: skip
_ADDED = (
    "accuracy", "balanced_accuracy", "f1", "f1_binary", "f1_macro", "mse", "rmse", "mae", "precision",
    "precision_macro", "precision_micro", "r2", "recall", "recall_macro", "recall_micro",
)  # fmt: skip


def added(metrics: Sequence[str]) -> list[str]:
    """Return the metrics that XGBoost is not asked for: the container computes them."""
    return [name for name in metrics if name in _ADDED]


def evaluate(names: Sequence[str]) -> Callable[[Any, Any], list[tuple[str, float]]]:
    """Return the function that XGBoost calls with predictions and data after each round."""
    return lambda predictions, data: [(name, _value(name, data.get_label(), predictions)) for name in names]


def _value(name: str, labels: Any, predictions: Any) -> float:
    from sklearn import metrics

    if name in ("mae", "mse", "rmse", "r2"):
        if name == "mae":
            return float(metrics.mean_absolute_error(labels, predictions))
        if name == "r2":
            return float(metrics.r2_score(labels, predictions))
        squared = float(metrics.mean_squared_error(labels, predictions))
        return squared if name == "mse" else float(np.sqrt(squared))
    if predictions.size == 0:
        return 0.0
    # As in the container: scores are compared with zero, although XGBoost 2 and newer pass probabilities.
    classes = np.argmax(predictions, axis=-1) if predictions.ndim > 1 else (predictions > 0.0).astype(int)
    if name in ("accuracy", "balanced_accuracy"):
        return float(getattr(metrics, f"{name}_score")(labels, classes))
    kind, _, average = name.partition("_")
    average = average or ("macro" if kind == "f1" else "binary")
    return float(getattr(metrics, f"{kind}_score")(labels, classes, average=average))
