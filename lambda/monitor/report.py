"""One self-contained HTML page per run: the verdict first, then what moved and how far, then the rest. No script."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from monitor.analysis import Reading, Window, window_name
from monitor.drift import Moved, Status, Verdict, alarm, categories
from monitor.schema import Baseline, Feature
from monitor.state import CategoryState, Floats, NumericState, WindowState

_STYLE = """
:root{color-scheme:light;--ink:#1c2430;--dim:#667085;--line:#e4e7ec;--base:#98a2b3;--now:#2563eb;
--bad:#c2410c;--ok:#15803d}*{box-sizing:border-box}
body{font:15px/1.45 system-ui,'DejaVu Sans',sans-serif;color:var(--ink);background:#f6f7f9;margin:0}
main{max-width:1080px;margin:0 auto;padding:28px 20px 60px}h1{font-size:26px;margin:0 0 4px}
h2{font-size:17px;margin:34px 0 10px}
.card{background:#fff;border:1px solid var(--line);border-radius:10px;padding:16px 18px}
.head{border-left:8px solid var(--ok)}.head.Drift{border-color:var(--bad)}
.head.InsufficientData{border-color:var(--base)}.dim{color:var(--dim);font-size:13px}
.facts{display:flex;gap:28px;flex-wrap:wrap;margin-top:12px}.facts b{display:block;font-size:19px}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(245px,1fr));gap:12px}.cell b{font-size:14px}
.cell.drifted{border-color:var(--bad)}
.tag{font-size:11px;border-radius:9px;padding:1px 7px;background:#eef1f5;margin-left:6px}
.tag.bad{background:#fdeadf;color:var(--bad)}svg{display:block;width:100%;height:auto}
svg text{font:12px system-ui,'DejaVu Sans'}table{border-collapse:collapse;width:100%;font-size:13px}
td,th{text-align:left;padding:5px 10px 5px 0;border-bottom:1px solid var(--line)}
.key i{display:inline-block;width:11px;height:11px;border-radius:2px;margin:0 5px 0 12px}
"""
_TITLES = {"Ok": "No drift", "Drift": "Drift", "InsufficientData": "Not enough data"}
_QUALITY_TITLES = {"Ok": "Quality holds", "Drift": "Quality has dropped", "InsufficientData": "Too few labels"}
_SHOWN = 24


@dataclass(frozen=True)
class QualityPoint:
    """Quality of one window: its metric (None: too few labels), and how many predictions have a label."""

    window: str
    value: float | None
    coverage: float


@dataclass(frozen=True)
class Quality:
    """A metric over time against its baseline."""

    metric: str
    baseline: float | None
    points: tuple[QualityPoint, ...]


def render(
    baseline: Baseline,
    windows: Sequence[Window],
    reading: Reading,
    *,
    quality: Quality | None = None,
    done: str = "",
    title: str = "Data quality",
) -> str:
    """The page. `done` says in one sentence what was done about the verdict."""
    last = windows[-1]
    verdict = last.verdict
    moved = sorted(verdict.features, key=lambda item: (-item.drifted, -item.distance / (item.threshold or 1.0)))
    parts = [
        _head(verdict, windows, reading, title, done),
        _moved(moved),
        _violations(verdict.violations),
        _history(windows),
        _quality(quality),
        _distributions(baseline, last.state, moved),
        _table(moved),
        _bad(reading),
    ]
    body = "".join(parts)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}: {_TITLES[verdict.status]}'
        f"</title><style>{_STYLE}</style><main>{body}</main></html>\n"
    )


def render_quality(quality: Quality, status: Status, reason: str, found: Sequence[Mapping[str, str]]) -> str:
    """The page of a model-quality run."""
    rows = [{"feature_name": item["metric_name"], **item} for item in found]
    head = (
        f'<section class="card head {status}"><span class=dim>Model quality</span>'
        f"<h1>{_QUALITY_TITLES[status]}</h1><div>{escape(reason)}</div></section>"
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Model quality: {_QUALITY_TITLES[status]}</title>'
        f"<style>{_STYLE}</style><main>{head}{_violations(rows)}{_quality(quality)}</main></html>\n"
    )


def _head(verdict: Verdict, windows: Sequence[Window], reading: Reading, title: str, done: str) -> str:
    alarmed = alarm([window.verdict.status for window in windows])
    facts = {
        "rows": f"{verdict.rows:,}",
        "features drifted": f"{len(verdict.drifted)} of {sum(moved.judged for moved in verdict.features)}",
        "by importance": f"{verdict.share:.0%}",
        "schema violations": str(len(verdict.schema_violations)),
        "bad records": f"{reading.bad_count:,}",
        "alarm (2 of 3)": "yes" if alarmed else "no",
    }
    shown = "".join(f"<span><b>{value}</b><span class=dim>{name}</span></span>" for name, value in facts.items())
    action = f"<p><b>What was done:</b> {escape(done)}</p>" if done else ""
    return (
        f'<section class="card head {verdict.status}"><span class=dim>{escape(title)} · window '
        f"{window_name(windows[-1].start)} · mode {verdict.mode}</span><h1>{_TITLES[verdict.status]}</h1>"
        f"<div>{escape(verdict.reason)}</div><div class=facts>{shown}</div>{action}</section>"
    )


def _moved(moved: Sequence[Moved]) -> str:
    """Bars of distance, each with its own threshold as a tick: beyond it is drift."""
    judged = [item for item in moved if item.judged][:_SHOWN]
    if not judged:
        return ""
    reach = max([item.distance for item in judged] + [item.threshold for item in judged]) * 1.05 or 1.0
    rows = []
    for place, item in enumerate(judged):
        y, color = place * 24 + 4, "var(--bad)" if item.drifted else "var(--now)"
        bar, tick = 560 * item.distance / reach, 230 + 560 * item.threshold / reach
        times = f"{item.distance / item.threshold:.1f} × threshold" if item.threshold else ""
        note = " · critical" if item.critical else ""
        note += " · low power" if item.low_power else ""
        rows.append(
            f'<text x="222" y="{y + 12}" text-anchor="end" fill="var(--ink)">{escape(_short(item.name))}</text>'
            f'<rect x="230" y="{y}" width="{max(bar, 1):.1f}" height="15" rx="2" fill="{color}"/>'
            f'<line x1="{tick:.1f}" x2="{tick:.1f}" y1="{y - 3}" y2="{y + 18}" stroke="var(--ink)" stroke-width="2"/>'
            f'<text x="1030" y="{y + 12}" text-anchor="end" fill="var(--dim)">'
            f"{item.distance:.3f} · {times}{note}</text>"
        )
    height = len(judged) * 24 + 6
    left = sum(item.judged for item in moved) - len(judged)
    more = f"<p class=dim>{left} further features moved less.</p>" if left else ""
    return (
        "<h2>How far each feature is from its baseline</h2><div class=card>"
        f'<svg viewBox="0 0 1040 {height}">{"".join(rows)}</svg>'
        '<p class="dim key"><i style="background:var(--bad)"></i>drifted<i style="background:var(--now)"></i>within'
        f" &nbsp; the black tick is the feature's threshold</p>{more}</div>"
    )


def _short(name: str) -> str:
    return name if len(name) <= 28 else name[:27] + "…"


def _violations(found: Sequence[Mapping[str, str]]) -> str:
    if not found:
        return ""
    rows = "".join(
        f"<tr><td><b>{escape(item['feature_name'])}</b><td>{escape(item['constraint_check_type'])}"
        f"<td>{escape(item['description'])}"
        for item in found
    )
    return f"<h2>Violations</h2><div class=card><table>{rows}</table></div>"


def _history(windows: Sequence[Window]) -> str:
    """One column a window: the share of importance that had drifted."""
    if len(windows) < 2:
        return ""
    colors = {"Ok": "var(--ok)", "Drift": "var(--bad)", "InsufficientData": "var(--base)"}
    shown = windows[-60:]
    step = 1000 / len(shown)
    bars = "".join(
        f'<rect x="{20 + place * step:.1f}" y="{104 - max(window.verdict.share * 96, 4):.1f}" '
        f'width="{min(max(step - 3, 2), 60):.1f}" height="{max(window.verdict.share * 96, 4):.1f}" '
        f'fill="{colors[window.verdict.status]}"><title>{window_name(window.start)}: {window.verdict.status}, '
        f"{escape(window.verdict.reason)}</title></rect>"
        for place, window in enumerate(shown)
    )
    return (
        "<h2>Drifted share by window</h2><div class=card>"
        f'<svg viewBox="0 0 1040 130">{bars}<line x1="20" x2="1030" y1="104" y2="104" stroke="var(--line)"/>'
        f'<text x="20" y="124" fill="var(--dim)">{window_name(shown[0].start)}</text>'
        f'<text x="1030" y="124" text-anchor="end" fill="var(--dim)">{window_name(shown[-1].start)}</text></svg></div>'
    )


def _quality(quality: Quality | None) -> str:
    if quality is None or not quality.points:
        return ""
    values = [point.value for point in quality.points if point.value is not None]
    values += [quality.baseline] if quality.baseline is not None else []
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    low, high = low - 0.1 * (high - low or 0.1), high + 0.1 * (high - low or 0.1)
    step = 1000 / max(len(quality.points), 1)

    def y(value: float) -> float:
        return 150 - 140 * (value - low) / (high - low)

    xs = [30 + step * (place + 0.5) for place in range(len(quality.points))]
    coverage = "".join(
        f'<rect x="{x - step * 0.35:.1f}" width="{step * 0.7:.1f}" y="{190 - 30 * point.coverage:.1f}" '
        f'height="{30 * point.coverage:.1f}" fill="var(--line)"><title>{point.window}: {point.coverage:.0%} labelled'
        "</title></rect>"
        for x, point in zip(xs, quality.points, strict=True)
    )
    dots = [(x, y(point.value)) for x, point in zip(xs, quality.points, strict=True) if point.value is not None]
    line = " ".join(f"{x:.1f},{height:.1f}" for x, height in dots)
    marks = "".join(f'<circle cx="{x:.1f}" cy="{height:.1f}" r="3.5" fill="var(--now)"/>' for x, height in dots)
    base = ""
    if quality.baseline is not None:
        at = y(quality.baseline)
        base = (
            f'<line x1="30" x2="1030" y1="{at:.1f}" y2="{at:.1f}" stroke="var(--base)" stroke-dasharray="5 4"/>'
            f'<text x="1030" y="{at - 5:.1f}" text-anchor="end" fill="var(--dim)">'
            f"baseline {quality.baseline:.3f}</text>"
        )
    return (
        f"<h2>Quality over time: {escape(quality.metric)}</h2><div class=card>"
        f"<svg viewBox='0 0 1040 214'>{coverage}{base}"
        f'<polyline points="{line}" fill="none" stroke="var(--now)" stroke-width="2"/>{marks}'
        f'<text x="30" y="208" fill="var(--dim)">{quality.points[0].window}</text>'
        f'<text x="1030" y="208" text-anchor="end" fill="var(--dim)">{quality.points[-1].window}</text></svg>'
        "<p class=dim>Grey columns: the share of predictions that have a label. No dot: too few labels.</p></div>"
    )


def _distributions(baseline: Baseline, state: WindowState, moved: Sequence[Moved]) -> str:
    features = {feature.name: feature for feature in baseline.features}
    cells = []
    for item in moved[:_SHOWN]:
        feature, current = features[item.name], state.features[item.name]
        chart = _chart(feature, current)
        tag = '<span class="tag bad">drifted</span>' if item.drifted else ""
        tag += "<span class=tag>low power</span>" if item.low_power else ""
        new = f"<div class=dim>new: {escape(', '.join(item.new_values))}</div>" if item.new_values else ""
        cells.append(
            f'<div class="card cell {"drifted" if item.drifted else ""}"><b>{escape(_short(item.name))}</b>{tag}'
            f"{chart}<div class=dim>complete {item.completeness:.1%} · PSI {item.psi:.3f}</div>{new}</div>"
        )
    return (
        "<h2>Distributions</h2><p class='dim key'><i style='background:var(--base)'></i>baseline"
        f"<i style='background:var(--now)'></i>this window</p><div class=grid>{''.join(cells)}</div>"
    )


def _chart(feature: Feature, current: NumericState | CategoryState) -> str:
    if isinstance(current, NumericState):
        base, now, labels = _densities(feature, current)
    else:
        old, new = categories(feature, current)
        names = sorted(old.keys() | new.keys(), key=lambda name: -max(old.get(name, 0), new.get(name, 0)))[:12]
        base = np.array([old.get(name, 0.0) for name in names]) / (sum(old.values()) or 1)
        now = np.array([new.get(name, 0.0) for name in names]) / (sum(new.values()) or 1)
        labels = [name or "other" for name in names]
    if not len(base):
        return "<div class=dim>nothing to draw</div>"
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
    """Shares in 16 equal steps of the range that baseline and window cover, the outermost half per cent aside."""
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


def _table(moved: Sequence[Moved]) -> str:
    rows = "".join(
        f"<tr><td>{escape(item.name)}<td>{item.distance:.4f}<td>{item.threshold:.4f}<td>{item.p:.2g}<td>{item.psi:.4f}"
        f"<td>{item.jensen_shannon:.4f}<td>{'' if item.wasserstein is None else f'{item.wasserstein:.4g}'}"
        f"<td>{item.completeness:.2%}<td>{'drifted' if item.drifted else 'ok' if item.judged else 'not judged'}"
        for item in moved
    )
    head = "<tr><th>feature<th>distance<th>threshold<th>p (adjusted)<th>PSI<th>JS<th>Wasserstein<th>complete<th>verdict"
    return (
        f"<h2>All figures</h2><div class=card><table>{head}{rows}</table><p class=dim>Distance and p decide; PSI, "
        "Jensen-Shannon and Wasserstein are reported and decide nothing.</p></div>"
    )


def _bad(reading: Reading) -> str:
    if not reading.bad_count:
        return ""
    ordered = sorted(reading.reasons.items(), key=lambda item: -item[1])
    rows = "".join(f"<tr><td>{count:,}<td>{escape(reason)}" for reason, count in ordered)
    return (
        f"<h2>Records that could not be read</h2><div class=card><table>{rows}</table>"
        "<p class=dim>They are kept aside in bad_records.jsonl.</p></div>"
    )
