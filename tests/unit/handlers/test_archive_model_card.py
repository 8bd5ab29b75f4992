"""The Model Card against AWS's published schema, as the SDK and CloudFormation carry it."""

from __future__ import annotations

import json
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from pipelines.steps.model_card import MAX_CONTENT, content, model_card

RECORD: dict[str, Any] = {
    "version": 1,
    "model": "churn",
    "execution_arn": "arn:aws:sagemaker:us-east-1:1:pipeline/evergreen-churn/execution/e1",
    "commit": "abc1234",
    "trigger": {"kind": "drift", "evidence": "3 of the last 6 windows drifted"},
    "artifact": {"uri": "s3://b/model.tar.gz", "sha256": "a" * 64},
    "code": {"uri": "s3://b/code/", "sha256": "c" * 64},
    "dataset": {"manifest_uri": "s3://b/manifest.json", "sha256": "d" * 64, "objects": 59},
    "parameters": {"max_depth": "5", "objective": "binary:logistic"},
    "seed": 1,
    "evaluation": {
        "metrics": {"auc": 0.71},
        "champion_metrics": {"auc": 0.7},
        "improvement": 0.01,
        "rows": 1000,
        "champion": "arn:package/1",
        "verdict": "better by 0.01",
    },
    "champion": {"package_arn": "arn:package/1"},
}


def text(longest: int) -> dict[str, Any]:
    return {"type": "string", "maxLength": longest}


def closed(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties, "required": list(required)}


def listed(items: dict[str, Any], most: int) -> dict[str, Any]:
    return {"type": "array", "items": items, "maxItems": most}


NAME = {"type": "string", "minLength": 1, "maxLength": 255}
TEXTS = {"type": "object", "additionalProperties": text(1024)}
METRIC = closed(
    ("name", "type", "value"),
    name=NAME,
    notes=text(1024),
    type={"enum": ["number", "string", "boolean"]},
    value={"type": ["number", "string", "boolean"]},
)
SCHEMA = closed(
    model_overview=closed(model_creator=text(1024), model_artifact=listed(text(1024), 15)),
    intended_uses=closed(
        purpose_of_model=text(2048),
        intended_uses=text(2048),
        factors_affecting_model_efficiency=text(2048),
        risk_rating={"enum": ["High", "Medium", "Low", "Unknown"]},
        explanations_for_risk_rating=text(2048),
    ),
    training_details=closed(
        training_observations=text(1024),
        training_job_details=closed(
            training_arn=text(1024),
            training_datasets=listed(text(1024), 15),
            training_environment=closed(container_image=listed(text(1024), 15)),
            user_provided_hyper_parameters=listed(closed(("name", "value"), name=NAME, value=text(255)), 100),
        ),
    ),
    evaluation_details=listed(
        closed(
            ("name",),
            name={"type": "string", "minLength": 1, "maxLength": 63},
            evaluation_observation=text(2096),
            evaluation_job_arn=text(256),
            datasets=listed(text(1024), 10),
            metadata=TEXTS,
            metric_groups=listed(closed(("name", "metric_data"), name=text(63), metric_data=listed(METRIC, 100)), 50),
        ),
        100,
    ),
    additional_information=closed(
        ethical_considerations=text(2048), caveats_and_recommendations=text(2048), custom_details=TEXTS
    ),
)


def card(record: dict[str, Any] = RECORD, **more: Any) -> dict[str, Any]:
    return model_card(record, description="Who leaves", owner="retention", image="image@sha256:0", **more)


def test_a_card_is_valid_against_the_published_schema() -> None:
    full = card(
        intended_uses="ranking", caveats="one country", risk_rating="Low", bias={"DPPL": 0.1}, explainability={"a": 1}
    )
    for one in (card(), full):
        jsonschema.validate(json.loads(content(one)), SCHEMA)
    assert [detail["name"] for detail in full["evaluation_details"]] == ["Holdout", "Bias", "Explainability"]


def test_a_long_record_still_gives_a_valid_card() -> None:
    long = RECORD | {
        "parameters": {f"p{n}": "x" * 999 for n in range(200)},
        "trigger": {"kind": "drift", "evidence": "e" * 5000},
        "evaluation": RECORD["evaluation"] | {"champion_metrics": None, "verdict": "v" * 5000},
    }
    jsonschema.validate(card(long, intended_uses="u" * 5000), SCHEMA)


def test_a_card_says_where_the_version_came_from_and_what_it_was_measured_by() -> None:
    one = card()
    assert one["training_details"]["training_observations"].endswith("drift: 3 of the last 6 windows drifted")
    assert [group["name"] for group in one["evaluation_details"][0]["metric_groups"]] == ["Challenger", "Champion"]
    assert one["additional_information"]["custom_details"]["champion"] == "arn:package/1"


def test_what_aws_would_refuse_is_refused_before() -> None:
    with pytest.raises(ValueError, match="got 'Harmless'"):
        card(risk_rating="Harmless")
    with pytest.raises(ValueError, match=f"{MAX_CONTENT} characters"):
        content(card(explainability={f"feature{n}": 0.1 for n in range(4000)}))
