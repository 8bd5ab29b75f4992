"""Model quality with Model Monitor's metric names: metrics of a window, baselines, and violations.

Source: AWS, "Model quality metrics and Amazon CloudWatch monitoring".
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from drift_analyzer.baseline_files import OWN
from drift_analyzer.calibration import expected
from drift_analyzer.cells import category, number
from drift_analyzer.checked_values import mapping, real
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
LESS, GREATER = "LessThanThreshold", "GreaterThanThreshold"
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
    """Divide; NaN, which means undefined, where the bottom is 0."""
    return float(top / bottom) if bottom else math.nan


def _f(precision: float, recall: float, beta: float) -> float:
    if precision == recall == 0:
        return 0.0
    return _ratio((1 + beta**2) * precision * recall, beta**2 * precision + recall)


def auc(labels: np.ndarray[Any, Any], scores: Floats) -> float:
    """Return the area under the ROC curve by ranks, ties counted half; NaN if one class is absent."""
    positives = int((labels == 1).sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return math.nan
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
        # A class that is never predicted has no precision; it counts as 0, as in scikit-learn.
        precision, recall = (_ratio(hits, predicted.sum()) if predicted.any() else 0.0), _ratio(hits, actual.sum())
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
        "r2": 1 - mse / spread if spread else math.nan,
    }


COMPUTE: dict[Problem, Callable[[Scored], dict[str, float]]] = {
    "BinaryClassification": binary,
    "MulticlassClassification": multiclass,
    "Regression": regression,
}


def _measure(problem: Problem, scored: Scored) -> dict[str, dict[str, float]]:
    """Return each defined metric with its standard deviation over five interleaved folds."""
    values = {name: value for name, value in COMPUTE[problem](scored).items() if math.isfinite(value)}
    if len(scored) < 10 * _FOLDS:
        return {name: {"value": value, "standard_deviation": 0.0} for name, value in values.items()}
    folds = [COMPUTE[problem](scored.part(slice(fold, None, _FOLDS))) for fold in range(_FOLDS)]
    return {
        name: {"value": value, "standard_deviation": _deviation([fold[name] for fold in folds]) / math.sqrt(_FOLDS)}
        for name, value in values.items()
    }


def _deviation(values: Sequence[float]) -> float:
    """Return the standard deviation of the defined values."""
    defined = [value for value in values if math.isfinite(value)]
    return float(np.std(defined, ddof=1)) if len(defined) > 1 else 0.0


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
            least=least_margin(name, value),
            ordered_deviation=_deviation_at(calibration[name], size),
        )
        for name, value in COMPUTE[problem](scored).items()
        if math.isfinite(value)
    }
    allowed = margins(COMPUTE[problem], scored, compared, size, relabel=problem != "Regression")
    rules = {
        name: {
            "threshold": rule.value + rule.sign * allowed[name],
            "comparison_operator": GREATER if rule.sign > 0 else LESS,
            OWN: {"value": rule.value, "calibration": calibration[name], "rows": len(scored)},
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
    at = expected([(row[0], row[1], row[2]) for row in table], rows, deviations=1)
    return at * math.sqrt(min(1.0, largest / rows))


def least_margin(name: str, value: float) -> float:
    """Return the least change of a metric that is news."""
    return _MIN_DROP * (abs(value) if name in ("mae", "mse", "rmse") else 1.0)


def _calibrate(problem: Problem, scored: Scored) -> dict[str, list[list[float]]]:
    rows: dict[str, list[list[float]]] = {name: [] for name in COMPUTE[problem](scored)}
    size = MIN_LABELS
    while len(scored) // size >= 5:
        starts = np.unique(np.linspace(0, len(scored) // size - 1, min(len(scored) // size, 100)).astype(int)) * size
        found = [COMPUTE[problem](scored.part(slice(start, start + size))) for start in starts]
        for name, table in rows.items():
            table.append([float(size), 0.0, _deviation([window[name] for window in found])])
        size *= 2
    return rows


def reference_value(rule: Mapping[str, Any]) -> float | None:
    """Return a metric's value in the reference; of constraints from elsewhere the threshold, None without one.

    Raises:
        ValueError: The value is not a number.
    """
    value = mapping(rule.get(OWN), OWN).get("value", rule.get("threshold"))
    return None if value is None else real(value, "the threshold")


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
        labels, predictions = ([_class_name(pair[side]) for pair in pairs] for side in (0, 1))
        return Scored(np.array(_same_case(labels, labels)), np.array(_same_case(predictions, labels)))
    if problem == "Regression":
        return Scored(
            np.array([_checked_number(label, "label") for label, _, _ in pairs]),
            np.array([_checked_number(prediction, "prediction") for _, prediction, _ in pairs]),
        )
    scores = [score for _, _, score in pairs]
    usable = None if any(score is None for score in scores) else np.array(scores, dtype=np.float64)
    decisions = [
        float(score > threshold)
        if prediction is None and score is not None
        else _checked_number(prediction, "prediction")
        for _, prediction, score in pairs
    ]
    return Scored(np.array([_checked_number(label, "label") for label, _, _ in pairs]), np.array(decisions), usable)


def _checked_number(cell: Any, what: str) -> float:
    value = number(cell)
    if not math.isfinite(value):
        raise ValueError(f"a {what} is not a number: {cell!r}")
    return value


def _class_name(cell: Any) -> str:
    """Return the name of a class: 1, 1.0 and "1.0" are one class."""
    text = category(cell) or ""
    value = number(text) if text[-1:].isdigit() or text.endswith(".") else math.nan
    return repr(int(value)) if math.isfinite(value) and value == int(value) else text


def _same_case(names: Sequence[str], labels: Sequence[str]) -> list[str]:
    """Return the names in the case of the labels, where case distinguishes no labels."""
    known = set(labels)
    folded = {name.casefold(): name for name in sorted(known)}
    if len(folded) < len(known):
        return list(names)
    return [name if name in known else folded.get(name.casefold(), name) for name in names]
