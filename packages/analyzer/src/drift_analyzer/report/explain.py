"""Explainability: which features the model leans on now, and which it did at training."""

from collections.abc import Mapping, Sequence
from html import escape

from drift_analyzer.drift import Status
from drift_analyzer.report.page import head, page, short, titled, unread, violations

_TITLES = {
    "Ok": "The model leans on what it did",
    "Drift": "The model leans on other features",
    "InsufficientData": "Not enough requests",
}
_SHOWN = 30


def render_explanation(
    before: Mapping[str, float],
    now: Mapping[str, float],
    status: Status,
    reason: str,
    found: Sequence[Mapping[str, str]],
    facts: Mapping[str, str],
    bad: Mapping[str, int],
    when: str = "",
) -> str:
    """The page of an explainability run. `before` and `now` are mean |SHAP| by feature; `bad` what was not read."""
    sections = [head(titled("Explainability", when), status, _TITLES[status], reason, facts)]
    if now:
        sections.append(_bars(before, now))
    return page("Explainability", _TITLES[status], [*sections, violations(found), unread(sum(bad.values()), bad)])


def _bars(before: Mapping[str, float], now: Mapping[str, float]) -> str:
    """Two bars a feature, as shares of all attribution, in the order of training; with both ranks."""
    old, new = _shares(before), _shares(now)
    ranks = [{name: place for place, name in enumerate(_ranked(shares), 1)} for shares in (old, new)]
    names = _ranked(old or new)[:_SHOWN]
    reach = max([*old.values(), *new.values()], default=1.0) or 1.0
    rows = []
    for place, name in enumerate(names):
        y = place * 32 + 4
        was, here = ranks[0].get(name), ranks[1][name]
        moved = was is not None and abs(was - here) >= 2
        color = "var(--bad)" if moved else "var(--now)"
        rank = f"rank {here}" if was in (None, here) else f"rank {was} → {here}"
        rows.append(
            f'<text x="222" y="{y + 16}" text-anchor="end" fill="var(--ink)">{escape(short(name))}</text>'
            f'<rect x="230" y="{y}" width="{620 * old.get(name, 0.0) / reach:.1f}" height="10" fill="var(--base)"/>'
            f'<rect x="230" y="{y + 11}" width="{620 * new[name] / reach:.1f}" height="10" fill="{color}"/>'
            f'<text x="1030" y="{y + 16}" text-anchor="end" fill="var(--dim)">{new[name]:.1%} · {rank}</text>'
        )
    return (
        "<h2>Share of all attribution (mean |SHAP|)</h2><div class=card>"
        f'<svg viewBox="0 0 1040 {len(names) * 32 + 4}">{"".join(rows)}</svg>'
        '<p class="dim key"><i style="background:var(--base)"></i>at training<i style="background:var(--now)"></i>now'
        '<i style="background:var(--bad)"></i>now, two ranks or more away</p></div>'
    )


def _shares(values: Mapping[str, float]) -> dict[str, float]:
    total = sum(values.values()) or 1.0
    return {name: value / total for name, value in values.items()}


def _ranked(shares: Mapping[str, float]) -> list[str]:
    return sorted(shares, key=lambda name: (-shares[name], name))
