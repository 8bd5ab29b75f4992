"""Read and write a baseline's files, `statistics.json` and `constraints.json`, written by this package or by others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from drift_analyzer.input_files import read_json
from drift_analyzer.jsonio import dumps
from drift_analyzer.kll import weighted
from drift_analyzer.window_state import Floats

OWN = "evergreen"
"""The key of this package's additions in a feature's entry; Model Monitor ignores unknown keys."""
BINS = 256


class BaselineError(ValueError):
    """A baseline that cannot be used; the message names the file or feature and the mistake."""


@dataclass(frozen=True)
class Feature:
    """One column of the baseline with its constraints.

    Attributes:
        type: Integral, Fractional, String or Unknown.
        source: `input`, `output`, or "" where the baseline does not say.
        edges: Inner bin edges of a numeric feature, ascending.
        counts: Number of baseline values in each bin; bin i holds edges[i-1] < x <= edges[i].
        centre: Baseline mean, the origin of the fixed-point moments.
        scale: Baseline standard deviation, the unit of the fixed-point moments.
        categories: Baseline counts by value.
        other: Baseline count of the values that `categories` does not list.
        present: Number of baseline values.
        domains: Allowed values of a string feature; None: not constrained.
        calibration: Rows of (window size, mean, standard deviation) of the distance of reference windows.
        overrides: The feature's own `monitoring_config`.
        span: Least and greatest baseline value.
    """

    name: str
    type: str
    source: str = ""
    edges: Floats = field(default_factory=lambda: np.empty(0))
    counts: Floats = field(default_factory=lambda: np.zeros(1))
    centre: float = 0.0
    scale: float = 1.0
    categories: Mapping[str, int] = field(default_factory=dict)
    other: int = 0
    present: int = 0
    completeness: float | None = None
    non_negative: bool = False
    domains: tuple[str, ...] | None = None
    importance: float = 1.0
    critical: bool = False
    calibration: tuple[tuple[float, float, float], ...] = ()
    overrides: Mapping[str, Any] = field(default_factory=dict)
    span: tuple[float, float] = (0.0, 0.0)

    @property
    def numeric(self) -> bool:
        """True if the feature holds numbers."""
        return self.type in ("Integral", "Fractional")


@dataclass(frozen=True)
class Config:
    """The thresholds of `monitoring_config`."""

    evaluate: bool = True
    emit_metrics: bool = True
    datatype_threshold: float = 1.0
    domain_threshold: float = 1.0
    compare: bool = True
    threshold: float = 0.1
    robust: bool = True
    categorical_threshold: float = 0.1
    categorical_method: str = "LInfinity"
    categorical_robust: bool = False

    def of(self, feature: Feature) -> "Config":
        """Return the thresholds of one feature, whose overrides replace single entries."""
        return _read_config(feature.overrides, self) if feature.overrides else self


@dataclass(frozen=True)
class Layout:
    """The features of the captured columns, input and output, in the order of the columns."""

    input_features: tuple[Feature, ...]
    output_features: tuple[Feature, ...]

    @cached_property
    def inputs(self) -> tuple[bool, ...]:
        """True for each input column that is numeric."""
        return tuple(feature.numeric for feature in self.input_features)

    @cached_property
    def outputs(self) -> tuple[bool, ...]:
        """True for each output column that is numeric."""
        return tuple(feature.numeric for feature in self.output_features)

    @cached_property
    def input_names(self) -> tuple[str, ...]:
        """Names of the input columns."""
        return tuple(feature.name for feature in self.input_features)

    @cached_property
    def output_names(self) -> tuple[str, ...]:
        """Names of the output columns."""
        return tuple(feature.name for feature in self.output_features)


@dataclass
class Schema:
    """The baseline's features; the first captured record determines which column each of them is."""

    features: tuple[Feature, ...]
    layout: Layout | None = None

    @property
    def needs_output(self) -> bool:
        """True if a feature is read from the response."""
        return self.layout is not None and bool(self.layout.output_features)

    def set_layout(self, first_input: Sequence[Any] | Mapping[str, Any], first_output: Any) -> Layout:
        """Determine the layout from the first record.

        The baseline's `source` decides. Without it, a baseline as wide as both sides together has the output first,
        as Model Monitor writes it.
        """
        outputs = tuple(feature for feature in self.features if feature.source == "output")
        width = len(first_output) if isinstance(first_output, Sequence | Mapping) else 0
        if not outputs and not any(feature.source for feature in self.features):
            total = len(self.features)
            if len(first_input) != total and len(first_input) + width == total:
                outputs = self.features[:width]
        chosen = {feature.name for feature in outputs}
        inputs = tuple(feature for feature in self.features if feature.name not in chosen)
        self.layout = Layout(inputs, outputs)
        return self.layout


@dataclass(frozen=True)
class Baseline:
    """The reference that captured traffic is compared with."""

    rows: int
    features: tuple[Feature, ...]
    config: Config

    def schema(self) -> Schema:
        """Return a schema without a layout, for one reader of captured files."""
        return Schema(self.features)


def read_baseline(statistics: Mapping[str, Any], constraints: Mapping[str, Any] | None) -> Baseline:
    """Parse the bodies of `statistics.json` and `constraints.json`.

    Raises:
        BaselineError: A file does not have Model Monitor's form.
    """
    constraints = constraints or {}
    for name, body in (("statistics.json", statistics), ("constraints.json", constraints)):
        if not isinstance(body, Mapping):
            raise BaselineError(f"{name} is not a JSON object")
    wanted = {entry["name"]: entry for entry in constraints.get("features", []) if "name" in entry}
    try:
        features = tuple(_feature(entry, wanted.get(entry["name"], {})) for entry in statistics["features"])
        rows = int(statistics.get("dataset", {}).get("item_count", 0))
    except (KeyError, TypeError, IndexError) as error:
        raise BaselineError(f"statistics.json lacks {error}: is it Model Monitor's form?") from error
    if not features:
        raise BaselineError("statistics.json has no features")
    return Baseline(rows, features, _read_config(constraints.get("monitoring_config") or {}, Config()))


def load_baseline(folder: Path) -> Baseline:
    """Read the baseline of a folder; `constraints.json` may be absent.

    Raises:
        DatasetError: A file cannot be read.
        BaselineError: A file does not have Model Monitor's form.
    """
    constraints = folder / "constraints.json"
    return read_baseline(
        read_json(folder / "statistics.json"), read_json(constraints) if constraints.exists() else None
    )


def write_baseline(folder: Path, statistics: Mapping[str, Any], constraints: Mapping[str, Any]) -> None:
    """Write both files of a baseline."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "statistics.json").write_bytes(dumps(statistics))
    (folder / "constraints.json").write_bytes(dumps(constraints, indent=True))


def _read_config(body: Mapping[str, Any], default: Config) -> Config:
    """Apply a `monitoring_config` or a feature's overrides to `default`; accept misspellings found in practice."""
    distribution = body.get("distribution_constraints") or {}
    method = str(
        distribution.get("comparison_method")
        or distribution.get("comparion_method")
        or ("Robust" if default.robust else "Simple")
    ).lower()
    categorical = str(distribution.get("categorical_drift_method") or default.categorical_method)
    robust_categories = default.categorical_robust
    if method.startswith("linf_"):
        method = method.removeprefix("linf_")
        robust_categories = method == "robust"
    if categorical.lower().startswith("linf"):
        robust_categories = categorical.lower() == "linf_robust" or (
            robust_categories and categorical.lower() != "linf_simple"
        )
        categorical = "LInfinity"
    if method not in ("robust", "simple"):
        raise BaselineError(f"comparison_method is Robust or Simple, got {method!r}")
    if categorical not in ("LInfinity", "ChiSquared"):
        raise BaselineError(f"categorical_drift_method is LInfinity or ChiSquared, got {categorical!r}")
    threshold = float(distribution.get("comparison_threshold", default.threshold))
    return Config(
        evaluate=_enabled(body, "evaluate_constraints", default.evaluate),
        emit_metrics=_enabled(body, "emit_metrics", default.emit_metrics),
        datatype_threshold=float(body.get("datatype_check_threshold", default.datatype_threshold)),
        domain_threshold=float(body.get("domain_content_threshold", default.domain_threshold)),
        compare=_enabled(distribution, "perform_comparison", default.compare),
        threshold=threshold,
        robust=method == "robust",
        categorical_threshold=float(
            distribution.get(
                "categorical_comparison_threshold",
                threshold if "comparison_threshold" in distribution else default.categorical_threshold,
            )
        ),
        categorical_method=categorical,
        categorical_robust=robust_categories,
    )


def _enabled(body: Mapping[str, Any], key: str, default: bool) -> bool:
    value = body.get(key)
    return default if value is None else str(value).lower() in ("enabled", "true")


def _feature(entry: Mapping[str, Any], constraint: Mapping[str, Any]) -> Feature:
    kind = str(constraint.get("inferred_type") or entry.get("inferred_type") or "Unknown")
    own = entry.get(OWN) or {}
    rules = constraint.get(OWN) or {}
    numbers, strings = entry.get("numerical_statistics"), entry.get("string_statistics")
    if kind in ("Integral", "Fractional") and not numbers:
        kind = "String"
    if kind not in ("Integral", "Fractional") and numbers and not strings:
        kind = "Fractional"
    domains = (constraint.get("string_constraints") or {}).get("domains")
    overrides = constraint.get("monitoringConfigOverrides") or constraint.get("monitoring_config_overrides") or {}
    common = {
        "name": str(entry["name"]),
        "type": kind,
        "source": str(own.get("source", "")),
        "completeness": _number(constraint.get("completeness")),
        "non_negative": bool((constraint.get("num_constraints") or {}).get("is_non_negative")),
        "domains": tuple(str(value) for value in domains) if domains else None,
        "importance": float(rules.get("importance", 1.0)),
        "critical": bool(rules.get("critical", False)),
        "calibration": tuple((row[0], row[1], row[2]) for row in own.get("calibration", [])),
        "overrides": overrides,
    }
    if kind in ("Integral", "Fractional"):
        assert numbers is not None
        return _numeric(common, numbers, own)
    return _string(common, strings or {}, own)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _numeric(common: Mapping[str, Any], numbers: Mapping[str, Any], own: Mapping[str, Any]) -> Feature:
    low, high = float(numbers.get("min", 0.0)), float(numbers.get("max", 0.0))
    present = int((numbers.get("common") or {}).get("num_present", 0))
    if "edges" in own:
        edges, counts = np.array(own["edges"], dtype=np.float64), np.array(own["counts"], dtype=np.float64)
    else:
        edges, counts = _bins_of_sketch((numbers.get("distribution") or {}).get("kll") or {}, present)
    return Feature(
        **common,
        edges=edges,
        counts=counts,
        centre=float(numbers.get("mean", 0.0)),
        scale=float(numbers.get("std_dev") or 0.0) or 1.0,
        present=present,
        span=(low, high),
    )


def _bins_of_sketch(kll: Mapping[str, Any], present: int) -> tuple[Floats, Floats]:
    """Derive the bins of a baseline that others wrote, from its KLL sketch or otherwise from its ten buckets."""
    values, weights = weighted((kll.get("sketch") or {}).get("data") or [])
    if len(values):
        cumulative = np.cumsum(weights)
        ranks = np.searchsorted(cumulative, np.arange(1, BINS) * (cumulative[-1] / BINS))
        edges = np.unique(values[np.minimum(ranks, len(values) - 1)])
        at_most = np.concatenate([[0.0], cumulative])[np.searchsorted(values, edges, side="right")]
        counts = np.diff(at_most, prepend=0.0, append=cumulative[-1])
        return edges, counts * ((present or cumulative[-1]) / cumulative[-1])
    buckets = kll.get("buckets") or []
    return (
        np.array([float(bucket["upper_bound"]) for bucket in buckets[:-1]]),
        np.array([float(bucket["count"]) for bucket in buckets] or [0.0]),
    )


def _string(common: Mapping[str, Any], strings: Mapping[str, Any], own: Mapping[str, Any]) -> Feature:
    buckets = ((strings.get("distribution") or {}).get("categorical") or {}).get("buckets") or []
    return Feature(
        **common,
        categories={str(bucket["value"]): int(bucket["count"]) for bucket in buckets},
        other=int(own.get("other", 0)),
        present=int((strings.get("common") or {}).get("num_present", 0)),
    )
