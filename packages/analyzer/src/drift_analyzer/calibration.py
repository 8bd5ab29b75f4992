"""Measure the reference's own windows: how far, without any change, a window is from the rest of the reference.

Each table has rows of (window size, mean, standard deviation) of one statistic, for doubling sizes while there are at
least five windows. Windows are in order of time, and are compared with the rest of the reference, because each is part
of the whole and would look nearer than a future window.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drift_analyzer.distances import blocks_of, nearest_two
from drift_analyzer.window_state import Floats

Codes = NDArray[np.int64]
Table = Sequence[Sequence[float]]
SMALLEST_WINDOW = 200
_FEWEST_WINDOWS, _MOST_WINDOWS = 5, 200
_MOST_BLOCKS, _FEWEST_BLOCKS = 40, 8
_ORDER_Z = 4.5
"""Standard deviations of lag correlation or block means that show an order in time."""
VANISHED = 15.0
"""Rows that are expected of a value whose absence is news: by chance, one such value in three million is absent."""
_FLAT = math.log(100.0)


def expected(table: Table, rows: float, deviations: float = 3.0) -> float:
    """Return mean + `deviations` standard deviations for windows of `rows` rows; 0 if there is no table.

    Sizes between two rows of the table are interpolated by the logarithm of the size.
    """
    if not table or rows <= 0:
        return 0.0
    points = [(math.log(size), mean + deviations * sd) for size, mean, sd in table]
    at = math.log(rows)
    if at <= points[0][0]:
        return points[0][1]
    for (left, low), (right, high) in pairwise(points):
        if at <= right:
            return low + (high - low) * (at - left) / (right - left)
    return points[-1][1]


def window_starts(rows: int) -> Iterable[tuple[int, NDArray[np.intp]]]:
    """Yield each window size with the starts of at most 200 evenly spaced windows."""
    size = SMALLEST_WINDOW
    while rows // size >= _FEWEST_WINDOWS:
        windows = rows // size
        chosen = np.unique(np.linspace(0, windows - 1, min(windows, _MOST_WINDOWS)).astype(np.intp))
        yield size, chosen * size
        size *= 2


def _row(size: int, values: Floats) -> list[float]:
    return [float(size), float(values.mean()), float(values.std(ddof=1))]


def _histograms(codes: Codes, bins: int, size: int, starts: NDArray[np.intp]) -> Floats:
    """Count the codes of each window, shape (windows, bins)."""
    found = np.empty((len(starts), bins))
    for place, start in enumerate(starts.tolist()):
        found[place] = np.bincount(codes[start : start + size], minlength=bins)
    return found


def numeric_tables(values: Floats, codes: Codes, representatives: Floats) -> dict[str, Any]:
    """Return the tables of a numeric column, and the blocks that its windows are compared with.

    Args:
        values: The values in order of time.
        codes: The bin of each value.
        representatives: A value for each bin.
    """
    bins = len(representatives)
    total = np.bincount(codes, minlength=bins).astype(np.float64)
    blocks = _blocks(codes, bins)
    _, spread = moments(total, representatives)
    names = ("distance", "mean", "spread", "repeated", "outside", "constant", *(("nearest",) if len(blocks) else ()))
    tables: dict[str, list[list[float]]] = {name: [] for name in names}
    low, high = (_rest_extremes(values, extreme) for extreme in (np.minimum, np.maximum))
    for size, starts in window_starts(len(codes)):
        counts = _histograms(codes, bins, size, starts)
        rest = total - counts
        gap = counts / size - rest / (len(codes) - size)
        means, spreads = moments(counts, representatives)
        rest_means, rest_spreads = moments(rest, representatives)
        tables["distance"].append(_row(size, np.abs(np.cumsum(gap, axis=1)).max(axis=1)))
        tables["mean"].append(_row(size, np.abs(means - rest_means) / (spread or 1.0)))
        tables["spread"].append(_row(size, spread_change(spreads, rest_spreads)))
        tables["repeated"].append(_row(size, gap.max(axis=1)))
        windows = [values[start : start + size] for start in starts.tolist()]
        outside = [_outside(window, *low(start, size), *high(start, size)) for window, start in _zip(windows, starts)]
        tables["outside"].append(_row(size, np.array(outside)))
        constant = np.array([float(window.min() == window.max()) for window in windows])
        tables["constant"].append([float(size), float(constant.mean()), 0.0])
        if len(blocks):
            each = len(codes) / len(blocks)
            tables["nearest"].append(_row(size, _nearest(counts, blocks, starts / each, (starts + size) / each)))
    return {
        "tables": {name: table for name, table in tables.items() if table},
        "blocks": blocks.astype(int).tolist(),
    }


def _zip(windows: Sequence[Floats], starts: NDArray[np.intp]) -> Iterable[tuple[Floats, int]]:
    return zip(windows, starts.tolist(), strict=True)


def _rest_extremes(values: Floats, extreme: Any) -> Any:
    """Return a function of a window's start and size that gives the extreme of all other values."""
    forward, backward = extreme.accumulate(values), extreme.accumulate(values[::-1])[::-1]

    def of(start: int, size: int) -> tuple[float]:
        sides = [forward[start - 1]] if start else []
        sides += [backward[start + size]] if start + size < len(values) else []
        return (float(extreme.reduce(sides)),)

    return of


def _outside(window: Floats, low: float, high: float) -> float:
    margin = (high - low) / 20
    return float(np.count_nonzero((window < low - margin) | (window > high + margin)) / len(window))


def moments(counts: Floats, representatives: Floats) -> tuple[Any, Any]:
    """Return mean and standard deviation of binned values, for one or several histograms.

    The outermost bins count as their inner edge, so a single huge value moves neither.
    """
    totals = np.maximum(counts.sum(axis=-1), 1.0)
    means = counts @ representatives / totals
    squares = counts @ (representatives**2) / totals
    return means, np.sqrt(np.maximum(squares - means**2, 0.0))


def spread_change(now: Any, base: Any) -> Any:
    """Return |log(now / base)| of standard deviations, at most log 100; 0 if both are 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.abs(np.log(np.divide(now, base)))
    return np.where(
        (np.asarray(now) == 0) & (np.asarray(base) == 0),
        0.0,
        np.minimum(np.nan_to_num(change, nan=0.0, posinf=_FLAT), _FLAT),
    )


def _blocks(codes: Codes, bins: int) -> Floats:
    """Return the coarse counts of consecutive blocks of the reference, shape (blocks, coarse bins)."""
    number = min(_MOST_BLOCKS, len(codes) // SMALLEST_WINDOW)
    if number < _FEWEST_BLOCKS:
        return np.empty((0, 0))
    bounds = np.linspace(0, len(codes), number + 1).astype(int)
    return blocks_of(
        np.stack([np.bincount(codes[start:end], minlength=bins) for start, end in pairwise(bounds.tolist())]).astype(
            np.float64
        )
    )


def _nearest(counts: Floats, blocks: Floats, first: Floats, last: Floats) -> Floats:
    """Return each window's distance to its two nearest blocks that it neither overlaps nor touches."""
    places = np.arange(len(blocks))
    found = []
    for window, start, end in zip(blocks_of(counts), first, last, strict=True):
        apart = (places + 2 <= start) | (places - 1 >= end)
        found.append(nearest_two(window, blocks[apart] if apart.sum() >= 2 else blocks))
    return np.array(found)


def category_tables(codes: Codes, listed: Any, listable: float) -> dict[str, Any]:
    """Return the tables of a string column: distance, share of new and of vanished values.

    Args:
        codes: The value of each row as a number, in order of time.
        listed: A function of counts by value and `listable` that says which values a baseline lists.
        listable: A value that occurs no more often than this is not listed.
    """
    total = np.bincount(codes).astype(np.float64)
    tables: dict[str, list[list[float]]] = {"distance": [], "new": [], "vanished": []}
    for size, starts in window_starts(len(codes)):
        found = []
        for start in starts.tolist():
            window = np.bincount(codes[start : start + size], minlength=len(total)).astype(np.float64)
            found.append(category_distance(total - window, window, listed(total - window, listable)))
        for name, column in zip(tables, np.array(found).T, strict=True):
            tables[name].append(_row(size, column))
    return {"tables": {name: table for name, table in tables.items() if table}}


def unseen_share(counts: Floats, listed: NDArray[np.bool_]) -> float:
    """Estimate the share of future rows whose value is not listed, as Good and Turing.

    Values that occurred r times will occur as often as those that occurred r + 1 times did. So of all listed values,
    those with the least count will make up what is unlisted now, in addition to what is unlisted.
    """
    rows = counts.sum()
    if not rows:
        return 0.0
    unlisted = counts[~listed].sum()
    rarest = counts[listed].min() if listed.any() else 0.0
    once = rarest == 1 or unlisted > 0
    return float((unlisted + (counts[listed & (counts == rarest)].sum() if once else 0.0)) / rows)


def category_distance(base: Floats, now: Floats, listed: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Return a window's distance from the base, and the excess share of new values and the share of vanished ones.

    The distance is the greater of max |p - q| over the listed values and the share of new and vanished values.
    """
    total, rows = base.sum(), now.sum()
    if not total or not rows:
        return 0.0, 0.0, 0.0
    gaps = np.abs(base[listed] / total - now[listed] / rows)
    new = max(0.0, float(now[~listed].sum() / rows) - unseen_share(base, listed))
    gone = listed & (now == 0) & (base / total * rows >= VANISHED)
    vanished = float(base[gone].sum() / total)
    return max(float(gaps.max(initial=0.0)), min(1.0, new + vanished)), new, vanished


def share_table(flags: NDArray[np.bool_]) -> list[list[float]]:
    """Return the table of the share of rows with a flag, such as missing cells."""
    counted = np.concatenate([[0], np.cumsum(flags)])
    return [_row(size, (counted[starts + size] - counted[starts]) / size) for size, starts in window_starts(len(flags))]


def order_z(series: Floats) -> float:
    """Return how clearly a series has an order in time, in standard deviations of a shuffled one."""
    count = len(series)
    if count < SMALLEST_WINDOW or series.min() == series.max():
        return 0.0
    # Ties get their mean rank; otherwise their order in time would show.
    _, inverse, counts = np.unique(series, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts + 1) / 2)[inverse]
    ranks = (ranks - ranks.mean()) / (ranks.std() or 1.0)
    lag = float(ranks[:-1] @ ranks[1:]) / math.sqrt(count)
    blocks = min(20, count // 50)
    means = np.array([part.mean() * math.sqrt(len(part)) for part in np.array_split(ranks, blocks)])
    between = (float(means @ means) - (blocks - 1)) / math.sqrt(2 * (blocks - 1))
    return max(abs(lag), between)


def is_ordered(scores: Iterable[float]) -> bool:
    """Return whether a column shows an order in time, given the columns' scores."""
    return any(score > _ORDER_Z for score in scores)


def repetition_table(rows: NDArray[np.uint64]) -> list[list[float]]:
    """Return the table of rows ÷ distinct rows, given a checksum of each row."""
    found = []
    for size, starts in window_starts(len(rows)):
        some = starts[:: max(1, len(starts) // 10)]
        ratios = [size / len(np.unique(rows[start : start + size])) for start in some.tolist()]
        found.append([float(size), float(np.mean(ratios)), float(np.std(ratios))])
    return found
