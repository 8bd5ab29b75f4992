"""The report on bias: every metric of every facet, now and at training, against its fair value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from drift_analyzer.bias import DESCRIPTIONS, IDEAL
from drift_analyzer.drift import Status
from drift_analyzer.report.page import bad_records, head, page, subject, violations

_TITLES = {"Ok": "No bias drift", "Drift": "Bias has drifted", "InsufficientData": "Too few labels"}
_LEFT, _WIDTH = 400, 480


@dataclass(frozen=True)
class FacetMetrics:
    """Metrics of one facet.

    Attributes:
        facet: Name and value.
        rows: Number of rows in the facet; None: not known.
        now: Current metrics by name.
        before: Metrics at training by name.
    """

    facet: str
    rows: int | None
    now: Mapping[str, float]
    before: Mapping[str, float]


def render_bias(
    facets: Sequence[FacetMetrics],
    status: Status,
    reason: str,
    found: Sequence[Mapping[str, str]],
    facts: Mapping[str, str],
    bad: Mapping[str, int],
    when: str = "",
) -> str:
    """Render the report; `bad` is the number of bad records by reason."""
    drifted = {(f"{item['facet']} = {item['facet_value']}", item["metric_name"]) for item in found}
    sections = [head(subject("Bias", when), status, _TITLES[status], reason, facts)]
    sections += [_facet(facet, {name for where, name in drifted if where == facet.facet}) for facet in facets]
    return page("Bias", _TITLES[status], [*sections, violations(found), bad_records(sum(bad.values()), bad)])


def _facet(facet: FacetMetrics, drifted: set[str]) -> str:
    """Draw a line for each metric: its fair value (tick), training value (grey) and current value (colour)."""
    names = sorted(facet.now, key=lambda name: (name not in drifted, list(DESCRIPTIONS).index(name)))
    rows = [_line(place, name, facet, name in drifted) for place, name in enumerate(names)]
    size = "" if facet.rows is None else f" ({facet.rows:,} rows)"
    return (
        f"<h2>{escape(facet.facet)} against all others{size}</h2><div class=card>"
        f'<svg viewBox="0 0 1040 {len(names) * 24 + 6}">{"".join(rows)}</svg>'
        '<p class="dim key"><i style="background:var(--base)"></i>at training<i style="background:var(--now)"></i>now'
        '<i style="background:var(--bad)"></i>now, significantly less fair than at training &nbsp; the tick is the '
        "fair value; the ends of the line are 1 or more away from it</p></div>"
    )


def _line(place: int, name: str, facet: FacetMetrics, drifted: bool) -> str:
    y = place * 24 + 14
    fair = IDEAL.get(name, 0.0)

    def x(value: float) -> float:
        return _LEFT + _WIDTH * (max(-1.0, min(1.0, value - fair)) + 1) / 2

    now, before = facet.now[name], facet.before.get(name)
    color = "var(--bad)" if drifted else "var(--now)"
    training = "" if before is None else f'<circle cx="{x(before):.1f}" cy="{y}" r="6" fill="var(--base)"/>'
    shown = "–" if before is None else f"{before:.3f}"
    return (
        f'<text x="{_LEFT - 14}" y="{y + 4}" text-anchor="end" fill="var(--ink)">{escape(_label(name))}</text>'
        f'<line x1="{_LEFT}" x2="{_LEFT + _WIDTH}" y1="{y}" y2="{y}" stroke="var(--line)"/>'
        f'<line x1="{x(fair):.1f}" x2="{x(fair):.1f}" y1="{y - 8}" y2="{y + 8}" stroke="var(--ink)"/>{training}'
        f'<circle cx="{x(now):.1f}" cy="{y}" r="6" fill="{color}"/>'
        f'<text x="1030" y="{y + 4}" text-anchor="end" fill="var(--dim)">{shown} → {now:.3f}</text>'
    )


def _label(name: str) -> str:
    text = DESCRIPTIONS[name]
    return text if len(text) <= 56 else f"{text[:40].rsplit(' ', 1)[0]} … ({name})"
