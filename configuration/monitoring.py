"""How a model is watched in every stage that serves it, and when it may be retrained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from configuration.base import Mistakes, Spec
from configuration.instances import InstanceType

MONITOR_KINDS = ("data_quality", "model_quality", "bias", "explainability")
"""The kinds of monitors, as model.yaml and verdict rows name them."""

_HOURS_A_DAY = 24
# Start and end offset of a managed monitor reach back at most 30 days.
_LONGEST_LOOK_BACK_HOURS = 30 * _HOURS_A_DAY
_MOST_DAYS = 3650


def _value(value: str) -> str:
    # Values end in metric names, which Clarify joins by commas.
    if not value.strip() or "," in value:
        raise ValueError("text without a comma, in quotes")
    return value


FacetValue = Annotated[str, AfterValidator(_value)]


class DataQuality(Spec):
    """Captured requests against the training data."""

    critical: tuple[str, ...] = ()
    """Features whose drift alone is drift of the data set; the others count by their share."""


class ModelQuality(Spec):
    """Answers against labels that arrive later."""

    label_delay_hours: Annotated[int, Field(ge=0, le=_LONGEST_LOOK_BACK_HOURS)]
    """A window is judged once this time has passed since its end, when its labels are there."""
    probability_threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """From here on a probability is the positive class; of binary classification only."""


class Facet(Spec):
    """A feature whose groups are compared."""

    name: str
    """One of data.columns."""
    values: Annotated[tuple[FacetValue, ...], Field(min_length=1)]
    """What makes a row one of the group: categories, or one number that it exceeds."""


class Bias(Spec):
    """Answers and labels of groups against each other, with the labels of model quality."""

    facets: Annotated[tuple[Facet, ...], Field(min_length=1)]
    positive: Annotated[tuple[FacetValue, ...], Field(min_length=1)] = ("1",)
    """Labels that are the favourable outcome."""


class Explainability(Spec):
    """The order of the features' attributions (SHAP) against that at training."""

    weekly: bool = False
    """Once a week, at midnight before Thursday, instead of on the common schedule: SHAP is the dearest of the runs, and
    its order the slowest to move."""


class Monitoring(Spec):
    """Scheduled monitors; captured data is judged as it lands besides."""

    schedule_hours: Literal[1, 2, 3, 4, 6, 8, 12, 24] = 24
    """From one run to the next, counted from midnight UTC."""
    window_hours: Annotated[int, Field(ge=1, le=_LONGEST_LOOK_BACK_HOURS)] = 24
    """Hours of captured data that one run judges."""
    mode: Literal["calibrated", "model-monitor"] = "calibrated"
    """How the built-in engine judges its scheduled runs: by what the baseline itself does, or by Model Monitor's own
    formulas."""
    instance_type: InstanceType = "ml.m5.xlarge"
    volume_gb: Annotated[int, Field(ge=1, le=16_384)] = 20
    max_runtime_minutes: Annotated[int, Field(ge=1, le=1_440)] = 50
    """A run that takes longer is stopped."""
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
                should=f"at least schedule_hours, which is {self.schedule_hours}: data between windows would be judged "
                "by nobody",
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
            mistakes.add("bias", should="left out, or beside model_quality, which says when labels are there")
        mistakes.raise_if_any()
        return self


class Retraining(Spec):
    """When a model may be trained anew without a person asking (docs/reference/contracts.md, "Retraining policy")."""

    cooldown_hours: Annotated[int, Field(ge=1, le=_MOST_DAYS * _HOURS_A_DAY)] = 24
    """From one start to the next; doubles for each attempt since the last approved version."""
    cooldown_cap_hours: Annotated[int, Field(ge=1, le=_MOST_DAYS * _HOURS_A_DAY)] = 336
    """It doubles up to here."""
    budget_runs: Annotated[int, Field(ge=0)] = 4
    """Starts in budget_days; 0 means that a person is told and nothing is ever started."""
    budget_days: Annotated[int, Field(ge=1, le=_MOST_DAYS)] = 30
    drifted: Annotated[int, Field(ge=1)] = 3
    """How many of the last of_last verdicts make evidence."""
    of_last: Annotated[int, Field(ge=1)] = 6
    evidence_days: Annotated[int, Field(ge=1, le=_MOST_DAYS)] = 14
    """Older verdicts do not count."""
    min_labels: Annotated[int, Field(ge=0, le=1_000_000_000)] = 200
    """Labelled rows that drift alone needs before it retrains; 0 where raw data land labelled."""
    recent_days: Annotated[int, Field(ge=1, le=_MOST_DAYS)] | None = None
    """Training window after a drop in quality, days; null for training.window_days."""
    schedule_days: Annotated[int, Field(ge=1, le=_MOST_DAYS)] | None = None
    """Train when the last run is older; null for never."""
    new_data_objects: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    """Train when so many raw objects are newer than the last run; null for never."""
    quiet_minutes: Annotated[int, Field(ge=0, le=_MOST_DAYS * 1440)] = 60
    """For which no raw object must have landed before their number counts."""

    @model_validator(mode="after")
    def _can_be_fulfilled(self) -> Retraining:
        mistakes = Mistakes(self)
        if self.drifted > self.of_last:
            mistakes.add("drifted", should=f"at most of_last, which is {self.of_last}")
        if self.cooldown_cap_hours < self.cooldown_hours:
            mistakes.add("cooldown_cap_hours", should=f"at least cooldown_hours, which is {self.cooldown_hours}")
        mistakes.raise_if_any()
        return self
