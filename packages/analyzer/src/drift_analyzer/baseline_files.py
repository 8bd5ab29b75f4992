"""Read and write a baseline's files, `statistics.json` and `constraints.json`, written by this package or by others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from drift_analyzer.checked_values import BaselineError, count, mapping, real, share, shown, table
from drift_analyzer.distances import BLOCK_BINS
from drift_analyzer.input_files import read_json
from drift_analyzer.jsonio import dumps
from drift_analyzer.kll import weighted
from drift_analyzer.window_state import Floats

OWN = "evergreen"
"""The key of this package's additions in a feature's entry; Model Monitor ignores unknown keys."""
BINS = 256


Table = tuple[tuple[float, float, float], ...]


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
        tables: Such rows of other statistics, by name.
        blocks: Coarse counts of consecutive parts of the reference, shape (blocks, bins).
        unseen: Share of the rows whose value is expected not to be in `categories`.
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
    calibration: Table = ()
    tables: Mapping[str, Table] = field(default_factory=dict)
    blocks: Floats = field(default_factory=lambda: np.empty((0, 0)))
    unseen: float = 0.0
    overrides: Mapping[str, Any] = field(default_factory=dict)
    span: tuple[float, float] = (0.0, 0.0)

    @property
    def numeric(self) -> bool:
        """True if the feature holds numbers."""
        return self.type in ("Integral", "Fractional")

    @cached_property
    def representatives(self) -> Floats:
        """A value for each bin of a numeric feature."""
        return representatives(self.edges, self.counts, self.span[1])

    @cached_property
    def range_limits(self) -> tuple[float, float, float, float]:
        """Limits beyond which a number is far below, below, above and far above the baseline's range."""
        return range_limits(*self.span, self.scale)


def representatives(edges: Floats, counts: Floats, highest: float) -> Floats:
    """Return a value for each bin: the values themselves where they are few, otherwise the middle of the bin.

    The outermost bins have their inner edge, so that moments over bins do not depend on single huge values.
    """
    if not len(edges):
        return np.array([highest])
    if len(edges) < BINS - 1:
        common = counts[-1] * 200 >= counts.sum()
        return np.append(edges, max(highest, float(edges[-1])) if common else edges[-1])
    return np.concatenate([edges[:1], (edges[1:] + edges[:-1]) / 2, edges[-1:]])


def range_limits(low: float, high: float, scale: float) -> tuple[float, float, float, float]:
    """Return the limits of a range: far low, low, high, far high.

    A value beyond 5 % of the range is outside; beyond half of it, far outside. The unit of a column that holds one
    value is its standard deviation, which is 1 where there is none.
    """
    width = (high - low) or scale
    return low - width / 2, low - width / 20, high + width / 20, high + width / 2


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
    def input_keys(self) -> frozenset[str]:
        """Names of the input columns."""
        return frozenset(self.input_names)

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
            # An answer may hold more than its first columns.
            columns = len(self.features) - len(first_input)
            if 0 < columns <= width:
                outputs = self.features[:columns]
        chosen = {feature.name for feature in outputs}
        inputs = tuple(feature for feature in self.features if feature.name not in chosen)
        self.layout = Layout(inputs, outputs)
        return self.layout


@dataclass(frozen=True)
class Baseline:
    """The reference that captured traffic is compared with.

    Attributes:
        ordered: Whether the reference shows an order in time; None: not known.
        repetition: Rows of (window size, mean, standard deviation) of rows ÷ distinct rows.
    """

    rows: int
    features: tuple[Feature, ...]
    config: Config
    ordered: bool | None = None
    repetition: Table = ()

    def schema(self) -> Schema:
        """Return a schema without a layout, for one reader of captured files."""
        return Schema(self.features)


__all__ = ["Baseline", "BaselineError", "Config", "Feature", "Layout", "Schema", "load_baseline", "read_baseline"]


def read_baseline(statistics: Mapping[str, Any], constraints: Mapping[str, Any] | None) -> Baseline:
    """Parse the bodies of `statistics.json` and `constraints.json`.

    Raises:
        BaselineError: A file does not have Model Monitor's form.
    """
    constraints = {} if constraints is None else constraints
    for name, body in (("statistics.json", statistics), ("constraints.json", constraints)):
        if not isinstance(body, Mapping):
            raise BaselineError(f"{name} is not a JSON object")
    rules = {str(rule["name"]): rule for rule in _entries(constraints, "constraints.json")}
    entries = _entries(statistics, "statistics.json")
    if not entries:
        raise BaselineError("statistics.json has no features")
    features = tuple(_checked_feature(entry, rules.get(str(entry["name"]), {})) for entry in entries)
    if len({feature.name for feature in features}) != len(features):
        raise BaselineError("statistics.json has two features of one name")
    dataset = mapping(statistics.get("dataset"), "statistics.json: dataset")
    own = mapping(dataset.get(OWN), f"statistics.json: dataset.{OWN}")
    try:
        config = _read_config(mapping(constraints.get("monitoring_config"), "monitoring_config"), Config())
    except (BaselineError, *_MALFORMED) as error:
        raise BaselineError(f"constraints.json: {error}") from None
    try:
        return Baseline(
            count(dataset.get("item_count", 0), "item_count"),
            features,
            config,
            ordered=ordered if isinstance(ordered := own.get("ordered"), bool) else None,
            repetition=table(own.get("repetition", [])),
        )
    except (BaselineError, *_MALFORMED) as error:
        raise BaselineError(f"statistics.json: dataset: {error}") from None


_MALFORMED = (KeyError, TypeError, IndexError, ValueError, AttributeError, OverflowError)


def _entries(body: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    found = body.get("features", [] if name == "constraints.json" else None)
    if not isinstance(found, list) or not all(isinstance(entry, Mapping) for entry in found):
        raise BaselineError(f"{name}: features is not a list of objects: is it Model Monitor's form?")
    if any(not isinstance(entry.get("name"), str) for entry in found):
        raise BaselineError(f"{name}: a feature has no name")
    return found


def _checked_feature(entry: Mapping[str, Any], constraint: Mapping[str, Any]) -> Feature:
    try:
        return _feature(entry, constraint)
    except KeyError as error:
        raise BaselineError(f"feature {entry['name']!r} of the baseline lacks {error}") from None
    except _MALFORMED as error:
        raise BaselineError(f"feature {entry['name']!r} of the baseline: {error}") from None


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
    distribution = mapping(body.get("distribution_constraints"), "distribution_constraints")
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
    threshold = real(distribution.get("comparison_threshold", default.threshold), "comparison_threshold")
    return Config(
        evaluate=_enabled(body, "evaluate_constraints", default.evaluate),
        emit_metrics=_enabled(body, "emit_metrics", default.emit_metrics),
        datatype_threshold=share(
            body.get("datatype_check_threshold", default.datatype_threshold), "datatype_check_threshold"
        ),
        domain_threshold=share(
            body.get("domain_content_threshold", default.domain_threshold), "domain_content_threshold"
        ),
        compare=_enabled(distribution, "perform_comparison", default.compare),
        threshold=threshold,
        robust=method == "robust",
        categorical_threshold=real(
            distribution.get(
                "categorical_comparison_threshold",
                threshold if "comparison_threshold" in distribution else default.categorical_threshold,
            ),
            "categorical_comparison_threshold",
        ),
        categorical_method=categorical,
        categorical_robust=robust_categories,
    )


def _enabled(body: Mapping[str, Any], key: str, default: bool) -> bool:
    value = body.get(key)
    return default if value is None else str(value).lower() in ("enabled", "true")


def _feature(entry: Mapping[str, Any], constraint: Mapping[str, Any]) -> Feature:
    kind = str(constraint.get("inferred_type") or entry.get("inferred_type") or "Unknown")
    own, rules = mapping(entry.get(OWN), OWN), mapping(constraint.get(OWN), OWN)
    numbers = mapping(entry.get("numerical_statistics"), "numerical_statistics")
    strings = mapping(entry.get("string_statistics"), "string_statistics")
    if kind in ("Integral", "Fractional") and not numbers:
        kind = "String"
    if kind not in ("Integral", "Fractional") and numbers and not strings:
        kind = "Fractional"
    domains = mapping(constraint.get("string_constraints"), "string_constraints").get("domains")
    if domains is not None and not isinstance(domains, list):
        raise BaselineError(f"domains is a list, got {shown(domains)}")
    overrides = mapping(
        constraint.get("monitoringConfigOverrides") or constraint.get("monitoring_config_overrides"),
        "monitoringConfigOverrides",
    )
    _read_config(overrides, Config())
    common = {
        "name": str(entry["name"]),
        "type": kind,
        "source": str(own.get("source", "")),
        "completeness": _optional_share(constraint.get("completeness")),
        "non_negative": mapping(constraint.get("num_constraints"), "num_constraints").get("is_non_negative") is True,
        "domains": tuple(str(value) for value in domains) if domains else None,
        "importance": max(real(rules.get("importance", 1.0), "importance"), 0.0),
        "critical": rules.get("critical") is True,
        "calibration": table(own.get("calibration", [])),
        "tables": {str(name): table(rows) for name, rows in mapping(own.get("tables"), "tables").items()},
        "overrides": overrides,
    }
    if kind in ("Integral", "Fractional"):
        return _numeric(common, numbers, own)
    return _string(common, strings, own)


def _optional_share(value: Any) -> float | None:
    return None if value is None else share(value, "completeness")


def _numeric(common: Mapping[str, Any], numbers: Mapping[str, Any], own: Mapping[str, Any]) -> Feature:
    low, high = real(numbers.get("min", 0.0), "min"), real(numbers.get("max", 0.0), "max")
    present = count(mapping(numbers.get("common"), "common").get("num_present", 0), "num_present")
    if "edges" in own:
        edges, counts = np.array(own["edges"], dtype=np.float64), np.array(own["counts"], dtype=np.float64)
    else:
        distribution = mapping(numbers.get("distribution"), "distribution")
        edges, counts = _bins_of_sketch(mapping(distribution.get("kll"), "kll"), present)
    _check_bins(edges, counts)
    blocks = np.array(own.get("blocks") or np.empty((0, 0)), dtype=np.float64)
    if blocks.ndim != 2 or (len(blocks) and blocks.shape[1] != min(BLOCK_BINS, len(counts))):
        raise BaselineError("blocks do not fit the bins")
    return Feature(
        **common,
        edges=edges,
        counts=counts,
        centre=real(numbers.get("mean", 0.0), "mean"),
        scale=abs(real(numbers.get("std_dev") or 0.0, "std_dev")) or 1.0,
        present=present,
        span=(min(low, high), max(low, high)),
        blocks=blocks,
    )


def _check_bins(edges: Floats, counts: Floats) -> None:
    fitting = edges.ndim == 1 and counts.shape == (len(edges) + 1,)
    if not fitting or not np.isfinite(edges).all() or (np.diff(edges) <= 0).any():
        raise BaselineError("the bins are not ascending edges with one count more")
    if not np.isfinite(counts).all() or (counts < 0).any():
        raise BaselineError("a bin's count is not 0 or more")


def _bins_of_sketch(kll: Mapping[str, Any], present: int) -> tuple[Floats, Floats]:
    """Derive the bins of a baseline that others wrote, from its KLL sketch or otherwise from its ten buckets."""
    values, weights = weighted(mapping(kll.get("sketch"), "sketch").get("data") or [])
    if len(values):
        cumulative = np.cumsum(weights)
        ranks = np.searchsorted(cumulative, np.arange(1, BINS) * (cumulative[-1] / BINS))
        edges = np.unique(values[np.minimum(ranks, len(values) - 1)])
        at_most = np.concatenate([[0.0], cumulative])[np.searchsorted(values, edges, side="right")]
        counts = np.diff(at_most, prepend=0.0, append=cumulative[-1])
        return edges, counts * ((present or cumulative[-1]) / cumulative[-1])
    buckets = kll.get("buckets") or []
    return (
        np.array([real(bucket["upper_bound"], "upper_bound") for bucket in buckets[:-1]]),
        np.array([real(bucket["count"], "count") for bucket in buckets] or [0.0]),
    )


def _string(common: Mapping[str, Any], strings: Mapping[str, Any], own: Mapping[str, Any]) -> Feature:
    distribution = mapping(strings.get("distribution"), "distribution")
    buckets = mapping(distribution.get("categorical"), "categorical").get("buckets") or []
    return Feature(
        **common,
        categories={str(bucket["value"]): count(bucket["count"], "count") for bucket in buckets},
        other=count(own.get("other", 0), "other"),
        unseen=share(own.get("unseen", 0.0), "unseen"),
        present=count(mapping(strings.get("common"), "common").get("num_present", 0), "num_present"),
    )
