"""The monitors that a model asks for, and the settings of its baselines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from configuration import Model, Monitoring, Realtime

_PROBLEMS = {
    "binary_classification": "BinaryClassification",
    "multiclass_classification": "MulticlassClassification",
    "regression": "Regression",
}
# The endpoint returns one column: a probability or the prediction.
_PREDICTION_COLUMN = "0"
_WEEK = 7 * 24


@dataclass(frozen=True)
class Monitor:
    """One kind of monitor of one model.

    Attributes:
        kind: Its name in verdict rows.
        namespace: The namespace of its metrics, as Model Monitor's.
        metric: The metric that is 1 if the last run found drift.
        label_delay_hours: How long before its run a window ends, hours; None if it needs no labels.
        schedule_hours: Hours between two runs.
        environment: Variables of the built-in engine's container, besides those of the window and the locations.
        analysis: The content of `analysis_config.json`, for the kinds that Clarify has.
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
        """The kind in construct ids, such as `DataQuality`."""
        return self.kind.title().replace("_", "")

    @property
    def slug(self) -> str:
        """The kind in names and keys, such as `data-quality`."""
        return self.kind.replace("_", "-")

    @property
    def analysis_json(self) -> str:
        """The analysis configuration as the content of a file."""
        return json.dumps(self.analysis, sort_keys=True)


def monitors_of(model: Model, monitoring: Monitoring) -> Iterator[Monitor]:
    """Yield the monitors that a model asks for."""
    prediction = _prediction(model, monitoring)
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
            {**problem, **prediction},
        )
    if monitoring.bias:
        yield Monitor(
            "bias",
            "aws/sagemaker/Endpoints/bias-metrics",
            "bias_drift",
            delay,
            monitoring.schedule_hours,
            {"analysis_type": "MODEL_BIAS", **prediction},
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
            environment={"analysis_type": "MODEL_EXPLAINABILITY", "monitor_mode": monitoring.mode},
            analysis={"headers": headers, "methods": {"shap": {"model_archive": "model.tar.gz"}}},
        )


def baseline_settings(model: Model) -> str:
    """Return the settings of a model's baselines as JSON (docs/reference/contracts.md, "Baselines")."""
    monitors = list(monitors_of(model, model.monitoring)) if model.monitoring else []
    data_quality = model.monitoring.data_quality if model.monitoring else None
    quality = model.monitoring.model_quality if model.monitoring else None
    return json.dumps(
        {
            "columns": [{"name": column.name, "type": column.type} for column in model.data.columns],
            "target": model.target,
            "problem_type": _PROBLEMS[model.problem_type],
            "threshold": quality.probability_threshold if quality else 0.5,
            "kinds": [monitor.kind for monitor in monitors],
            "critical": list(data_quality.critical) if data_quality else [],
            "bias": next((monitor.analysis for monitor in monitors if monitor.kind == "bias"), None),
            "window_share": _window_share(model, model.monitoring) if model.monitoring else 0.0,
        },
        sort_keys=True,
    )


def _window_share(model: Model, monitoring: Monitoring) -> float:
    """Return how many rows a small window has, as a share of the holdout's: half of the average, for days differ."""
    percents = [served.capture_percent for served in model.serving.values() if isinstance(served, Realtime)]
    captured = min((percent for percent in percents if percent), default=0) / 100
    return captured * monitoring.window_hours / (24 * model.training.holdout_days) / 2


def _typed(value: str) -> int | float | str:
    """Return a number if the text is one: Clarify compares it with the column's values, none of which equals text."""
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def _prediction(model: Model, monitoring: Monitoring) -> dict[str, str]:
    """Return the variables that say what the endpoint's column means."""
    if model.problem_type != "binary_classification":
        return {"inference_attribute": _PREDICTION_COLUMN}
    threshold = monitoring.model_quality.probability_threshold if monitoring.model_quality else 0.5
    return {"probability_attribute": _PREDICTION_COLUMN, "probability_threshold_attribute": str(threshold)}


def cron(schedule_hours: int) -> str:
    """Return the cron expression for a run every so many hours from midnight UTC, for either scheduler.

    A week, which only EventBridge supports, begins on Thursday as the epoch did: windows end at multiples of it.
    """
    if schedule_hours == _WEEK:
        return "cron(0 0 ? * THU *)"
    hours = {1: "*", 24: "0"}.get(schedule_hours, f"0/{schedule_hours}")
    return f"cron(0 {hours} ? * * *)"
