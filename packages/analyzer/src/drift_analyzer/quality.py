"""Model quality with Model Monitor's metric names: metrics of a window, baselines, and violations.

Source: AWS, "Model quality metrics and Amazon CloudWatch monitoring".
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from drift_analyzer.baseline_files import OWN
from drift_analyzer.drift import Mode, calibrated_distance
from drift_analyzer.quality_margins import MetricRule, margins
from drift_analyzer.window_state import Floats

Problem = Literal["BinaryClassification", "MulticlassClassification", "Regression"]
PROBLEMS: tuple[Problem, ...] = ("BinaryClassification", "MulticlassClassification", "Regression")
SECTION: dict[Problem, str] = {
    "BinaryClassification": "binary_classification",
    "MulticlassClassification": "multiclass_classification",
    "Regression": "regression",
}
MIN_LABELS = 200
"""Fewer labels give no verdict."""
_FOLDS = 5
_LESS, _GREATER = "LessThanThreshold", "GreaterThanThreshold"
_LOWER_IS_BETTER = {"mae", "mse", "rmse", "false_positive_rate", "false_negative_rate"}
_MIN_DROP = 0.02
"""Least drop of a calibrated classification metric; of a regression error, the least relative increase."""


@dataclass(frozen=True)
class Scored:
    """Labels and predictions of a window in order of inference time, all of one length.

    Attributes:
        labels: 0 or 1 for binary classification, strings for multiclass, numbers for regression.
        predictions: As `labels`.
        scores: For binary classification the probability of 1; None if it is not known.
    """

    labels: np.ndarray[Any, Any]
    predictions: np.ndarray[Any, Any]
    scores: Floats | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, chosen: Any) -> "Scored":
        """Return the chosen rows, given as a slice or as flags."""
        scores = None if self.scores is None else self.scores[chosen]
        return Scored(self.labels[chosen], self.predictions[chosen], scores)

    def with_labels(self, labels: np.ndarray[Any, Any]) -> "Scored":
        """Return the same predictions with other labels."""
        return replace(self, labels=labels)


def _ratio(top: float, bottom: float) -> float:
    return float(top / bottom) if bottom else 0.0


def _f(precision: float, recall: float, beta: float) -> float:
    return _ratio((1 + beta**2) * precision * recall, beta**2 * precision + recall)


def auc(labels: np.ndarray[Any, Any], scores: Floats) -> float:
    """Return the area under the ROC curve by ranks, ties counted half; 0.5 if one class is absent."""
    positives = int((labels == 1).sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return 0.5
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def binary(scored: Scored) -> dict[str, float]:
    """Return the metrics of binary classification."""
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
    """Return accuracy, and precision, recall and F weighted by the classes' number of labels."""
    labels, predictions = scored.labels, scored.predictions
    found = dict.fromkeys(("precision", "recall", "f0_5", "f1", "f2"), 0.0)
    for value in np.unique(labels):
        actual, predicted = labels == value, predictions == value
        hits, weight = float((actual & predicted).sum()), float(actual.mean())
        precision, recall = _ratio(hits, predicted.sum()), _ratio(hits, actual.sum())
        parts = {"precision": precision, "recall": recall}
        parts |= {name: _f(precision, recall, beta) for name, beta in (("f0_5", 0.5), ("f1", 1), ("f2", 2))}
        for name, part in parts.items():
            found[name] += weight * part
    return {"accuracy": float((labels == predictions).mean())} | {f"weighted_{name}": v for name, v in found.items()}


def regression(scored: Scored) -> dict[str, float]:
    """Return the metrics of regression."""
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


def _measure(problem: Problem, scored: Scored) -> dict[str, dict[str, float]]:
    """Return each metric with its standard deviation over five interleaved folds."""
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
    """Return the body of `statistics.json`; `about` is added to its `dataset` (such as the label coverage)."""
    body: dict[str, Any] = {"version": 0.0, "dataset": {"item_count": len(scored)} | dict(about or {})}
    section: dict[str, Any] = dict(_measure(problem, scored)) if len(scored) else {}
    if problem != "Regression" and len(scored):
        section["confusion_matrix"] = _confusion(scored)
    body[f"{SECTION[problem]}_metrics"] = section
    return body


def _confusion(scored: Scored) -> dict[str, dict[str, int]]:
    classes = np.unique(np.concatenate([scored.labels, scored.predictions])).tolist()
    return {
        str(actual): {
            str(predicted): int(((scored.labels == actual) & (scored.predictions == predicted)).sum())
            for predicted in classes
        }
        for actual in classes
    }


def constraints(problem: Problem, scored: Scored, window_rows: int = MIN_LABELS) -> dict[str, Any]:
    """Return the body of `constraints.json`: no metric may be worse than in the reference by more than chance explains.

    Model Monitor compares with the threshold as it stands, so the threshold has a margin. Our own key holds what the
    calibrated mode needs: the reference's value, and the standard deviation over windows of the reference.

    Args:
        problem: The problem type.
        scored: The reference.
        window_rows: Labelled rows of the windows that will be compared; fewer than `MIN_LABELS` give no verdict.

    Raises:
        ValueError: There are fewer than `MIN_LABELS` labels.
    """
    if len(scored) < MIN_LABELS:
        raise ValueError(f"a quality baseline needs {MIN_LABELS} labels, got {len(scored)}")
    scored, size = _encoded(problem, scored), max(window_rows, MIN_LABELS)
    calibration = _calibrate(problem, scored)
    compared = {
        name: MetricRule(
            value=value,
            sign=1 if name in _LOWER_IS_BETTER else -1,
            least=_least_margin(name, value),
            ordered_deviation=_deviation_at(calibration[name], size),
        )
        for name, value in COMPUTE[problem](scored).items()
    }
    allowed = margins(COMPUTE[problem], scored, compared, size, relabel=problem != "Regression")
    rules = {
        name: {
            "threshold": rule.value + rule.sign * allowed[name],
            "comparison_operator": _GREATER if rule.sign > 0 else _LESS,
            OWN: {"value": rule.value, "calibration": calibration[name]},
        }
        for name, rule in compared.items()
    }
    return {"version": 0.0, f"{SECTION[problem]}_constraints": rules}


def _encoded(problem: Problem, scored: Scored) -> Scored:
    """Return classes as numbers, which count many times faster than text."""
    if problem != "MulticlassClassification":
        return scored
    _, codes = np.unique(np.concatenate([scored.labels, scored.predictions]), return_inverse=True)
    return Scored(codes[: len(scored)], codes[len(scored) :])


def _deviation_at(table: Sequence[Sequence[float]], rows: int) -> float:
    """Return the standard deviation over the reference's windows of `rows` rows; 0 if there are too few of them."""
    if not table:
        return 0.0
    largest = table[-1][0]
    at = calibrated_distance([(row[0], row[1], row[2]) for row in table], rows) / 3
    return at * math.sqrt(min(1.0, largest / rows))


def _least_margin(name: str, value: float) -> float:
    return _MIN_DROP * (abs(value) if name in ("mae", "mse", "rmse") else 1.0)


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
    """Return the metrics that violate their constraints.

    In the calibrated mode a metric must be worse by a margin, because every second window is worse than its reference.
    The margin is the greatest of 0.02, three standard deviations of reference windows of the same size, and three
    standard deviations over the window's folds; of a small reference also the margin of its thresholds.

    Raises:
        ValueError: The constraints are not those of the problem type.
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
        own, operator, threshold = rule.get(OWN) or {}, rule["comparison_operator"], float(rule["threshold"])
        if operator not in (_LESS, _GREATER):
            raise ValueError(f"{name}: comparison_operator is {_LESS} or {_GREATER}, got {operator!r}")
        value, deviation = float(measured["value"]), float(measured.get("standard_deviation") or 0.0)
        margin = 0.0
        if mode == "calibrated":
            # The margin of the window's own size, instead of the one that the threshold has.
            drawn, threshold = threshold, reference_value(rule) or 0.0
            table = tuple((row[0], row[1], row[2]) for row in own.get("calibration", []))
            margin = max(_least_margin(name, threshold), calibrated_distance(table, rows), 3 * deviation)
            if not table:
                # The reference has too few windows to calibrate on.
                margin = max(margin, abs(drawn - threshold))
        worse = threshold - value if operator == _LESS else value - threshold
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


def reference_value(rule: Mapping[str, Any]) -> float | None:
    """Return a metric's value in the reference; of constraints from elsewhere the threshold, None without one."""
    value = (rule.get(OWN) or {}).get("value", rule.get("threshold"))
    return None if value is None else float(value)


def to_scored(problem: Problem, pairs: Sequence[tuple[Any, Any, float | None]], threshold: float = 0.5) -> Scored:
    """Convert labelled predictions to arrays.

    Args:
        problem: The problem type.
        pairs: Label, prediction or None, and score or None.
        threshold: A binary prediction that was not captured is 1 if the score is greater.

    Raises:
        ValueError: A label or prediction is not a number, although the problem type requires one.
    """
    if problem == "MulticlassClassification":
        return Scored(
            np.array([str(label).strip() for label, _, _ in pairs]),
            np.array([str(prediction).strip() for _, prediction, _ in pairs]),
        )
    if problem == "Regression":
        return Scored(
            np.array([float(label) for label, _, _ in pairs]),
            np.array([float(prediction) for _, prediction, _ in pairs]),
        )
    scores = [score for _, _, score in pairs]
    usable = None if any(score is None for score in scores) else np.array(scores, dtype=np.float64)
    predictions = [
        float(score > threshold) if prediction is None and score is not None else float(prediction)
        for _, prediction, score in pairs
    ]
    return Scored(np.array([float(label) for label, _, _ in pairs]), np.array(predictions), usable)
