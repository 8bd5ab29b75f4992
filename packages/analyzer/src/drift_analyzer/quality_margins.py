"""How much worse than the holdout each quality metric may be before a window is called drift.

Model Monitor compares a window's metric with a constant. With the holdout's own value as the constant, every second
window of unchanged data is worse in some metric. The margins leave room for the spread of unchanged windows, in all
metrics at once: windows are drawn from the holdout's own rows, and the constants are set so that few of them break any.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np

_DRAWS = 400
_MOST_ROWS = 2_000
"""Rows of a drawn window; the spread of a larger one follows from the square root of its size."""
_FALSE_ALARMS = 0.01
"""The share of drawn windows that break a constant."""
_CLEARLY = 1.5
"""Ratio of two standard deviations that five windows do not show by chance."""
_FEW_ROWS = 30
"""A factor from few rows is too small: by 15 % from 200 rows."""
_UNSEEN = 2.0
"""Of the rows with one answer, how many have any label: an error that no row of the holdout shows can still happen."""


class Rows(Protocol):
    """Labels and predictions of a window."""

    @property
    def labels(self) -> np.ndarray[Any, Any]:
        """Return the labels."""

    @property
    def predictions(self) -> np.ndarray[Any, Any]:
        """Return the predictions."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def part(self, chosen: Any) -> Self:
        """Return the chosen rows."""

    def with_labels(self, labels: np.ndarray[Any, Any]) -> Self:
        """Return the same predictions with other labels."""


@dataclass(frozen=True)
class MetricRule:
    """How a metric is compared.

    Attributes:
        value: The holdout's own value.
        sign: 1 where a greater value is worse, -1 where a smaller one is.
        least: The least margin.
        ordered_deviation: Standard deviation over the holdout's windows in time, of the size that is judged; 0 if the
            holdout has too few of them.
    """

    value: float
    sign: int
    least: float
    ordered_deviation: float


def margins(
    compute: Callable[[Any], dict[str, float]],
    scored: Rows,
    rules: Mapping[str, MetricRule],
    window_rows: int,
    *,
    relabel: bool,
) -> dict[str, float]:
    """Return each metric's margin for windows of `window_rows` rows.

    Args:
        compute: Returns the metrics of rows.
        scored: The holdout.
        rules: How each metric is compared.
        window_rows: The size of the windows.
        relabel: Whether to draw windows with unseen errors; right for classes, wrong for numbers.
    """
    rows = min(window_rows, _MOST_ROWS)
    drawn = _deviations(compute, scored, rules, rows, relabel=relabel)
    # The constant is an estimate as well: its own error adds to the window's.
    scale = math.sqrt((1 / window_rows + 1 / len(scored)) * rows)
    drawn *= scale
    ordered = np.array([rule.ordered_deviation for rule in rules.values()]) * math.sqrt(1 + window_rows / len(scored))
    independent = drawn.std(axis=0).clip(1e-12)
    factor = float(np.quantile((drawn / independent).max(axis=1), 1 - _FALSE_ALARMS)) * (1 + _FEW_ROWS / len(scored))
    # Windows in time may differ more than drawn ones: rows of one day resemble each other.
    spread = np.where(ordered > _CLEARLY * independent, ordered, independent)
    return {
        name: max(rule.least, factor * float(deviation))
        for (name, rule), deviation in zip(rules.items(), spread, strict=True)
    }


def _deviations(
    compute: Callable[[Any], dict[str, float]],
    scored: Rows,
    rules: Mapping[str, MetricRule],
    rows: int,
    *,
    relabel: bool,
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return how much worse than the holdout each drawn window is, one line for each window."""
    generator = np.random.default_rng(0)
    classes = np.unique(scored.labels)
    _, answers, counts = np.unique(scored.predictions, return_inverse=True, return_counts=True)
    chance = np.minimum(_UNSEEN / counts, 0.5)[answers]
    found = []
    for _ in range(_DRAWS):
        chosen = generator.integers(len(scored), size=rows)
        window = scored.part(chosen)
        if relabel:
            unseen = generator.random(rows) < chance[chosen]
            labels = window.labels.copy()
            labels[unseen] = generator.choice(classes, size=int(unseen.sum()))
            window = window.with_labels(labels)
        values = compute(window)
        found.append([rule.sign * (values[name] - rule.value) for name, rule in rules.items()])
    # A metric that a window leaves undefined is no worse.
    return np.nan_to_num(np.array(found, dtype=np.float64), nan=0.0)
