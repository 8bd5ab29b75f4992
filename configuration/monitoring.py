"""`model.yaml`, `monitoring` and `retraining`: a model's monitors, and when it may be retrained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from configuration.base import Mistakes, Spec
from configuration.instances import ProcessingInstanceType

MONITOR_KINDS = ("data_quality", "model_quality", "bias", "explainability")
"""The kinds of monitors, under their names in model.yaml and in verdict rows."""

_HOURS_A_DAY = 24
# Start and end offset of a managed monitor reach back at most 30 days.
_LONGEST_LOOK_BACK_HOURS = 30 * _HOURS_A_DAY
_MOST_DAYS = 3650


def _value(value: str) -> str:
    # Values become part of metric names, in which Clarify joins them by commas.
    if not value.strip() or "," in value:
        raise ValueError("text without a comma, in quotes")
    return value


FacetValue = Annotated[str, AfterValidator(_value)]


class DataQuality(Spec):
    """Compare captured requests with the training data."""

    critical: tuple[str, ...] = ()
    """Features whose own drift counts as data set drift. Of the others, the share that drifted decides."""


class ModelQuality(Spec):
    """Compare answers with labels that arrive later."""

    label_delay_hours: Annotated[int, Field(ge=0, le=_LONGEST_LOOK_BACK_HOURS)]
    """Time from the end of a window until its labels have arrived. Then the window is analyzed."""
    probability_threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """A probability of at least this value is the positive class (binary classification only)."""


class Facet(Spec):
    """A feature whose groups are compared."""

    name: str
    """One of data.columns."""
    values: Annotated[tuple[FacetValue, ...], Field(min_length=1)]
    """The rows of the group: categories, or one number that the row's value exceeds."""


class Bias(Spec):
    """Compare answers and labels between groups, with the labels of model quality."""

    facets: Annotated[tuple[Facet, ...], Field(min_length=1)]
    """The groups to compare, each with all other rows."""
    positive: Annotated[tuple[FacetValue, ...], Field(min_length=1)] = ("1",)
    """The labels that are the favourable outcome."""


class Explainability(Spec):
    """Compare the order of the features' attributions (SHAP) with that at training."""

    weekly: bool = False
    """Run once a week, on Thursday at 00:00 UTC, instead of on the common schedule: SHAP is the most expensive
    analysis, and the order of attributions changes slowly."""


class Monitoring(Spec):
    """Scheduled monitors. Captured data is also analyzed as it arrives."""

    schedule_hours: Literal[1, 2, 3, 4, 6, 8, 12, 24] = 24
    """Hours from one run to the next, counted from midnight UTC."""
    window_hours: Annotated[int, Field(ge=1, le=_LONGEST_LOOK_BACK_HOURS)] = 24
    """Hours of captured data that one run analyzes."""
    mode: Literal["calibrated", "model-monitor"] = "calibrated"
    """Thresholds of the built-in analyzer's scheduled runs: calibrated on the baseline, or Model Monitor's formulas."""
    instance_type: ProcessingInstanceType = "ml.m5.xlarge"
    volume_gb: Annotated[int, Field(ge=1, le=16_384)] = 20
    max_runtime_minutes: Annotated[int, Field(ge=1, le=1_440)] = 50
    """SageMaker stops a run that takes longer."""
    data_quality: DataQuality | None = None
    model_quality: ModelQuality | None = None
    bias: Bias | None = None
    explainability: Explainability | None = None

    @model_validator(mode="after")
    def _can_be_scheduled(self) -> Monitoring:
        mistakes = Mistakes(self)
        if self.window_hours < self.schedule_hours:
            mistakes.add(
                "window_hours",
                should=f"at least schedule_hours, which is {self.schedule_hours}: data between windows would "
                "not be analyzed",
            )
        if self.max_runtime_minutes >= self.schedule_hours * 60:
            mistakes.add(
                "max_runtime_minutes",
                should=f"less than {self.schedule_hours * 60}: a run must end before the next one starts",
            )
        if self.model_quality and self.window_hours + self.model_quality.label_delay_hours > _LONGEST_LOOK_BACK_HOURS:
            mistakes.add(
                "model_quality",
                "label_delay_hours",
                should=f"at most {_LONGEST_LOOK_BACK_HOURS - self.window_hours}: a monitor looks back 30 days",
            )
        if self.bias and not self.model_quality:
            mistakes.add("bias", should="left out, or together with model_quality, which says when labels arrive")
        mistakes.raise_if_any()
        return self


class Retraining(Spec):
    """When a model may be retrained automatically (docs/reference/contracts.md, "Retraining policy")."""

    cooldown_hours: Annotated[int, Field(ge=1, le=_MOST_DAYS * _HOURS_A_DAY)] = 24
    """Time from one start to the next. It doubles with each attempt since the last approved version."""
    cooldown_cap_hours: Annotated[int, Field(ge=1, le=_MOST_DAYS * _HOURS_A_DAY)] = 336
    """The longest cooldown."""
    budget_runs: Annotated[int, Field(ge=0)] = 4
    """Automatic starts within budget_days. 0 sends an alert instead of starting a run."""
    budget_days: Annotated[int, Field(ge=1, le=_MOST_DAYS)] = 30
    """Length of the budget's period, days."""
    drifted: Annotated[int, Field(ge=1)] = 3
    """Drifted verdicts, among the last of_last, that start a retraining."""
    of_last: Annotated[int, Field(ge=1)] = 6
    """Verdicts that are looked at."""
    evidence_days: Annotated[int, Field(ge=1, le=_MOST_DAYS)] = 14
    """Older verdicts do not count."""
    min_labels: Annotated[int, Field(ge=0, le=1_000_000_000)] = 200
    """Labelled rows that must exist before data drift alone retrains. 0 if raw data arrives labelled."""
    recent_days: Annotated[int, Field(ge=1, le=_MOST_DAYS)] | None = None
    """Training window after a drop in quality, days. null uses training.window_days."""
    schedule_days: Annotated[int, Field(ge=1, le=_MOST_DAYS)] | None = None
    """Retrain when the last run is older than this, days. null for never."""
    new_data_objects: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    """Retrain when this many raw objects are newer than the last run. null for never."""
    quiet_minutes: Annotated[int, Field(ge=0, le=_MOST_DAYS * 1440)] = 60
    """Time without a new raw object before new_data_objects counts, minutes."""

    @model_validator(mode="after")
    def _can_be_fulfilled(self) -> Retraining:
        mistakes = Mistakes(self)
        if self.drifted > self.of_last:
            mistakes.add("drifted", should=f"at most of_last, which is {self.of_last}")
        if self.cooldown_cap_hours < self.cooldown_hours:
            mistakes.add("cooldown_cap_hours", should=f"at least cooldown_hours, which is {self.cooldown_hours}")
        mistakes.raise_if_any()
        return self
