"""What each kind of monitor needs to know, and how often all of a model's run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from configuration import Model, Monitoring

_PROBLEMS = {
    "binary_classification": "BinaryClassification",
    "multiclass_classification": "MulticlassClassification",
    "regression": "Regression",
}
# The endpoint answers one column: a probability, or what was predicted.
_ANSWER = "0"
_WEEK = 7 * 24


@dataclass(frozen=True)
class Monitor:
    """One kind of monitor of one model.

    Attributes:
        kind: as verdict rows name it.
        namespace: of its metrics, as Model Monitor's.
        metric: 1 where the last run found drift.
        label_delay_hours: what its windows end earlier than the schedule's slot; None where it needs no labels.
        schedule_hours: from one run to the next.
        environment: of the built-in engine's container, beside what the window and the addresses give.
        analysis: `analysis_config.json`, for the kinds that Clarify has.
    """

    kind: str
    namespace: str
    metric: str
    label_delay_hours: int | None = None
    schedule_hours: int = 24
    environment: dict[str, str] = field(default_factory=dict)
    analysis: dict[str, object] | None = None

    @property
    def id(self) -> str:
        """For construct ids: `DataQuality`."""
        return self.kind.title().replace("_", "")

    @property
    def slug(self) -> str:
        """For names and keys: `data-quality`."""
        return self.kind.replace("_", "-")

    @property
    def analysis_json(self) -> str:
        """The analysis configuration as a file's content."""
        return json.dumps(self.analysis, sort_keys=True)


def monitors_of(model: Model, monitoring: Monitoring) -> Iterator[Monitor]:
    """The monitors that a model asks for."""
    answers = _answers(model, monitoring)
    delay = monitoring.model_quality.label_delay_hours if monitoring.model_quality else None
    headers = [column.name for column in model.data.columns]
    types = {column.name: column.type for column in model.data.columns}
    if monitoring.data_quality:
        yield Monitor(
            "data_quality",
            "aws/sagemaker/Endpoints/data-metrics",
            "data_drift",
            schedule_hours=monitoring.schedule_hours,
        )
    if monitoring.model_quality:
        problem = {"analysis_type": "MODEL_QUALITY", "problem_type": _PROBLEMS[model.problem_type]}
        yield Monitor(
            "model_quality",
            "aws/sagemaker/Endpoints/model-metrics",
            "quality_drift",
            delay,
            monitoring.schedule_hours,
            {**problem, **answers},
        )
    if monitoring.bias:
        yield Monitor(
            "bias",
            "aws/sagemaker/Endpoints/bias-metrics",
            "bias_drift",
            delay,
            monitoring.schedule_hours,
            {"analysis_type": "MODEL_BIAS", **answers},
            {
                "headers": [*headers, model.target],
                "label": model.target,
                "label_values_or_threshold": [_typed(value) for value in monitoring.bias.positive],
                "facet": [
                    {
                        "name_or_index": facet.name,
                        "value_or_threshold": [
                            value if types[facet.name] == "string" else _typed(value) for value in facet.values
                        ],
                    }
                    for facet in monitoring.bias.facets
                ],
            },
        )
    if monitoring.explainability:
        yield Monitor(
            "explainability",
            "aws/sagemaker/Endpoints/explainability-metrics",
            "explainability_drift",
            schedule_hours=_WEEK if monitoring.explainability.weekly else monitoring.schedule_hours,
            environment={"analysis_type": "MODEL_EXPLAINABILITY"},
            analysis={"headers": headers, "methods": {"shap": {"model_archive": "model.tar.gz"}}},
        )


def baseline_settings(model: Model) -> str:
    """What the analyzer must know to write a model's baselines (docs/reference/contracts.md, "Baselines"), as JSON."""
    monitors = list(monitors_of(model, model.monitoring)) if model.monitoring else []
    asked = model.monitoring.data_quality if model.monitoring else None
    quality = model.monitoring.model_quality if model.monitoring else None
    return json.dumps(
        {
            "columns": [{"name": column.name, "type": column.type} for column in model.data.columns],
            "target": model.target,
            "problem_type": _PROBLEMS[model.problem_type],
            "threshold": quality.probability_threshold if quality else 0.5,
            "kinds": [monitor.kind for monitor in monitors],
            "critical": list(asked.critical) if asked else [],
            "bias": next((monitor.analysis for monitor in monitors if monitor.kind == "bias"), None),
        },
        sort_keys=True,
    )


def _typed(value: str) -> int | float | str:
    """A number as such: Clarify compares it with the column's values, and text equals none of them."""
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def _answers(model: Model, monitoring: Monitoring) -> dict[str, str]:
    if model.problem_type != "binary_classification":
        return {"inference_attribute": _ANSWER}
    threshold = monitoring.model_quality.probability_threshold if monitoring.model_quality else 0.5
    return {"probability_attribute": _ANSWER, "probability_threshold_attribute": str(threshold)}


def cron(schedule_hours: int) -> str:
    """Every so many hours from midnight UTC on, as both Model Monitor and EventBridge write it.

    A week (which only EventBridge has) begins on Thursday, as the epoch did: windows end at multiples of the schedule.
    """
    if schedule_hours == _WEEK:
        return "cron(0 0 ? * THU *)"
    hours = {1: "*", 24: "0"}.get(schedule_hours, f"0/{schedule_hours}")
    return f"cron(0 {hours} ? * * *)"
