"""Bias metrics with Clarify's names, before and after training, and their drift.

Facet d is the facet of the configuration, facet a is everybody else. The flip test (FT) needs the model, so it is not
computed. Source: AWS, "Pre-training Bias Metrics", "Post-training Data and Model Bias Metrics", "Monitor bias drift".
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np

from drift_analyzer.baseline_files import OWN
from drift_analyzer.cells import number
from drift_analyzer.checked_values import items, mapping, real
from drift_analyzer.window_state import Floats

Flags = np.ndarray[Any, np.dtype[np.bool_]]
_RESAMPLES = 200
_FALSE_ALARMS = 0.01
"""Share of quiet windows with a violation, over all metrics and facets."""
_MIN_EFFECT = 0.02
IDEAL = {"DI": 1.0}
"""The fair value of a metric; 0 for all others."""

DESCRIPTIONS = {
    "CI": "Class Imbalance (CI)",
    "DPL": "Difference in Positive Proportions in Labels (DPL)",
    "KL": "Kullback-Liebler Divergence (KL)",
    "JS": "Jensen-Shannon Divergence (JS)",
    "LP": "L-p Norm (LP)",
    "TVD": "Total Variation Distance (TVD)",
    "KS": "Kolmogorov-Smirnov Distance (KS)",
    "CDDL": "Conditional Demographic Disparity in Labels (CDDL)",
    "DPPL": "Difference in Positive Proportions in Predicted Labels (DPPL)",
    "DI": "Disparate Impact (DI)",
    "DCAcc": "Difference in Conditional Acceptance (DCAcc)",
    "DCR": "Difference in Conditional Rejection (DCR)",
    "SD": "Specificity Difference (SD)",
    "RD": "Recall Difference (RD)",
    "DAR": "Difference in Acceptance Rates (DAR)",
    "DRR": "Difference in Rejection Rates (DRR)",
    "AD": "Accuracy Difference (AD)",
    "TE": "Treatment Equality (TE)",
    "CDDPL": "Conditional Demographic Disparity in Predicted Labels (CDDPL)",
    "GE": "Generalized Entropy (GE)",
}


@dataclass(frozen=True)
class BiasSample:
    """The rows of a window; all arrays have the shape (rows,).

    Attributes:
        labels: Whether the label is positive.
        predictions: Whether the prediction is positive.
        facet: Whether the row is in facet d.
        group: Group of the row, for conditional demographic disparity.
    """

    labels: Flags
    predictions: Flags
    facet: Flags
    group: np.ndarray[Any, Any] | None = None

    def counts(self) -> "Counts":
        """Count each combination of values.

        Raises:
            ValueError: A facet is empty.
        """
        if not self.facet.any() or self.facet.all():
            raise ValueError("a facet is empty: bias compares two groups")
        group = np.zeros(len(self.facet), int) if self.group is None else np.unique(self.group, return_inverse=True)[1]
        outcomes, counts = np.unique(
            ((group * 2 + self.labels) * 2 + self.predictions) * 2 + self.facet, return_counts=True
        )
        return Counts(
            (outcomes & 4) > 0,
            (outcomes & 2) > 0,
            (outcomes & 1) > 0,
            None if self.group is None else outcomes >> 3,
            counts[None, :].astype(np.float64),
        )


@dataclass(frozen=True)
class Counts:
    """Distinct outcomes with their counts in one or several samples of as many rows.

    Attributes:
        labels: Shape (outcomes,), as are `predictions`, `facet` and `group`.
        times: Number of rows by sample and outcome, shape (samples, outcomes).
    """

    labels: Flags
    predictions: Flags
    facet: Flags
    group: np.ndarray[Any, Any] | None
    times: Floats

    def of(self, members: Flags) -> Floats:
        """Return the number of rows with the given outcomes, shape (samples,)."""
        found: Floats = self.times[:, members].sum(axis=1)
        return found

    def resampled(self, generator: np.random.Generator, samples: int) -> "Counts":
        """Return bootstrap samples of the first sample, without those in which a facet is empty."""
        rows = self.times[0].sum()
        times = generator.multinomial(int(rows), self.times[0] / rows, size=samples).astype(np.float64)
        drawn = replace(self, times=times)
        return replace(self, times=times[(drawn.of(self.facet) > 0) & (drawn.of(~self.facet) > 0)])


Compute = Callable[[Counts], dict[str, Floats]]
"""Metrics by name, each of shape (samples,)."""


def metrics_of(sample: BiasSample, compute: Compute) -> dict[str, float]:
    """Compute a sample's metrics.

    Raises:
        ValueError: A facet is empty.
    """
    return {name: float(values[0]) for name, values in compute(sample.counts()).items()}


def _ratio(top: Floats, bottom: Floats) -> Floats:
    """Divide; infinite where only the bottom is 0, and 0 where both are 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(bottom != 0, top / bottom, np.where(top != 0, math.inf, 0.0))


def pre_training(counts: Counts) -> dict[str, Floats]:
    """Compute CI, DPL, KL, JS, LP, TVD and KS; with a group also CDDL."""
    a, d = ~counts.facet, counts.facet
    size_a, size_d = counts.of(a), counts.of(d)
    q_a, q_d = counts.of(a & counts.labels) / size_a, counts.of(d & counts.labels) / size_d
    p_a, p_d = np.stack([q_a, 1 - q_a]), np.stack([q_d, 1 - q_d])
    gap = p_a - p_d
    found = {
        "CI": (size_a - size_d) / (size_a + size_d),
        "DPL": q_a - q_d,
        "KL": _kl(p_a, p_d),
        "JS": (_kl(p_a, (p_a + p_d) / 2) + _kl(p_d, (p_a + p_d) / 2)) / 2,
        "LP": np.sqrt((gap**2).sum(axis=0)),
        "TVD": np.abs(gap).sum(axis=0) / 2,
        "KS": np.abs(gap).max(axis=0),
    }
    if counts.group is not None:
        found["CDDL"] = _cdd(counts, counts.labels, counts.group)
    return found


def post_training(counts: Counts) -> dict[str, Floats]:
    """Compute DPPL, DI, DCAcc, DCR, SD, RD, DAR, DRR, AD, TE and GE; with a group also CDDPL."""
    a, d = _rates(counts, ~counts.facet), _rates(counts, counts.facet)
    rows = counts.times.sum(axis=1)
    benefit = counts.predictions.astype(float) - counts.labels + 1
    mean, squares = counts.times @ benefit / rows, counts.times @ benefit**2 / rows
    with np.errstate(invalid="ignore"):  # the difference of two infinite values is not a number
        found = {
            "DPPL": a["accepted"] - d["accepted"],
            "DI": _ratio(d["accepted"], a["accepted"]),
            "DCAcc": a["acceptance"] - d["acceptance"],
            "DCR": d["rejection"] - a["rejection"],
            "SD": d["tnr"] - a["tnr"],
            "RD": a["tpr"] - d["tpr"],
            "DAR": a["precision"] - d["precision"],
            "DRR": d["npv"] - a["npv"],
            "AD": a["accuracy"] - d["accuracy"],
            "TE": d["treatment"] - a["treatment"],
            "GE": np.where(mean != 0, (_ratio(squares, mean**2) - 1) / 2, 0.0),
        }
    if counts.group is not None:
        found["CDDPL"] = _cdd(counts, counts.predictions, counts.group)
    return found


def _kl(p: Floats, q: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = np.where(p > 0, p * np.log(_ratio(p, q)), 0.0).sum(axis=0)
    return found


def _rates(counts: Counts, members: Flags) -> dict[str, Floats]:
    labels, predictions = counts.labels, counts.predictions
    tp, fp = counts.of(members & labels & predictions), counts.of(members & ~labels & predictions)
    fn, tn = counts.of(members & labels & ~predictions), counts.of(members & ~labels & ~predictions)
    rows = tp + fp + fn + tn
    return {
        "accepted": (tp + fp) / rows,
        "acceptance": _ratio(tp + fn, tp + fp),
        "rejection": _ratio(fp + tn, fn + tn),
        "tpr": _ratio(tp, tp + fn),
        "tnr": _ratio(tn, tn + fp),
        "precision": _ratio(tp, tp + fp),
        "npv": _ratio(tn, tn + fn),
        "accuracy": (tp + tn) / rows,
        "treatment": _ratio(fn, fp),
    }


def _cdd(counts: Counts, positive: Flags, group: np.ndarray[Any, Any]) -> Floats:
    rows = counts.times.sum(axis=1)
    total = np.zeros(len(counts.times))
    for value in np.unique(group):
        inside = group == value
        rejected, accepted = inside & ~positive, inside & positive
        part = _ratio(counts.of(rejected & counts.facet), counts.of(rejected))
        part -= _ratio(counts.of(accepted & counts.facet), counts.of(accepted))
        total += part * counts.of(inside) / rows
    return total


def facet_members(values: Sequence[Any], named: Sequence[Any]) -> Flags:
    """Return which rows are in facet d.

    Args:
        values: The facet's column. A missing value is not in the facet.
        named: The facet's values; or one number, above which rows of a numeric column are in the facet.
    """
    if len(named) == 1 and isinstance(named[0], int | float) and not isinstance(named[0], bool):
        numbers = np.array([number(value) for value in values], dtype=np.float64)
        present = numbers[~np.isnan(numbers)]
        return (numbers == named[0]) if len(np.unique(present)) <= 2 else (numbers > float(named[0]))
    wanted = {str(value) for value in named}
    return np.array([str(value).strip() in wanted for value in values], dtype=bool)


def section(
    name: str,
    label: str,
    facets: Mapping[tuple[str, str], Mapping[str, float]],
    errors: Mapping[tuple[str, str], Mapping[str, float]] | None = None,
) -> dict[str, Any]:
    """Return one section of Clarify's `analysis.json`.

    Args:
        name: `pre_training_bias_metrics` or `post_training_bias_metrics`.
        label: Name of the label.
        facets: Metrics by facet and value.
        errors: Their standard errors, an addition of this package that a later window is compared with.
    """
    body: dict[str, Any] = {"label": label, "label_value_or_threshold": "1", "facets": {}}
    for (facet, value), metrics in facets.items():
        entry = {
            "value_or_threshold": value,
            "metrics": [
                {"name": key, "description": DESCRIPTIONS[key], "value": amount if math.isfinite(amount) else None}
                | _error((errors or {}).get((facet, value), {}).get(key))
                for key, amount in metrics.items()
            ],
        }
        body["facets"].setdefault(facet, []).append(entry)
    return {name: body}


def _error(error: float | None) -> dict[str, Any]:
    return {} if error is None or not math.isfinite(error) else {OWN: {"standard_error": error}}


DERIVED = ("KL", "JS", "LP", "TVD", "KS")
"""Metrics that, of a label with two values, are functions of the two rates that DPL compares. They drift if it does."""


def standard_errors(sample: BiasSample, compute: Compute) -> dict[str, float]:
    """Return the bootstrap standard error of each metric; infinite where resamples leave the metric undefined."""
    resampled = compute(sample.counts().resampled(np.random.default_rng(0), _RESAMPLES))
    found = {}
    for name, values in resampled.items():
        finite = values[np.isfinite(values)]
        enough = len(finite) >= 0.95 * len(values) and len(finite) > 1
        found[name] = float(finite.std()) if enough else math.inf
    return found


def violations(
    sample: BiasSample,
    facet: str,
    value: str,
    baseline: Mapping[str, "BaselineMetric"],
    compute: Compute,
    comparisons: int,
) -> list[dict[str, str]]:
    """Return the metrics that are significantly less fair than in the baseline, and by 0.02 or more.

    Args:
        sample: The window.
        facet: Name of the facet.
        value: Value of the facet.
        baseline: The baseline's metrics.
        compute: Computes the metrics of the section.
        comparisons: Number of metrics that are judged over all sections and facets; each may fail by chance.
    """
    current = metrics_of(sample, compute)
    errors = standard_errors(sample, compute)
    sigma = NormalDist().inv_cdf(1 - _FALSE_ALARMS / max(comparisons, 1))
    found = []
    for name, amount in current.items():
        if name not in baseline or not math.isfinite(amount) or not math.isfinite(errors[name]):
            continue
        before = baseline[name]
        # A baseline that others wrote has no error; it is taken for as uncertain as the window.
        error = math.hypot(errors[name], errors[name] if before.error is None else before.error)
        low, high = sorted((before.value, IDEAL.get(name, 0.0)))
        beyond = max(low - amount, amount - high)
        if beyond > max(_MIN_EFFECT, sigma * error):
            found.append(
                {
                    "facet": facet,
                    "facet_value": value,
                    "metric_name": name,
                    "constraint_check_type": "bias_drift_check",
                    "description": f"Metric value {amount:.6g} doesn't meet the baseline constraint requirement "
                    f"{before.value:.6g}",
                }
            )
    drifted = {item["metric_name"] for item in found}
    return [item for item in found if item["metric_name"] not in DERIVED or "DPL" in drifted]


@dataclass(frozen=True)
class BaselineMetric:
    """A metric of the baseline with its standard error; None: not known."""

    value: float
    error: float | None = None


def baseline_metrics(analysis: Mapping[str, Any], name: str, facet: str, value: str) -> dict[str, BaselineMetric]:
    """Return the metrics of one facet from a section of an `analysis.json`; empty if there are none.

    Raises:
        ValueError: The file does not have Clarify's form.
    """
    facets = mapping(mapping(mapping(analysis, "analysis.json").get(name), name).get("facets"), f"{name}: facets")
    for entry in items(facets.get(facet), f"{name}: {facet}"):
        entry = mapping(entry, f"{name}: {facet}")
        if str(entry.get("value_or_threshold")) == value:
            return dict(
                _baseline_metric(mapping(item, name)) for item in items(entry.get("metrics"), name) if _has_value(item)
            )
    return {}


def _has_value(item: Any) -> bool:
    return mapping(item, "a metric").get("value") is not None


def _baseline_metric(item: Mapping[str, Any]) -> tuple[str, BaselineMetric]:
    name, error = str(item.get("name")), mapping(item.get(OWN), OWN).get("standard_error")
    return name, BaselineMetric(real(item["value"], name), None if error is None else real(error, f"{name}: error"))
