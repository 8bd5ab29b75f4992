"""Which features the model leans on, by SHAP, and whether their ranking has drifted, by NDCG.

Source: AWS "Monitor feature attribution drift". SHAP comes out of XGBoost itself (`pred_contribs`): exact, no sampling,
and no network, so that the job may stay isolated.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

LEAST_NDCG = 0.9


def attributions(model: Path, rows: "np.ndarray[Any, Any]", names: list[str]) -> dict[str, float]:
    """Mean |SHAP| by feature of a saved XGBoost model over `rows`, shape (rows, features). Needs xgboost."""
    import xgboost

    booster = xgboost.Booster(model_file=str(model))
    contributions = booster.predict(xgboost.DMatrix(rows, feature_names=booster.feature_names), pred_contribs=True)
    return mean_absolute(np.asarray(contributions), names)


def mean_absolute(contributions: "np.ndarray[Any, Any]", names: list[str]) -> dict[str, float]:
    """Of contributions (rows, [classes,] features + 1), the last being the expected value, summed over classes."""
    if contributions.shape[-1] != len(names) + 1:
        raise ValueError(f"the model has {contributions.shape[-1] - 1} features, {len(names)} names were given")
    mean = np.abs(contributions[..., :-1]).mean(axis=0)
    totals = mean.sum(axis=0) if mean.ndim > 1 else mean
    return {name: float(value) for name, value in zip(names, totals, strict=True)}


def ndcg(baseline: Mapping[str, float], current: Mapping[str, float]) -> float:
    """How well the current ranking keeps the baseline's: 1 the same, below 0.9 is drift.

    Gains are the baseline's attributions, in the order of the current ones, discounted by log2 of the rank.
    """
    if baseline.keys() != current.keys():
        raise ValueError("baseline and current attributions are of different features")

    def gain(order: Mapping[str, float]) -> float:
        ranked = sorted(order, key=lambda name: (-order[name], name))
        return sum(baseline[name] / math.log2(rank + 2) for rank, name in enumerate(ranked))

    ideal = gain(baseline)
    return gain(current) / ideal if ideal else 1.0


def analysis(shap: Mapping[str, float], label: str = "label0") -> dict[str, Any]:
    """Clarify's `analysis.json` of explanations."""
    return {"version": "1.0", "explanations": {"kernel_shap": {label: {"global_shap_values": dict(shap)}}}}


def read_analysis(body: Mapping[str, Any]) -> tuple[str, dict[str, float]]:
    """Label and attributions out of an `analysis.json`. Raises ValueError."""
    labels = (body.get("explanations") or {}).get("kernel_shap") or {}
    for label, values in labels.items():
        if "global_shap_values" in values:
            return label, {name: float(value) for name, value in values["global_shap_values"].items()}
    raise ValueError("the baseline has no explanations.kernel_shap.<label>.global_shap_values")


def violations(baseline: Mapping[str, float], current: Mapping[str, float], label: str) -> list[dict[str, str]]:
    """One violation where the ranking has drifted."""
    score = ndcg(baseline, current)
    if score >= LEAST_NDCG:
        return []
    return [
        {
            "label": label,
            "metric_name": "shap",
            "constraint_check_type": "feature_attribution_drift_check",
            "description": f"Feature attribution drift {score:.6g} exceeds threshold {LEAST_NDCG}",
        }
    ]
