"""The report on data quality: the features' distances from the baseline, and their distributions."""

from collections.abc import Mapping, Sequence
from html import escape

from drift_analyzer.baseline_files import Baseline
from drift_analyzer.data_quality import CapturedData, JudgedWindow, window_name
from drift_analyzer.drift import DriftVerdict, FeatureDrift, alarm
from drift_analyzer.report.distributions import before_and_now, chart
from drift_analyzer.report.heat_map import heat_map
from drift_analyzer.report.page import bad_records, head, page, short, subject, violations
from drift_analyzer.window_state import WindowState

_TITLES = {
    "Ok": "No data drift",
    "Drift": "Data drift",
    "InsufficientData": "Not enough data",
    "Violation": "Broken data",
    "LowPower": "Cannot be judged",
}
_SHOWN = 24


def render(baseline: Baseline, windows: Sequence[JudgedWindow], captured: CapturedData, when: str = "") -> str:
    """Render the report on the last window.

    Args:
        baseline: The baseline.
        windows: All windows of the run in order of time.
        captured: The captured data, for the bad records.
        when: The time range, in words.
    """
    last = windows[-1]
    verdict = last.verdict
    broken = {found.feature: found.how for found in verdict.broken}
    features = sorted(
        verdict.features,
        key=lambda item: (item.name not in broken, -item.moved, -item.distance / (item.threshold or 1.0)),
    )
    status, reason = verdict.status, verdict.reason
    when = f"{when or f'window {window_name(last.start)}'} · mode {verdict.mode}"
    sections = [
        head(subject("Data quality", when), status, _TITLES[status], reason, _facts(verdict, windows, captured)),
        _answers(verdict),
        heat_map(windows),
        _distances(features),
        violations(verdict.violations),
        _windows(windows),
        _distributions(baseline, last.state, features, broken),
        _table(features),
        bad_records(captured.bad_count, captured.reasons),
    ]
    return page("Data quality", _TITLES[status], sections)


def _facts(verdict: DriftVerdict, windows: Sequence[JudgedWindow], captured: CapturedData) -> dict[str, str]:
    facts = {
        "rows": f"{verdict.rows:,}",
        "features drifted": f"{len(verdict.drifted)} of {sum(feature.judged for feature in verdict.features)}",
        "share by importance": f"{verdict.share:.0%}",
        "schema violations": str(len(verdict.schema_violations)),
        "bad records": f"{captured.bad_count:,}",
    }
    if len(windows) > 1:
        facts["alarm (2 of 3)"] = "yes" if alarm([window.verdict.status for window in windows]) else "no"
    return facts


def _answers(verdict: DriftVerdict) -> str:
    """Render the three answers: can it be judged, is something broken, has the data set drifted."""
    judged = sum(feature.judged for feature in verdict.features)
    rows = f"{verdict.rows:,} rows, {judged} of {len(verdict.features)} features judged"
    known = "yes" if verdict.judgeable else "no"
    broken = "; ".join(f"{found.feature}: {found.how}" for found in verdict.broken[:6])
    drift = ("yes" if verdict.data_drifted else "no") if verdict.judgeable else "not known"
    moved = ", ".join(verdict.moved[:12])
    lines = (
        ("Can this window be judged?", known, ". ".join([rows, *verdict.notes])),
        ("Is something broken?", "yes" if verdict.broken else "no", broken or "every check passed"),
        ("Has the data set drifted?", drift, f"{verdict.share:.0%} by importance; moved: {moved or 'no feature'}"),
    )
    table = "".join(f"<tr><td>{q}<td><b>{escape(a)}</b><td>{escape(why)}" for q, a, why in lines)
    return f"<h2>Three answers</h2><div class=card><table>{table}</table></div>"


def _distances(features: Sequence[FeatureDrift]) -> str:
    """Draw a bar for each distance, with the feature's threshold as a tick."""
    judged = [item for item in features if item.judged][:_SHOWN]
    if not judged:
        return ""
    # A distance is at most 1, so one of several features that moved far does not flatten the others.
    reach = min(1.0, max([item.distance for item in judged] + [item.threshold for item in judged]) * 1.05) or 1.0
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
    left = sum(item.judged for item in features) - len(judged)
    more = f"<p class=dim>{left} further features are closer to the baseline.</p>" if left else ""
    return (
        "<h2>Distance from the baseline by feature</h2><div class=card>"
        f'<svg viewBox="0 0 1040 {height}">{"".join(rows)}</svg>'
        '<p class="dim key"><i style="background:var(--bad)"></i>drifted'
        '<i style="background:var(--now)"></i>not drifted'
        f" &nbsp; the black tick is the feature's threshold</p>{more}</div>"
    )


def _windows(windows: Sequence[JudgedWindow]) -> str:
    """Draw a column for each window: the share of the features' importance that drifted."""
    if len(windows) < 2:
        return ""
    colors = {"Ok": "var(--ok)", "Drift": "var(--bad)", "Violation": "var(--bad)"}
    shown = windows[-60:]
    step = 1000 / len(shown)
    bars = "".join(
        f'<rect x="{20 + place * step:.1f}" y="{104 - max(window.verdict.share * 96, 4):.1f}" '
        f'width="{min(max(step - 3, 2), 60):.1f}" height="{max(window.verdict.share * 96, 4):.1f}" '
        f'fill="{colors.get(window.verdict.status, "var(--base)")}">'
        f"<title>{window_name(window.start)}: {window.verdict.status}, {escape(window.verdict.reason)}</title></rect>"
        for place, window in enumerate(shown)
    )
    return (
        "<h2>Drifted share of the features, by window</h2><div class=card>"
        f'<svg viewBox="0 0 1040 130">{bars}<line x1="20" x2="1030" y1="104" y2="104" stroke="var(--line)"/>'
        f'<text x="20" y="124" fill="var(--dim)">{window_name(shown[0].start)}</text>'
        f'<text x="1030" y="124" text-anchor="end" fill="var(--dim)">{window_name(shown[-1].start)}</text></svg></div>'
    )


def _distributions(
    baseline: Baseline, state: WindowState, drifts: Sequence[FeatureDrift], broken: Mapping[str, str]
) -> str:
    features = {feature.name: feature for feature in baseline.features}
    cells = []
    for item in drifts[:_SHOWN]:
        feature, current = features[item.name], state.features[item.name]
        tag = '<span class="tag bad">broken</span>' if item.name in broken else ""
        tag += '<span class="tag bad">drifted</span>' if item.drifted else "<span class=tag>moved</span>" * item.moved
        tag += "<span class=tag>low power</span>" if item.low_power else ""
        new = f"<div class=dim>new values: {escape(', '.join(item.new_values))}</div>" if item.new_values else ""
        cells.append(
            f'<div class="card cell {"drifted" if item.moved or item.name in broken else ""}">'
            f"<b title='{escape(item.name, quote=True)}'>{escape(short(item.name))}</b>{tag}{chart(feature, current)}"
            f"<div class=dim>{before_and_now(feature, current, item)}</div>{new}</div>"
        )
    return (
        "<h2>Distributions</h2><p class='dim key'><i style='background:var(--base)'></i>baseline"
        f"<i style='background:var(--now)'></i>this window</p><div class=grid>{''.join(cells)}</div>"
    )


def _word(item: FeatureDrift) -> str:
    if item.drifted:
        return "drifted"
    return "moved" if item.moved else escape(item.not_judged) or "ok"


def _table(features: Sequence[FeatureDrift]) -> str:
    rows = "".join(
        f"<tr><td>{escape(item.name)}<td>{item.distance:.4f}<td>{item.threshold:.4f}<td>{item.p:.2g}<td>{item.psi:.4f}"
        f"<td>{item.jensen_shannon:.4f}<td>{'' if item.wasserstein is None else f'{item.wasserstein:.4g}'}"
        f"<td>{item.completeness:.2%}<td>{_word(item)}"
        for item in features
    )
    names = ["feature", "distance", "threshold", "p (adjusted)", "PSI", "JS", "Wasserstein", "completeness", "verdict"]
    header = "<tr>" + "".join(f"<th>{name}" for name in names)
    return (
        f"<h2>All figures</h2><div class=card><table>{header}{rows}</table><p class=dim>The verdict depends on "
        "distance and p; PSI, Jensen-Shannon and Wasserstein are for information.</p></div>"
    )
