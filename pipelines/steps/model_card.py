"""A registered version's Model Card: intended use, data, evaluation, bias, explainability, lineage.

Standard library only, so that it runs beside `record.py` in the framework's container. It writes the schema of a *model
package's* card, whose `model_overview` has creator and artefact only. That is also valid as a Model Card of its own.

Source: AWS, "Amazon SageMaker Model Cards", "Model package model card schema".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

MAX_CONTENT = 100_000
"""Longest `ModelCardContent`, characters."""
RISK_RATINGS = ("High", "Medium", "Low", "Unknown")
_TEXT, _LONG_TEXT, _METRIC_NAME, _HYPERPARAMETER, _MAX_HYPERPARAMETERS = 1024, 2048, 255, 255, 100


def model_card(
    record: Mapping[str, Any],
    *,
    description: str,
    owner: str,
    image: str,
    intended_uses: str = "",
    caveats: str = "",
    risk_rating: str = "Unknown",
    risk_explanation: str = "",
    bias: Mapping[str, float] | None = None,
    explainability: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Build the card of one version.

    Args:
        record: The registration record (docs/reference/contracts.md, "Registration record").
        description: The description in `model.yaml`.
        owner: The owner in `model.yaml`.
        image: The training container's image.
        intended_uses: The uses that the model was made for.
        caveats: Caveats and recommendations.
        risk_rating: One of `RISK_RATINGS`.
        risk_explanation: The reason for the rating.
        bias: Clarify's metrics by name, `None` if bias is not measured.
        explainability: Mean absolute SHAP values by feature.

    Raises:
        ValueError: AWS does not know the risk rating.
    """
    if risk_rating not in RISK_RATINGS:
        raise ValueError(f"risk_rating is one of {', '.join(RISK_RATINGS)}, got {risk_rating!r}")
    return {
        "model_overview": {"model_creator": owner[:_TEXT], "model_artifact": [record["artifact"]["uri"]]},
        "intended_uses": {
            "purpose_of_model": description[:_LONG_TEXT],
            "risk_rating": risk_rating,
            **_given("intended_uses", intended_uses[:_LONG_TEXT]),
            **_given("explanations_for_risk_rating", risk_explanation[:_LONG_TEXT]),
        },
        "training_details": _training(record, image),
        "evaluation_details": [_evaluation(record), *_analyses(bias, explainability)],
        "additional_information": {
            **_given("caveats_and_recommendations", caveats[:_LONG_TEXT]),
            "custom_details": _lineage(record),
        },
    }


def content(card: Mapping[str, Any]) -> str:
    """Return the card as text for `ModelCardContent`.

    Raises:
        ValueError: It is longer than AWS accepts, or holds a number that JSON cannot express.
    """
    text = json.dumps(card, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    if len(text) > MAX_CONTENT:
        raise ValueError(f"a model card holds {MAX_CONTENT} characters, got {len(text)}")
    return text


def _training(record: Mapping[str, Any], image: str) -> dict[str, Any]:
    trigger = record["trigger"]
    parameters = sorted(record["parameters"].items())[:_MAX_HYPERPARAMETERS]
    return {
        "training_observations": f"Trained because of {trigger['kind']}: {trigger['evidence']}"[:_TEXT],
        "training_job_details": {
            "training_datasets": [record["dataset"]["manifest_uri"]],
            "training_environment": {"container_image": [image]},
            "user_provided_hyper_parameters": [
                {"name": name[:_HYPERPARAMETER], "value": str(value)[:_HYPERPARAMETER]} for name, value in parameters
            ],
        },
    }


def _evaluation(record: Mapping[str, Any]) -> dict[str, Any]:
    evaluation = record["evaluation"]
    groups = {"Challenger": evaluation["metrics"], "Champion": evaluation.get("champion_metrics")}
    return {
        "name": "Holdout",
        "evaluation_observation": f"{evaluation['verdict']} ({evaluation['rows']} rows)"[:_TEXT],
        "datasets": [record["dataset"]["manifest_uri"]],
        "metric_groups": [_group(name, metrics) for name, metrics in groups.items() if metrics],
    }


def _analyses(bias: Mapping[str, float] | None, explainability: Mapping[str, float] | None) -> list[dict[str, Any]]:
    named = {"Bias": bias, "Explainability": explainability}
    return [{"name": name, "metric_groups": [_group(name, metrics)]} for name, metrics in named.items() if metrics]


def _group(name: str, metrics: Mapping[str, float]) -> dict[str, Any]:
    data = [
        {"name": metric[:_METRIC_NAME], "type": "number", "value": float(value)} for metric, value in metrics.items()
    ]
    return {"name": name, "metric_data": data}


def _lineage(record: Mapping[str, Any]) -> dict[str, str]:
    """Return the origin of everything, so that the version can be reproduced."""
    return {
        "commit": record["commit"],
        "execution": record["execution_arn"],
        "code": record["code"]["uri"],
        "code_sha256": record["code"]["sha256"],
        "dataset_sha256": record["dataset"]["sha256"],
        "artifact_sha256": record["artifact"]["sha256"],
        "seed": str(record["seed"]),
        "champion": record["champion"]["package_arn"] or "none",
    }


def _given(name: str, text: str) -> dict[str, str]:
    return {name: text} if text else {}
