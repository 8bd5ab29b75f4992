"""Feature attributions by SHAP, and the drift of their ranking by NDCG.

XGBoost computes SHAP values itself (`pred_contribs`): exactly, without sampling and without a network, so the job can
run isolated. Source: AWS, "Monitor feature attribution drift".
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from drift_analyzer.checked_values import mapping, real

MIN_NDCG = 0.9
"""A lower NDCG is drift, as in Clarify."""


def attributions(model: Path, rows: "np.ndarray[Any, Any]", names: list[str]) -> dict[str, float]:
    """Return mean |SHAP| by feature of a saved XGBoost model over `rows`, shape (rows, features). Requires xgboost."""
    import xgboost

    booster = xgboost.Booster(model_file=str(model))
    contributions = booster.predict(xgboost.DMatrix(rows, feature_names=booster.feature_names), pred_contribs=True)
    return mean_absolute(np.asarray(contributions), names)


def mean_absolute(contributions: "np.ndarray[Any, Any]", names: list[str]) -> dict[str, float]:
    """Return mean |SHAP| by feature, summed over classes.

    Args:
        contributions: SHAP values, shape (rows, [classes,] features + 1); the last of each is the expected value.
        names: Names of the features.

    Raises:
        ValueError: The number of names is not that of the features.
    """
    if contributions.shape[-1] != len(names) + 1:
        raise ValueError(f"the model has {contributions.shape[-1] - 1} features, {len(names)} names were given")
    mean = np.abs(contributions[..., :-1]).mean(axis=0)
    totals = mean.sum(axis=0) if mean.ndim > 1 else mean
    return {name: float(value) for name, value in zip(names, totals, strict=True)}


def ndcg(baseline: Mapping[str, float], current: Mapping[str, float]) -> float:
    """Return the NDCG of the current ranking: 1 if it is the baseline's.

    Gains are the baseline's attributions in the order of the current ones, discounted by log2 of the rank.

    Raises:
        ValueError: The features differ.
    """
    if baseline.keys() != current.keys():
        raise ValueError("baseline and current attributions are of different features")

    def gain(order: Mapping[str, float]) -> float:
        ranked = sorted(order, key=lambda name: (-order[name], name))
        return sum(baseline[name] / math.log2(rank + 2) for rank, name in enumerate(ranked))

    ideal = gain(baseline)
    return gain(current) / ideal if ideal else 1.0


def analysis(shap: Mapping[str, float], label: str = "label0") -> dict[str, Any]:
    """Return the body of Clarify's `analysis.json` for explanations."""
    return {"version": "1.0", "explanations": {"kernel_shap": {label: {"global_shap_values": dict(shap)}}}}


def read_analysis(body: Mapping[str, Any]) -> tuple[str, dict[str, float]]:
    """Return the label and the attributions of an `analysis.json`.

    Raises:
        ValueError: The file has no attributions.
    """
    explanations = mapping(mapping(body, "analysis.json").get("explanations"), "explanations")
    for label, values in mapping(explanations.get("kernel_shap"), "kernel_shap").items():
        found = mapping(values, f"kernel_shap: {label}").get("global_shap_values")
        if found is not None:
            return label, {name: real(value, name) for name, value in mapping(found, "global_shap_values").items()}
    raise ValueError("the baseline has no explanations.kernel_shap.<label>.global_shap_values")


def violations(baseline: Mapping[str, float], current: Mapping[str, float], label: str) -> list[dict[str, str]]:
    """Return one violation if the ranking has drifted."""
    score = ndcg(baseline, current)
    if score >= MIN_NDCG:
        return []
    return [
        {
            "label": label,
            "metric_name": "shap",
            "constraint_check_type": "feature_attribution_drift_check",
            "description": f"Feature attribution drift {score:.6g} exceeds threshold {MIN_NDCG}",
        }
    ]
