"""Constraints of model quality have a margin: unchanged windows are not called drift, and a real fall is."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from drift_analyzer import quality, quality_verdict
from drift_analyzer.baseline_files import OWN

Draw = Callable[[np.random.Generator, int, float], quality.Scored]


def binary(alpha: float, beta: float) -> Draw:
    """Return a draw of true probabilities and labels; `fall` is the share of answers that say nothing any more."""

    def draw(generator: np.random.Generator, rows: int, fall: float) -> quality.Scored:
        scores = generator.beta(alpha, beta, rows)
        labels = (generator.random(rows) < scores).astype(np.float64)
        answers = np.where(generator.random(rows) < fall, generator.permutation(scores), scores)
        return quality.Scored(labels, (answers > 0.5).astype(np.float64), answers)

    return draw


def classes(shares: list[float], right: float) -> Draw:
    """Return a draw of classes of which the model has a share right."""

    def draw(generator: np.random.Generator, rows: int, fall: float) -> quality.Scored:
        labels = generator.choice(len(shares), rows, p=shares)
        guesses = generator.integers(len(shares), size=rows)
        answers = np.where(generator.random(rows) < right * (1 - fall), labels, guesses)
        return quality.Scored(labels, answers)

    return draw


def numbers(heavy: bool) -> Draw:
    """Return a draw of numbers with errors that are normal, or have a heavy tail; `fall` makes them greater."""

    def draw(generator: np.random.Generator, rows: int, fall: float) -> quality.Scored:
        labels = generator.normal(100, 30, rows)
        errors = generator.standard_t(5, rows) * 10 if heavy else generator.normal(0, 20, rows)
        return quality.Scored(labels, labels + errors * (1 + fall))

    return draw


CASES: dict[str, tuple[quality.Problem, Draw]] = {
    "binary": ("BinaryClassification", binary(1, 3)),
    "binary, rare": ("BinaryClassification", binary(0.5, 12)),
    "binary, almost perfect": ("BinaryClassification", binary(0.02, 0.1)),
    "three classes": ("MulticlassClassification", classes([1 / 3] * 3, 0.93)),
    "six uneven classes, one that is hardly seen": (
        "MulticlassClassification",
        classes([0.6, 0.2, 0.1, 0.06, 0.03, 0.01], 0.8),
    ),
    "numbers": ("Regression", numbers(heavy=False)),
    "numbers with outliers": ("Regression", numbers(heavy=True)),
}


def broken(problem: quality.Problem, constraints: Mapping[str, Any], window: quality.Scored) -> bool:
    """Compare as AWS documents it: a metric with its threshold, as the comparison operator says, and nothing else."""
    values = quality.COMPUTE[problem](window)
    return any(
        values[name] < rule["threshold"]
        if rule["comparison_operator"] == "LessThanThreshold"
        else values[name] > rule["threshold"]
        for name, rule in constraints[f"{quality.SECTION[problem]}_constraints"].items()
    )


def calibrated_violations(problem: quality.Problem, scored: quality.Scored, body: Mapping[str, Any]) -> list[str]:
    current = quality.statistics(problem, scored)
    found, _ = quality_verdict.violations(problem, scored, current, body, "calibrated")
    return [one["metric_name"] for one in found]


@pytest.mark.parametrize(("holdout", "window", "expected"), [(420, 300, 0), (2000, 800, 800)])
@pytest.mark.parametrize("case", CASES)
def test_of_a_hundred_unchanged_windows_at_most_five_are_called_drift(
    case: str, holdout: int, window: int, expected: int
) -> None:
    problem, draw = CASES[case]
    generator = np.random.default_rng(1)
    alarms, calibrated = [], []
    for _ in range(8):
        constraints = quality.constraints(problem, draw(generator, holdout, 0.0), expected)
        windows = [draw(generator, window, 0.0) for _ in range(20)]
        alarms += [broken(problem, constraints, one) for one in windows]
        calibrated += [bool(calibrated_violations(problem, one, constraints)) for one in windows[:5]]
    assert np.mean(alarms) <= 0.05
    assert np.mean(calibrated) <= 0.05


@pytest.mark.parametrize("case", CASES)
def test_a_fall_of_quality_is_called_drift(case: str) -> None:
    problem, draw = CASES[case]
    generator = np.random.default_rng(2)
    constraints = quality.constraints(problem, draw(generator, 3000, 0.0), 1000)
    assert all(broken(problem, constraints, draw(generator, 1000, 0.7)) for _ in range(20))


def test_days_that_differ_widen_the_margin_and_drawn_windows_alone_would_not() -> None:
    """Rows of one day resemble each other, so days differ more than windows of rows drawn at random."""
    generator = np.random.default_rng(3)

    def days(count: int) -> list[quality.Scored]:
        found = []
        for right in 0.85 + 0.05 * generator.normal(size=count):
            labels = generator.integers(2, size=200).astype(np.float64)
            answers = np.where(generator.random(200) < right, labels, 1 - labels)
            found.append(quality.Scored(labels, answers))
        return found

    weeks = days(20)
    holdout = quality.Scored(
        np.concatenate([day.labels for day in weeks]), np.concatenate([day.predictions for day in weeks])
    )
    constraints = quality.constraints("BinaryClassification", holdout)
    assert np.mean([broken("BinaryClassification", constraints, day) for day in days(200)]) <= 0.05


@pytest.mark.parametrize("case", CASES)
def test_the_calibrated_mode_measures_from_the_holdouts_own_value(case: str) -> None:
    """Its margin is of the window's own size, so a second one must not be added."""
    problem, draw = CASES[case]
    generator = np.random.default_rng(4)
    holdout = draw(generator, 3000, 0.0)
    constraints = quality.constraints(problem, holdout)
    key = f"{quality.SECTION[problem]}_constraints"
    values = quality.COMPUTE[problem](holdout)
    without = {
        name: {**rule, "threshold": values[name], OWN: {key: part for key, part in rule[OWN].items() if key != "value"}}
        for name, rule in constraints[key].items()
    }
    found = set()
    for fall in (0.0, 0.1, 0.2, 0.3, 0.5):
        current = draw(generator, 1000, fall)
        names = [calibrated_violations(problem, current, body) for body in (constraints, {key: without})]
        assert names[0] == names[1]
        found.update(names[0])
    assert found or case == "binary, rare", "some fall is seen"
