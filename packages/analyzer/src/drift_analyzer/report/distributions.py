"""Charts of a feature's baseline and current distribution, side by side."""

from html import escape

import numpy as np

from drift_analyzer.baseline_files import Feature
from drift_analyzer.calibration import moments
from drift_analyzer.drift import FeatureDrift, categories
from drift_analyzer.window_state import CategoryState, Floats, NumericState

_MOST_VALUES = 12


def chart(feature: Feature, current: NumericState | CategoryState) -> str:
    """Draw bars of shares: categories by name, numbers in equal steps."""
    marked: set[str] = set()
    if isinstance(current, NumericState):
        base, now, labels = _few_values(feature, current) or _densities(feature, current)
    else:
        base, now, labels, marked = _shares(feature, current)
    if not len(base):
        return "<div class=dim>no values</div>"
    top, step = max(base.max(), now.max()) or 1.0, 250 / len(base)
    bars = "".join(
        f'<rect x="{x * step + step * shift:.1f}" width="{step * 0.42:.1f}" y="{90 - 86 * value / top:.1f}" '
        f'height="{86 * value / top:.1f}" fill="{"var(--bad)" if labels[x] in marked else color}">'
        f"<title>{escape(labels[x])}{' (new)' if labels[x] in marked else ''}: {value:.1%}</title></rect>"
        for shift, series, color in ((0.06, base, "var(--base)"), (0.5, now, "var(--now)"))
        for x, value in enumerate(series)
    )
    ends = (
        f'<text x="0" y="106" fill="var(--dim)">{escape(labels[0][:14])}</text>'
        f'<text x="250" y="106" text-anchor="end" fill="var(--dim)">{escape(labels[-1][:14])}</text>'
    )
    return f'<svg viewBox="0 0 250 110">{bars}{ends}</svg>'


def _shares(feature: Feature, current: CategoryState) -> tuple[Floats, Floats, list[str], set[str]]:
    """Return shares by value: new values first, then those whose share changed most, and the names of new values."""
    old, new = categories(feature, current)
    before, after = sum(old.values()) or 1.0, sum(new.values()) or 1.0
    fresh = {name for name in current.new if name in new and name not in old}

    def order(name: str) -> tuple[bool, float, float]:
        p, q = old.get(name, 0.0) / before, new.get(name, 0.0) / after
        return name not in fresh, -abs(p - q), -max(p, q)

    names = sorted(sorted(old.keys() | new.keys()), key=order)[:_MOST_VALUES]
    return (
        np.array([old.get(name, 0.0) / before for name in names]),
        np.array([new.get(name, 0.0) / after for name in names]),
        [name or "all others" for name in names],
        fresh,
    )


def _few_values(feature: Feature, current: NumericState) -> tuple[Floats, Floats, list[str]] | None:
    """Return shares by value for a column of few values, such as 0 and 1; None for another column."""
    if len(feature.edges) + 1 > _MOST_VALUES or not feature.counts.sum():
        return None
    values = feature.representatives
    base = feature.counts / feature.counts.sum()
    now = current.bins / max(current.present, 1)
    if feature.span[0] == feature.span[1]:  # the last bin holds what is greater than the only value
        return base, now, [_number(feature.span[0]), f"> {_number(feature.span[0])}"]
    return base, now, [_number(float(value)) for value in values]


def _number(value: float) -> str:
    """Return a number as people write it: digits up to a million, and few of them."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


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
    labels = [_number(float(grid[i if i < 15 else 16])) for i in range(16)]
    return base, now, labels


def before_and_now(feature: Feature, current: NumericState | CategoryState, item: FeatureDrift) -> str:
    """Return mean, standard deviation, missing and unseen values, in the baseline and now."""
    missing = 1 - (1.0 if feature.completeness is None else feature.completeness)
    parts = [f"missing {missing:.1%} → {1 - item.completeness:.1%}"]
    if isinstance(current, NumericState):
        old, new = moments(feature.counts, feature.representatives), (current.mean(feature), current.deviation(feature))
        parts += [
            f"mean {_number(float(old[0]))} → {_number(new[0])}",
            f"sd {_number(float(old[1]))} → {_number(new[1])}",
        ]
    elif current.present:
        parts.append(f"unseen {feature.unseen:.1%} → {current.unknown / current.present:.1%}")
    return " · ".join(parts)
