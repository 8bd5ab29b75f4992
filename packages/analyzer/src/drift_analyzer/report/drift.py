"""Data quality: which features moved and how far beyond their threshold, with both distributions drawn."""

from collections.abc import Sequence
from html import escape

from drift_analyzer.analysis import Reading, Window, window_name
from drift_analyzer.drift import Moved, Verdict, alarm
from drift_analyzer.report.distributions import chart
from drift_analyzer.report.page import head, page, short, unread, violations
from drift_analyzer.schema import Baseline
from drift_analyzer.state import WindowState
from drift_analyzer.violations import structure

_TITLES = {"Ok": "No drift", "Drift": "Drift", "InsufficientData": "Not enough data", "Violation": "Another schema"}
_SHOWN = 24


def render(baseline: Baseline, windows: Sequence[Window], reading: Reading, when: str = "") -> str:
    """The page of a run; of several windows it is about the last. `when` says which time it is about."""
    last = windows[-1]
    verdict = last.verdict
    moved = sorted(verdict.features, key=lambda item: (-item.drifted, -item.distance / (item.threshold or 1.0)))
    broken = structure(verdict.violations)
    status = "Violation" if broken else verdict.status
    reason = f"of another type, or missing: {', '.join(broken)}; {verdict.reason}" if broken else verdict.reason
    about = f"Data quality · {when or f'window {window_name(last.start)}'} · mode {verdict.mode}"
    sections = [
        head(about, status, _TITLES[status], reason, _facts(verdict, windows, reading)),
        _moved(moved),
        violations(verdict.violations),
        _windows(windows),
        _distributions(baseline, last.state, moved),
        _table(moved),
        unread(reading.bad_count, reading.reasons),
    ]
    return page("Data quality", _TITLES[status], sections)


def _facts(verdict: Verdict, windows: Sequence[Window], reading: Reading) -> dict[str, str]:
    facts = {
        "rows": f"{verdict.rows:,}",
        "features drifted": f"{len(verdict.drifted)} of {sum(moved.judged for moved in verdict.features)}",
        "by importance": f"{verdict.share:.0%}",
        "schema violations": str(len(verdict.schema_violations)),
        "bad records": f"{reading.bad_count:,}",
    }
    if len(windows) > 1:
        facts["alarm (2 of 3)"] = "yes" if alarm([window.verdict.status for window in windows]) else "no"
    return facts


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
            f'<text x="222" y="{y + 12}" text-anchor="end" fill="var(--ink)">{escape(short(item.name))}</text>'
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


def _windows(windows: Sequence[Window]) -> str:
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


def _distributions(baseline: Baseline, state: WindowState, moved: Sequence[Moved]) -> str:
    features = {feature.name: feature for feature in baseline.features}
    cells = []
    for item in moved[:_SHOWN]:
        feature, current = features[item.name], state.features[item.name]
        tag = '<span class="tag bad">drifted</span>' if item.drifted else ""
        tag += "<span class=tag>low power</span>" if item.low_power else ""
        new = f"<div class=dim>new: {escape(', '.join(item.new_values))}</div>" if item.new_values else ""
        cells.append(
            f'<div class="card cell {"drifted" if item.drifted else ""}"><b>{escape(short(item.name))}</b>{tag}'
            f"{chart(feature, current)}<div class=dim>complete {item.completeness:.1%} · PSI {item.psi:.3f}</div>{new}"
            "</div>"
        )
    return (
        "<h2>Distributions</h2><p class='dim key'><i style='background:var(--base)'></i>baseline"
        f"<i style='background:var(--now)'></i>this window</p><div class=grid>{''.join(cells)}</div>"
    )


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
