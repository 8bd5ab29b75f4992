"""Judge a window's quality metrics by the constraints of a reference."""

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

import numpy as np

from drift_analyzer import checked_values
from drift_analyzer.baseline_files import OWN
from drift_analyzer.calibration import expected
from drift_analyzer.checked_values import mapping, real
from drift_analyzer.quality import GREATER, LESS, SECTION, Problem, Scored, least_margin
from drift_analyzer.verdict import Mode

_FALSE_ALARMS = 0.02
"""Share of quiet windows with a violation, over all metrics."""
_LEAST_SUPPORT = 10


def violations(
    problem: Problem,
    scored: Scored,
    current: Mapping[str, Any],
    constraints_body: Mapping[str, Any],
    mode: Mode,
) -> tuple[list[dict[str, str]], list[str]]:
    """Return the metrics that violate their constraints, and the names of those that cannot be judged.

    In the calibrated mode a metric must be worse by a margin, because every second window is worse than its reference.
    The margin is the greatest of 0.02 and of so many standard errors that one window in fifty exceeds it in any metric
    by chance. The error is that of the window and of the reference together. A metric over fewer than ten rows, such as
    the recall of six positives, is not judged.

    Raises:
        ValueError: The constraints are not those of the problem type.
    """
    key = f"{SECTION[problem]}_constraints"
    rules = constraints_body.get(key) if isinstance(constraints_body, Mapping) else None
    if not isinstance(rules, Mapping):
        raise ValueError(f"constraints.json has no {key}")
    section = current[f"{SECTION[problem]}_metrics"]
    known = {name: _rule(name, rule) for name, rule in rules.items()}
    support = _support(problem, scored)
    judged = {
        name: rule
        for name, rule in known.items()
        if isinstance(section.get(name), Mapping)
        and "value" in section[name]
        and (mode != "calibrated" or support.get(name, len(scored)) >= _LEAST_SUPPORT)
    }
    sigma = NormalDist().inv_cdf(1 - _FALSE_ALARMS / max(len(judged), 1))
    found = []
    for name, (operator, threshold, own) in judged.items():
        value, deviation = float(section[name]["value"]), float(section[name].get("standard_deviation") or 0.0)
        margin = 0.0
        if mode == "calibrated":
            # The margin of the window's own size, instead of the one that the threshold has.
            drawn, threshold = threshold, threshold if "value" not in own else real(own["value"], name)
            margin = max(least_margin(name, threshold), sigma * _standard_error(own, len(scored), deviation))
            if not own.get("calibration"):  # the reference has too few windows to calibrate on
                margin = max(margin, abs(drawn - threshold))
        worse = threshold - value if operator == LESS else value - threshold
        if mode == "calibrated" and not _is_rare(name, value, threshold, support, operator, len(judged)):
            continue
        if worse > margin:
            found.append(
                {
                    "constraint_check_type": operator,
                    "description": f"Metric {name} with {value:.6g} +/- {deviation:.6g} "
                    f"was {operator} '{threshold:.6g}'",
                    "metric_name": name,
                }
            )
    return found, sorted(known.keys() - judged.keys())


def _rule(name: str, rule: Any) -> tuple[str, float, Mapping[str, Any]]:
    """Return operator, threshold and this package's additions of a constraint."""
    rule = mapping(rule, f"constraints.json: {name}")
    operator = rule.get("comparison_operator")
    if operator not in (LESS, GREATER):
        raise ValueError(f"constraints.json: {name}: comparison_operator is {LESS} or {GREATER}, got {operator!r}")
    return operator, real(rule.get("threshold"), f"constraints.json: {name}: threshold"), mapping(rule.get(OWN), OWN)


def _standard_error(own: Mapping[str, Any], rows: int, deviation: float) -> float:
    """Return the standard error of the difference between a window and the reference.

    The reference's windows show how much a metric varies; beyond the largest of them it falls with the root of rows.
    """
    table = [(size, sd) for size, _, sd in checked_values.table(own.get("calibration"))]
    if not table:
        return deviation * math.sqrt(2)
    usual = expected([(size, 0.0, sd) for size, sd in table], rows, deviations=1.0)
    size, sd = table[-1]
    if rows > size:
        usual = sd * math.sqrt(size / rows)
    of_reference = sd * math.sqrt(size / max(real(own.get("rows", size), "rows"), size))
    return math.hypot(max(usual, deviation), of_reference)


def _support(problem: Problem, scored: Scored) -> dict[str, int]:
    """Return the number of rows that a metric of binary classification is a share of; for AUC the rarer class."""
    if problem != "BinaryClassification":
        return {}
    positives, predicted = int((scored.labels == 1).sum()), int((scored.predictions == 1).sum())
    negatives = len(scored) - positives
    found = dict.fromkeys(("recall", "true_positive_rate", "false_negative_rate"), positives)
    found |= dict.fromkeys(("true_negative_rate", "false_positive_rate"), negatives)
    found |= dict.fromkeys(("f0_5", "f1", "f2"), min(positives, predicted))
    return found | {"precision": predicted, "auc": min(positives, negatives), "accuracy": len(scored)}


def _is_rare(
    name: str, value: float, threshold: float, support: Mapping[str, int], operator: str, metrics: int
) -> bool:
    """Return whether a share so far from its threshold is rare. The tail of few events is longer than a normal one."""
    if name not in support or name in ("auc", "f0_5", "f1", "f2") or not 0 < threshold < 1:
        return True
    rows = support[name]
    hits = round(value * rows)
    low, high = (0, hits) if operator == LESS else (hits, rows)
    places = np.arange(low, high + 1)
    logs = np.array([math.lgamma(rows + 1) - math.lgamma(k + 1) - math.lgamma(rows - k + 1) for k in places.tolist()])
    tail = float(np.exp(logs + places * math.log(threshold) + (rows - places) * math.log1p(-threshold)).sum())
    return tail < _FALSE_ALARMS / max(metrics, 1)
