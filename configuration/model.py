"""`models/<folder>/model.yaml`: a model, its training and gate, and how each stage serves it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    Field,
    JsonValue,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)

from configuration.base import Mistakes, Spec
from configuration.images import image_uri
from configuration.instances import ProcessingInstanceType, TrainingInstanceType
from configuration.monitoring import Bias, Monitoring, Retraining
from configuration.serving import Serving

SCRIPTS = ("preprocess.py", "train.py", "evaluate.py", "inference.py")
"""The scripts that a model's folder must hold beside `model.yaml` (docs/reference/contracts.md, "Model scripts")."""

PIPELINE_PARAMETERS = frozenset(
    [
        "CommitId",
        "Author",
        "Trigger",
        "Evidence",
        "WindowStart",
        "WindowEnd",
        "WindowDays",
        "HoldoutDays",
        "Seed",
        "Minimum",
        "MinImprovement",
        "ProcessingInstanceType",
        "TrainingInstanceType",
        "DataBucket",
        "ArtifactBucket",
        "KmsKeyArn",
        "JobRoleArn",
        "ToolRoleArn",
        "ReleaseParameter",
        "CodeUri",
        "SnapshotScriptUri",
        "RecordScriptUri",
        "CacheScope",
        "AnalyzerUri",
        "BaselineSettingsUri",
        "ImageUri",
        "ModelPackageGroupName",
    ]
)
"""Parameters of every pipeline. Each hyperparameter adds one under its own name, so it may not have one of these."""

ProblemType = Literal["binary_classification", "multiclass_classification", "regression"]
Direction = Literal["maximize", "minimize"]

METRICS: dict[ProblemType, dict[str, Direction]] = {
    "binary_classification": {
        "auc": "maximize",
        "accuracy": "maximize",
        "precision": "maximize",
        "recall": "maximize",
        "f1": "maximize",
        "log_loss": "minimize",
    },
    "multiclass_classification": {"accuracy": "maximize", "macro_f1": "maximize", "log_loss": "minimize"},
    "regression": {"r2": "maximize", "rmse": "minimize", "mae": "minimize"},
}
"""Metrics that can gate each problem type, and which way is better."""

_SHARES = frozenset({"auc", "accuracy", "precision", "recall", "f1", "macro_f1"})


def _name(value: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", value):
        raise ValueError("lower-case words joined by single hyphens, such as flight-delays")
    return value


def _column(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        raise ValueError("letters, digits and underscores, starting with a letter, such as wind_speed")
    return value


def _prefix(value: str) -> str:
    if not re.fullmatch(r"([a-z0-9][a-z0-9_-]*/)+", value):
        raise ValueError('lower-case folders that end with a slash, such as "raw/"')
    if value.split("/")[0] == "capture":
        raise ValueError('another folder than "capture/", where the endpoint writes its data capture')
    return value


def _scalar(value: object, parse: ValidatorFunctionWrapHandler) -> object:
    try:
        return parse(value)
    except ValidationError:  # one line, instead of one for each member of the union
        raise ValueError("a number, text, true or false") from None


Scalar = Annotated[bool | int | float | str, WrapValidator(_scalar)]
Name = Annotated[str, AfterValidator(_name)]
ColumnName = Annotated[str, AfterValidator(_column)]
Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1024)]


class Column(Spec):
    """One column of the data contract."""

    name: ColumnName
    type: Literal["integer", "number", "string", "boolean"]
    nullable: bool = False
    """Whether a value may be missing."""


class Data(Spec):
    """The data contract: the columns of raw objects and of requests."""

    prefix: Annotated[str, AfterValidator(_prefix)] = "raw/"
    """Folder of the raw objects in the data bucket, below the model's folder: `<model>/<prefix>dt=<date>/<file>`."""
    format: Literal["csv"]
    """Format of the raw objects. Each file has a header line."""
    columns: Annotated[tuple[Column, ...], Field(min_length=1)]
    """A request row has these columns in this order. A raw object has them and the target in any order, by name."""

    @model_validator(mode="after")
    def _names_each_column_once(self) -> Data:
        mistakes, names = Mistakes(self), [column.name for column in self.columns]
        for name in sorted({name for name in names if names.count(name) > 1}):
            mistakes.add("columns", should=f"a list without two columns named {name!r}")
        mistakes.raise_if_any()
        return self


class Framework(Spec):
    """The SageMaker image that runs the scripts in training, evaluation and serving."""

    name: Literal["xgboost"]
    version: Literal["3.2-0"]

    def image_uri(self, region: str) -> str:
        """Return the image's address in a region, by tag.

        Raises:
            ValueError: If AWS does not publish the image in the region.
        """
        return image_uri(self.name, self.version, region)


class Processing(Spec):
    """The machine of the snapshot, preprocess, evaluate and record steps."""

    instance_type: ProcessingInstanceType = "ml.m5.xlarge"
    volume_gb: Annotated[int, Field(ge=1, le=16_384)] = 30
    max_runtime_minutes: Annotated[int, Field(ge=1, le=12_960)] = 60
    """SageMaker stops a job that takes longer. The most it allows is nine days."""


class Training(Spec):
    """The training data, machine and parameters. Each value can be overridden for one run."""

    instance_type: TrainingInstanceType = "ml.m5.xlarge"
    instance_count: Literal[1] = 1
    """Always 1, so that the same manifest gives the same model bit for bit."""
    volume_gb: Annotated[int, Field(ge=1, le=16_384)] = 30
    max_runtime_minutes: Annotated[int, Field(ge=1, le=40_320)] = 60
    """SageMaker stops a job that takes longer. The most it allows is 28 days."""
    window_days: Annotated[int, Field(ge=2, le=3_660)]
    """Days of data up to the newest day, including the holdout."""
    holdout_days: Annotated[int, Field(ge=1)]
    """The last days of the window. They evaluate the model and are not trained on."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)]
    """Random seed, passed to train.py."""
    hyperparameters: Annotated[dict[str, Scalar], Field(max_length=60, default_factory=dict)]
    """Passed to train.py as arguments, by name."""

    @model_validator(mode="after")
    def _leaves_days_to_train_on(self) -> Training:
        mistakes = Mistakes(self)
        if self.holdout_days >= self.window_days:
            mistakes.add("holdout_days", should=f"less than window_days, which is {self.window_days}")
        taken = {name.lower() for name in PIPELINE_PARAMETERS}
        for name in self.hyperparameters:
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,63}", name):
                mistakes.add("hyperparameters", should=f"named by letters, digits and underscores only, not {name!r}")
            elif name.lower() in taken:
                mistakes.add(
                    "hyperparameters", should=f"without {name!r}, which every pipeline has as its own parameter"
                )
        mistakes.raise_if_any()
        return self


class Gate(Spec):
    """The conditions that a new model (the challenger) must meet to be registered."""

    metric: str
    """A metric that evaluate.py writes and that fits the problem type, such as auc."""
    minimum: float
    """The worst acceptable value: a lower bound for auc, an upper bound for rmse."""
    min_improvement: Annotated[float, Field(ge=0)] = 0.0
    """The improvement over the live model (the champion) that is required, in the metric's unit."""

    @property
    def direction(self) -> Direction:
        """Return whether the metric is to be maximized or minimized."""
        return next(metrics[self.metric] for metrics in METRICS.values() if self.metric in metrics)


def _wrong_facets(bias: Bias, columns: Mapping[str, Column]) -> Iterator[str]:
    """Yield what each facet should be instead that is not a feature or does not have such values."""
    for facet in bias.facets:
        if facet.name not in columns:
            yield f"features only, not {facet.name!r}: {', '.join(columns)}"
        elif columns[facet.name].type in ("integer", "number") and not (
            len(facet.values) == 1 and _is_number(facet.values[0])
        ):
            yield f"one number for {facet.name!r}, which is numeric: rows above it are the group"


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


class Model(Spec):
    """A model, as described by its folder."""

    name: Annotated[Name, Field(max_length=40)]
    """The folder's name, with hyphens in place of underscores."""
    description: Line
    """What the model predicts, in one sentence."""
    owner: Line
    """The team or address that is responsible for the model."""
    problem_type: ProblemType
    data: Data
    target: ColumnName
    """The column to predict. Raw objects have it, requests do not."""
    framework: Framework
    processing: Processing = Processing()
    training: Training
    gate: Gate
    serving: dict[str, Serving]
    """How each stage of evergreen.yaml serves the model."""
    monitoring: Monitoring | None = None
    """The model's monitors. Without this section captured data is stored and not analyzed."""
    retraining: Retraining = Retraining()

    # Field validators: with a model validator, a mistake in one section would hide mistakes between other sections.
    @field_validator("target")
    @classmethod
    def _is_not_asked_for(cls, target: str, info: ValidationInfo) -> str:
        data = info.data.get("data")
        if data and target in [column.name for column in data.columns]:
            raise ValueError("a column that is not among data.columns, which are what a request carries")
        return target

    @field_validator("gate")
    @classmethod
    def _fits_the_problem(cls, gate: Gate, info: ValidationInfo) -> Gate:
        mistakes, problem_type = Mistakes(gate), info.data.get("problem_type")
        if problem_type and gate.metric not in METRICS[problem_type]:
            mistakes.add("metric", should=f"one of {', '.join(METRICS[problem_type])} for {problem_type}")
        elif gate.metric in _SHARES and not 0 < gate.minimum < 1:
            mistakes.add("minimum", should=f"between 0 and 1, as {gate.metric} is")
        mistakes.raise_if_any()
        return gate

    @field_validator("monitoring")
    @classmethod
    def _watches_what_is_there(cls, monitoring: Monitoring | None, info: ValidationInfo) -> Monitoring | None:
        data, problem_type = info.data.get("data"), info.data.get("problem_type")
        if not monitoring or not data or not problem_type:
            return monitoring
        mistakes, columns = Mistakes(monitoring), {column.name: column for column in data.columns}
        known = ", ".join(columns)
        for name in monitoring.data_quality.critical if monitoring.data_quality else ():
            if name not in columns:
                mistakes.add("data_quality", "critical", should=f"features only, not {name!r}: {known}")
        if monitoring.bias:
            if problem_type == "regression":
                mistakes.add("bias", should="left out for a regression: bias compares groups by a favourable outcome")
            if problem_type == "binary_classification" and monitoring.bias.positive != ("1",):
                mistakes.add("bias", "positive", should='["1"], the class whose probability the model answers')
            for should in _wrong_facets(monitoring.bias, columns):
                mistakes.add("bias", "facets", should=should)
        mistakes.raise_if_any()
        return monitoring

    @field_validator("retraining")
    @classmethod
    def _leaves_days_to_train_on(cls, retraining: Retraining, info: ValidationInfo) -> Retraining:
        mistakes, training = Mistakes(retraining), info.data.get("training")
        if training and retraining.recent_days is not None and retraining.recent_days <= training.holdout_days:
            mistakes.add("recent_days", should=f"more than training.holdout_days, which is {training.holdout_days}")
        mistakes.raise_if_any()
        return retraining

    @property
    def folder(self) -> str:
        """Return the name of the model's folder."""
        return self.name.replace("-", "_")

    @property
    def raw_prefix(self) -> str:
        """Return the prefix of the raw objects in the data bucket, with a slash at its end."""
        return f"{self.name}/{self.data.prefix}"

    def canonical(self) -> dict[str, JsonValue]:
        """Return the whole specification as plain JSON with defaults filled in, for example to hash it."""
        return self.model_dump(mode="json")
