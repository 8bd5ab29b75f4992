"""Charts of a feature's baseline and current distribution, side by side."""

from html import escape

import numpy as np

from drift_analyzer.baseline_files import Feature
from drift_analyzer.drift import categories
from drift_analyzer.window_state import CategoryState, Floats, NumericState


def chart(feature: Feature, current: NumericState | CategoryState) -> str:
    """Draw bars of shares: categories by name, numbers in equal steps."""
    if isinstance(current, NumericState):
        base, now, labels = _densities(feature, current)
    else:
        old, new = categories(feature, current)
        names = sorted(old.keys() | new.keys(), key=lambda name: -max(old.get(name, 0), new.get(name, 0)))[:12]
        base = np.array([old.get(name, 0.0) for name in names]) / (sum(old.values()) or 1)
        now = np.array([new.get(name, 0.0) for name in names]) / (sum(new.values()) or 1)
        labels = [name or "other" for name in names]
    if not len(base):
        return "<div class=dim>no values</div>"
    top, step = max(base.max(), now.max()) or 1.0, 250 / len(base)
    bars = "".join(
        f'<rect x="{x * step + step * shift:.1f}" width="{step * 0.42:.1f}" y="{90 - 86 * value / top:.1f}" '
        f'height="{86 * value / top:.1f}" fill="{color}"><title>{escape(labels[x])}: {value:.1%}</title></rect>'
        for shift, series, color in ((0.06, base, "var(--base)"), (0.5, now, "var(--now)"))
        for x, value in enumerate(series)
    )
    ends = (
        f'<text x="0" y="106" fill="var(--dim)">{escape(labels[0][:14])}</text>'
        f'<text x="250" y="106" text-anchor="end" fill="var(--dim)">{escape(labels[-1][:14])}</text>'
    )
    return f'<svg viewBox="0 0 250 110">{bars}{ends}</svg>'


def _densities(feature: Feature, current: NumericState) -> tuple[Floats, Floats, list[str]]:
    """Return shares in 16 equal steps of the range of baseline and window, without the outermost half per cent."""
    bounds = np.concatenate([[feature.span[0]], feature.edges, [feature.span[1]]])
    low, high = bounds[1] if len(bounds) > 2 else bounds[0], bounds[-2] if len(bounds) > 2 else bounds[-1]
    low = min(low, max(current.low, low - (high - low))) if current.present else low
    high = max(high, min(current.high, high + (high - low))) if current.present else high
    if low >= high:
        low, high = low - 0.5, high + 0.5
    grid = np.linspace(low, high, 17)

    def shares(counts: Floats, first: float, last: float) -> Floats:
        knots = np.concatenate([[min(first, feature.edges[0])], feature.edges, [max(last, feature.edges[-1])]])
        cumulative = np.concatenate([[0.0], np.cumsum(counts)]) / (counts.sum() or 1)
        if len(feature.edges) < 64:  # few values: the edges are the values, and each bin is one of them
            places = np.clip(np.searchsorted(grid, np.append(feature.edges, last), side="right") - 1, 0, 15)
            return np.bincount(places, weights=counts / (counts.sum() or 1), minlength=16).astype(np.float64)
        clipped = np.interp(grid, knots, cumulative)
        clipped[0], clipped[-1] = 0.0, 1.0
        return np.diff(clipped)

    base = shares(feature.counts, *feature.span)
    now = shares(current.bins.astype(float), current.low, current.high) if current.present else base * 0
    labels = [f"{grid[i]:.4g}" if i < 15 else f"{grid[16]:.4g}" for i in range(16)]
    return base, now, labels
