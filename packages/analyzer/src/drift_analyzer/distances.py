"""Distances between distributions, and their p-values."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from drift_analyzer.window_state import Floats


def ks(base: Floats, current: Floats) -> float:
    """Return the Kolmogorov-Smirnov distance D, max |F_base - F_current| over equal bins; 0 if one is empty."""
    if not base.sum() or not current.sum():
        return 0.0
    return float(np.abs(np.cumsum(base) / base.sum() - np.cumsum(current) / current.sum()).max())


def robust(distance: float, base: float, current: float) -> float:
    """Return the Robust distance of Model Monitor and Deequ: D less `1.8 sqrt((n + m) / (n m))`, due to chance."""
    if not base or not current:
        return 0.0
    return max(0.0, distance - 1.8 * math.sqrt((base + current) / (base * current)))


def linf(base: Mapping[str, float], current: Mapping[str, float]) -> float:
    """Return max |p_base - p_current| over all values; 0 if one is empty."""
    total_base, total_current = sum(base.values()), sum(current.values())
    if not total_base or not total_current:
        return 0.0
    values = base.keys() | current.keys()
    return max(abs(base.get(value, 0) / total_base - current.get(value, 0) / total_current) for value in values)


def ks_p(distance: float, base: float, current: float) -> float:
    """Return the asymptotic p-value of the two-sample D (Stephens' correction)."""
    if not base or not current:
        return 1.0
    size = math.sqrt(base * current / (base + current))
    x = (size + 0.12 + 0.11 / size) * distance
    if x < 0.2:
        return 1.0
    tail = sum((-1.0) ** (k - 1) * math.exp(-2 * (k * x) ** 2) for k in range(1, 101))
    return min(1.0, max(0.0, 2 * tail))


def chi2_p(base: Mapping[str, float], current: Mapping[str, float]) -> float:
    """Return the p-value of the two-sample chi-square test (Wilson-Hilferty approximation).

    Values that are expected fewer than five times are pooled.
    """
    total_base, total_current = sum(base.values()), sum(current.values())
    if not total_base or not total_current:
        return 1.0
    share = min(total_base, total_current) / (total_base + total_current)
    pooled: list[tuple[float, float]] = []
    rare = [0.0, 0.0]
    for value in sorted(base.keys() | current.keys()):
        pair = (base.get(value, 0.0), current.get(value, 0.0))
        if sum(pair) * share < 5:
            rare[0] += pair[0]
            rare[1] += pair[1]
        else:
            pooled.append(pair)
    if sum(rare):
        pooled.append((rare[0], rare[1]))
    if len(pooled) < 2:
        return 1.0
    statistic: float = 0.0
    for a, b in pooled:
        expected = (a + b) * total_base / (total_base + total_current)
        other = (a + b) - expected
        statistic += (a - expected) ** 2 / expected + (b - other) ** 2 / other
    freedom = len(pooled) - 1
    z = ((statistic / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) / math.sqrt(2 / (9 * freedom))
    return float(0.5 * math.erfc(z / math.sqrt(2)))


def adjusted(p_values: Sequence[float]) -> list[float]:
    """Return the Benjamini-Hochberg-adjusted p-values in the order given."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__, reverse=True)
    result, smallest = [1.0] * len(p_values), 1.0
    for place, index in enumerate(order):
        smallest = min(smallest, p_values[index] * len(p_values) / (len(p_values) - place))
        result[index] = smallest
    return result


def psi(base: Floats, current: Floats) -> float:
    """Return the population stability index over bins; half a row is added to each, so that empty bins stay finite."""
    p, q = (base + 0.5) / (base.sum() + len(base) / 2), (current + 0.5) / (current.sum() + len(current) / 2)
    return float(((q - p) * np.log(q / p)).sum())


def jensen_shannon(base: Floats, current: Floats) -> float:
    """Return the Jensen-Shannon distance (square root of the divergence, base 2), between 0 and 1."""
    if not base.sum() or not current.sum():
        return 0.0
    p, q = base / base.sum(), current / current.sum()
    mid = (p + q) / 2

    def relative(x: Floats) -> float:
        some = x > 0
        return float((x[some] * np.log2(x[some] / mid[some])).sum())

    return math.sqrt(max(0.0, (relative(p) + relative(q)) / 2))


def wasserstein(base: Floats, current: Floats, edges: Floats) -> float:
    """Return the Wasserstein-1 distance between the inner edges, in the feature's unit, without the outer tails."""
    if not base.sum() or not current.sum() or len(edges) < 2:
        return 0.0
    gap = np.abs(np.cumsum(base) / base.sum() - np.cumsum(current) / current.sum())
    return float((gap[:-2] * np.diff(edges)).sum()) if len(gap) > 2 else 0.0


def coarse(counts: Floats, bins: int = 20) -> Floats:
    """Sum neighbouring bins to at most `bins`: PSI and Jensen-Shannon over finer bins measure sampling noise."""
    starts = np.linspace(0, len(counts), min(bins, len(counts)), endpoint=False).astype(int)
    return np.add.reduceat(counts, starts).astype(np.float64)


BLOCK_BINS = 32


def blocks_of(counts: Floats) -> Floats:
    """Sum neighbouring bins of histograms, shape (…, bins), to at most `BLOCK_BINS`."""
    bins = counts.shape[-1]
    starts = np.linspace(0, bins, min(BLOCK_BINS, bins), endpoint=False).astype(int)
    return np.add.reduceat(counts, starts, axis=-1).astype(np.float64)


def nearest_two(window: Floats, blocks: Floats) -> float:
    """Return the mean Kolmogorov-Smirnov distance to the two nearest of several blocks; 0 if there are fewer.

    A season repeats, so a window of a known season is near some part of the reference, although not near the whole.

    Args:
        window: Counts, shape (bins,).
        blocks: Counts, shape (blocks, bins).
    """
    if len(blocks) < 2 or not window.sum():
        return 0.0
    totals = np.maximum(blocks.sum(axis=1, keepdims=True), 1.0)
    gaps = np.abs(np.cumsum(blocks / totals - window / window.sum(), axis=1)).max(axis=1)
    return float(np.partition(gaps, 1)[:2].mean())
