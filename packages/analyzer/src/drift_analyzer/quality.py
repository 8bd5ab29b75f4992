"""Model quality in Model Monitor's names: metrics of a window, baselines, and violations.

Sources: AWS "Model quality metrics and Amazon CloudWatch monitoring", "Schema for constraints" of model quality.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from drift_analyzer.drift import Mode, stray
from drift_analyzer.schema import OWN
from drift_analyzer.state import Floats

Problem = Literal["BinaryClassification", "MulticlassClassification", "Regression"]
PROBLEMS: tuple[Problem, ...] = ("BinaryClassification", "MulticlassClassification", "Regression")
SECTION: dict[Problem, str] = {
    "BinaryClassification": "binary_classification",
    "MulticlassClassification": "multiclass_classification",
    "Regression": "regression",
}
MIN_LABELS = 200
_FOLDS = 5
_LESS, _GREATER = "LessThanThreshold", "GreaterThanThreshold"
_WORSE_HIGH = {"mae", "mse", "rmse", "false_positive_rate", "false_negative_rate"}
_LEAST_DROP = 0.02
"""A calibrated classification metric must be worse by this much; an error of regression by this part of itself."""


@dataclass(frozen=True)
class Scored:
    """Labels and predictions of a window in order of inference time, all of one length.

    Binary: labels and predictions 0 or 1, `scores` the probability of 1 where there is one. Multiclass: strings.
    Regression: numbers.
    """

    labels: np.ndarray[Any, Any]
    predictions: np.ndarray[Any, Any]
    scores: Floats | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, chosen: Any) -> "Scored":
        scores = None if self.scores is None else self.scores[chosen]
        return Scored(self.labels[chosen], self.predictions[chosen], scores)


def _ratio(top: float, bottom: float) -> float:
    return float(top / bottom) if bottom else 0.0


def _f(precision: float, recall: float, beta: float) -> float:
    return _ratio((1 + beta**2) * precision * recall, beta**2 * precision + recall)


def auc(labels: np.ndarray[Any, Any], scores: Floats) -> float:
    """Area under the ROC curve by ranks, ties counted half; 0.5 where one class is absent."""
    positives = int((labels == 1).sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return 0.5
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def binary(scored: Scored) -> dict[str, float]:
    labels, predictions = scored.labels == 1, scored.predictions == 1
    tp, fp = float((labels & predictions).sum()), float((~labels & predictions).sum())
    fn, tn = float((labels & ~predictions).sum()), float((~labels & ~predictions).sum())
    precision, recall = _ratio(tp, tp + fp), _ratio(tp, tp + fn)
    found = {
        "accuracy": _ratio(tp + tn, len(scored)),
        "precision": precision,
        "recall": recall,
        "true_positive_rate": recall,
        "true_negative_rate": _ratio(tn, tn + fp),
        "false_positive_rate": _ratio(fp, tn + fp),
        "false_negative_rate": _ratio(fn, tp + fn),
        "f0_5": _f(precision, recall, 0.5),
        "f1": _f(precision, recall, 1),
        "f2": _f(precision, recall, 2),
    }
    if scored.scores is not None:
        found["auc"] = auc(scored.labels, scored.scores)
    return found


def multiclass(scored: Scored) -> dict[str, float]:
    """Accuracy, and precision, recall and F weighted by the classes' labels."""
    labels, predictions = scored.labels, scored.predictions
    found = dict.fromkeys(("precision", "recall", "f0_5", "f1", "f2"), 0.0)
    for value in np.unique(labels):
        actual, said = labels == value, predictions == value
        hit, weight = float((actual & said).sum()), float(actual.mean())
        precision, recall = _ratio(hit, said.sum()), _ratio(hit, actual.sum())
        parts = {"precision": precision, "recall": recall}
        parts |= {name: _f(precision, recall, beta) for name, beta in (("f0_5", 0.5), ("f1", 1), ("f2", 2))}
        for name, part in parts.items():
            found[name] += weight * part
    return {"accuracy": float((labels == predictions).mean())} | {f"weighted_{name}": v for name, v in found.items()}


def regression(scored: Scored) -> dict[str, float]:
    errors = scored.predictions - scored.labels
    mse, spread = float((errors**2).mean()), float(((scored.labels - scored.labels.mean()) ** 2).mean())
    return {
        "mae": float(np.abs(errors).mean()),
        "mse": mse,
        "rmse": math.sqrt(mse),
        "r2": 1 - mse / spread if spread else 0.0,
    }


COMPUTE: dict[Problem, Callable[[Scored], dict[str, float]]] = {
    "BinaryClassification": binary,
    "MulticlassClassification": multiclass,
    "Regression": regression,
}


def measure(problem: Problem, scored: Scored) -> dict[str, dict[str, float]]:
    """Each metric with its standard deviation, from the spread over five interleaved folds."""
    values = COMPUTE[problem](scored)
    if len(scored) < 10 * _FOLDS:
        return {name: {"value": value, "standard_deviation": 0.0} for name, value in values.items()}
    folds = [COMPUTE[problem](scored.part(slice(fold, None, _FOLDS))) for fold in range(_FOLDS)]
    return {
        name: {
            "value": value,
            "standard_deviation": float(np.std([fold[name] for fold in folds], ddof=1) / math.sqrt(_FOLDS)),
        }
        for name, value in values.items()
    }


def statistics(problem: Problem, scored: Scored, about: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """`statistics.json` of model quality. `about` goes under `dataset` (times, label coverage)."""
    body: dict[str, Any] = {"version": 0.0, "dataset": {"item_count": len(scored)} | dict(about or {})}
    section: dict[str, Any] = dict(measure(problem, scored)) if len(scored) else {}
    if problem != "Regression" and len(scored):
        section["confusion_matrix"] = _confusion(scored)
    body[f"{SECTION[problem]}_metrics"] = section
    return body


def _confusion(scored: Scored) -> dict[str, dict[str, int]]:
    classes = np.unique(np.concatenate([scored.labels, scored.predictions])).tolist()
    return {
        str(actual): {
            str(said): int(((scored.labels == actual) & (scored.predictions == said)).sum()) for said in classes
        }
        for actual in classes
    }


def constraints(problem: Problem, scored: Scored) -> dict[str, Any]:
    """`constraints.json`: each metric no worse than the reference; with it how windows of the reference stray."""
    if len(scored) < MIN_LABELS:
        raise ValueError(f"a quality baseline needs {MIN_LABELS} labels, got {len(scored)}")
    calibration = _calibrate(problem, scored)
    rules = {
        name: {
            "threshold": value,
            "comparison_operator": _GREATER if name in _WORSE_HIGH else _LESS,
            OWN: {"calibration": calibration[name]},
        }
        for name, value in COMPUTE[problem](scored).items()
    }
    return {"version": 0.0, f"{SECTION[problem]}_constraints": rules}


def _calibrate(problem: Problem, scored: Scored) -> dict[str, list[list[float]]]:
    rows: dict[str, list[list[float]]] = {name: [] for name in COMPUTE[problem](scored)}
    size = MIN_LABELS
    while len(scored) // size >= 5:
        starts = np.unique(np.linspace(0, len(scored) // size - 1, min(len(scored) // size, 100)).astype(int)) * size
        found = [COMPUTE[problem](scored.part(slice(start, start + size))) for start in starts]
        for name, table in rows.items():
            table.append([float(size), 0.0, float(np.std([window[name] for window in found], ddof=1))])
        size *= 2
    return rows


def violations(
    problem: Problem, current: Mapping[str, Any], constraints_body: Mapping[str, Any], mode: Mode
) -> list[dict[str, str]]:
    """Metrics beyond their constraints.

    Calibrated, a metric is beyond only when it is worse by more than three deviations of reference windows of the
    same size (or of its own folds, the larger) and by 0.02: every second window is worse than its reference.
    """
    key = f"{SECTION[problem]}_constraints"
    if key not in constraints_body:
        raise ValueError(f"constraints.json has no {key}")
    section, rows = current[f"{SECTION[problem]}_metrics"], current["dataset"]["item_count"]
    found = []
    for name, rule in constraints_body[key].items():
        measured = section.get(name)
        if not isinstance(measured, Mapping) or "value" not in measured:
            continue
        operator, threshold = rule["comparison_operator"], float(rule["threshold"])
        if operator not in (_LESS, _GREATER):
            raise ValueError(f"{name}: comparison_operator is {_LESS} or {_GREATER}, got {operator!r}")
        value, deviation = float(measured["value"]), float(measured.get("standard_deviation") or 0.0)
        worse = threshold - value if operator == _LESS else value - threshold
        margin = 0.0
        if mode == "calibrated":
            table = tuple((row[0], row[1], row[2]) for row in (rule.get(OWN) or {}).get("calibration", []))
            least = _LEAST_DROP * (abs(threshold) if name in ("mae", "mse", "rmse") else 1.0)
            margin = max(least, stray(table, rows), 3 * deviation)
        if worse > margin:
            found.append(
                {
                    "constraint_check_type": operator,
                    "description": f"Metric {name} with {value:.6g} +/- {deviation:.6g} "
                    f"was {operator} '{threshold:.6g}'",
                    "metric_name": name,
                }
            )
    return found


def scored_of(problem: Problem, pairs: Sequence[tuple[Any, Any, float | None]], threshold: float = 0.5) -> Scored:
    """Pairs of (label, prediction or None, score or None) as arrays. Raises ValueError on what is no label.

    A binary prediction that was not captured follows from the score and `threshold`.
    """
    if problem == "MulticlassClassification":
        return Scored(
            np.array([str(label).strip() for label, _, _ in pairs]),
            np.array([str(said).strip() for _, said, _ in pairs]),
        )
    if problem == "Regression":
        return Scored(
            np.array([float(label) for label, _, _ in pairs]), np.array([float(said) for _, said, _ in pairs])
        )
    scores = [score for _, _, score in pairs]
    usable = None if any(score is None for score in scores) else np.array(scores, dtype=np.float64)
    said = [
        float(score > threshold) if prediction is None and score is not None else float(prediction)
        for _, prediction, score in pairs
    ]
    return Scored(np.array([float(label) for label, _, _ in pairs]), np.array(said), usable)
