"""Bias metrics with Clarify's names, over facets, before and after training, and their drift.

Source: AWS "Pre-training Bias Metrics", "Post-training Data and Model Bias Metrics", "Monitor bias drift". Facet d is
the one named, facet a everybody else. The flip test (FT) needs the model and neighbours: it is not computed.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from monitor.cells import number
from monitor.state import Floats

Flags = np.ndarray[Any, np.dtype[np.bool_]]
_RESAMPLES = 200
IDEAL = {"DI": 1.0}

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
class Sample:
    """Outcomes of a window: positive labels, predictions, who is in facet d, the group (for CDD); all (rows,)."""

    labels: Flags
    predictions: Flags
    facet: Flags
    group: np.ndarray[Any, Any] | None = None

    def part(self, chosen: Any) -> "Sample":
        group = None if self.group is None else self.group[chosen]
        return Sample(self.labels[chosen], self.predictions[chosen], self.facet[chosen], group)


def _ratio(top: float, bottom: float) -> float:
    if bottom:
        return float(top) / float(bottom)
    return math.inf if top else 0.0


def pre_training(sample: Sample) -> dict[str, float]:
    """CI, DPL, KL, JS, LP, TVD, KS, and CDDL where a group is given. Raises ValueError where a facet is empty."""
    a, d = _facets(sample)
    q_a, q_d = float(sample.labels[a].mean()), float(sample.labels[d].mean())
    p_a, p_d = np.array([q_a, 1 - q_a]), np.array([q_d, 1 - q_d])
    gap = p_a - p_d
    found = {
        "CI": float((a.sum() - d.sum()) / len(sample.facet)),
        "DPL": q_a - q_d,
        "KL": _kl(p_a, p_d),
        "JS": (_kl(p_a, (p_a + p_d) / 2) + _kl(p_d, (p_a + p_d) / 2)) / 2,
        "LP": float(np.sqrt((gap**2).sum())),
        "TVD": float(np.abs(gap).sum() / 2),
        "KS": float(np.abs(gap).max()),
    }
    if sample.group is not None:
        found["CDDL"] = _cdd(sample.labels, sample.facet, sample.group)
    return found


def post_training(sample: Sample) -> dict[str, float]:
    """DPPL, DI, DCAcc, DCR, SD, RD, DAR, DRR, AD, TE, GE, and CDDPL where a group is given."""
    a, d = _facets(sample)
    one, other = _rates(sample, a), _rates(sample, d)
    benefit = sample.predictions.astype(float) - sample.labels + 1
    mean = float(benefit.mean())
    found = {
        "DPPL": one["accepted"] - other["accepted"],
        "DI": _ratio(other["accepted"], one["accepted"]),
        "DCAcc": one["acceptance"] - other["acceptance"],
        "DCR": other["rejection"] - one["rejection"],
        "SD": other["tnr"] - one["tnr"],
        "RD": one["tpr"] - other["tpr"],
        "DAR": one["precision"] - other["precision"],
        "DRR": other["npv"] - one["npv"],
        "AD": one["accuracy"] - other["accuracy"],
        "TE": other["treatment"] - one["treatment"],
        "GE": float(((benefit / mean) ** 2 - 1).mean() / 2) if mean else 0.0,
    }
    if sample.group is not None:
        found["CDDPL"] = _cdd(sample.predictions, sample.facet, sample.group)
    return found


def _facets(sample: Sample) -> tuple[Flags, Flags]:
    d = sample.facet
    if not d.any() or d.all():
        raise ValueError("a facet is empty: bias compares two groups")
    return ~d, d


def _kl(p: Floats, q: Floats) -> float:
    return float(sum(_ratio(a, b) and a * math.log(_ratio(a, b)) for a, b in zip(p, q, strict=True) if a))


def _rates(sample: Sample, members: Flags) -> dict[str, float]:
    labels, said = sample.labels[members], sample.predictions[members]
    tp, fp = float((labels & said).sum()), float((~labels & said).sum())
    fn, tn = float((labels & ~said).sum()), float((~labels & ~said).sum())
    return {
        "accepted": float(said.mean()),
        "acceptance": _ratio(labels.sum(), said.sum()),
        "rejection": _ratio((~labels).sum(), (~said).sum()),
        "tpr": _ratio(tp, tp + fn),
        "tnr": _ratio(tn, tn + fp),
        "precision": _ratio(tp, tp + fp),
        "npv": _ratio(tn, tn + fn),
        "accuracy": (tp + tn) / len(labels),
        "treatment": _ratio(fn, fp),
    }


def _cdd(positive: Flags, facet: Flags, group: np.ndarray[Any, Any]) -> float:
    total = 0.0
    for value in np.unique(group):
        inside = group == value
        rejected, accepted = inside & ~positive, inside & positive
        part = _ratio((rejected & facet).sum(), rejected.sum()) - _ratio((accepted & facet).sum(), accepted.sum())
        total += part * float(inside.mean())
    return total


def facet_of(values: Sequence[Any], named: Sequence[Any]) -> Flags:
    """Who is in facet d: those of the values named, or, for one number over a numeric column, those above it.

    A missing value is in none of them.
    """
    if len(named) == 1 and isinstance(named[0], int | float) and not isinstance(named[0], bool):
        numbers = np.array([number(value) for value in values], dtype=np.float64)
        present = numbers[~np.isnan(numbers)]
        return (numbers == named[0]) if len(np.unique(present)) <= 2 else (numbers > float(named[0]))
    wanted = {str(value) for value in named}
    return np.array([str(value).strip() in wanted for value in values], dtype=bool)


def section(name: str, label: str, facets: Mapping[tuple[str, str], Mapping[str, float]]) -> dict[str, Any]:
    """One of `pre_training_bias_metrics`, `post_training_bias_metrics` of Clarify's `analysis.json`."""
    body: dict[str, Any] = {"label": label, "label_value_or_threshold": "1", "facets": {}}
    for (facet, value), metrics in facets.items():
        entry = {
            "value_or_threshold": value,
            "metrics": [
                {"name": key, "description": DESCRIPTIONS[key], "value": number if math.isfinite(number) else None}
                for key, number in metrics.items()
            ],
        }
        body["facets"].setdefault(facet, []).append(entry)
    return {name: body}


def violations(
    sample: Sample,
    facet: str,
    value: str,
    baseline: Mapping[str, float],
    compute: Callable[[Sample], Mapping[str, float]],
) -> list[dict[str, str]]:
    """Metrics whose 95 % bootstrap interval lies wholly outside the range from the baseline to the ideal value."""
    current = compute(sample)
    spread: dict[str, list[float]] = {name: [] for name in current}
    generator = np.random.default_rng(0)
    for _ in range(_RESAMPLES):
        part = sample.part(generator.integers(0, len(sample.facet), len(sample.facet)))
        if part.facet.any() and not part.facet.all():
            for name, number in compute(part).items():
                spread[name].append(number)
    found = []
    for name, number in current.items():
        if name not in baseline or not math.isfinite(number):
            continue
        finite = [item for item in spread[name] if math.isfinite(item)]
        margin = 1.96 * float(np.std(finite)) if finite else 0.0
        low, high = sorted((baseline[name], IDEAL.get(name, 0.0)))
        if number + margin < low or number - margin > high:
            found.append(
                {
                    "facet": facet,
                    "facet_value": value,
                    "metric_name": name,
                    "constraint_check_type": "bias_drift_check",
                    "description": f"Metric value {number:.6g} doesn't meet the baseline constraint requirement "
                    f"{baseline[name]:.6g}",
                }
            )
    return found


def baseline_metrics(analysis: Mapping[str, Any], name: str, facet: str, value: str) -> dict[str, float]:
    """The metrics of one facet out of an `analysis.json`; empty where it is not there."""
    for entry in (analysis.get(name) or {}).get("facets", {}).get(facet, []):
        if str(entry["value_or_threshold"]) == value:
            return {item["name"]: float(item["value"]) for item in entry["metrics"] if item["value"] is not None}
    return {}
