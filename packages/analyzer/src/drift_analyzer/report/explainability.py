"""The report on explainability: the features' attributions, now and at training."""

from collections.abc import Mapping, Sequence
from html import escape

from drift_analyzer.drift import Status
from drift_analyzer.report.page import bad_records, head, page, short, subject, violations

_TITLES = {
    "Ok": "Feature attributions are stable",
    "Drift": "Feature attributions have drifted",
    "InsufficientData": "Too few requests",
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
    """Render the report.

    Args:
        before: Mean |SHAP| by feature at training.
        now: Mean |SHAP| by feature in the window.
        status: The verdict's status.
        reason: The verdict's reason.
        found: Violations.
        facts: Figures by name.
        bad: Number of bad records by reason.
        when: The window, in words.
    """
    sections = [head(subject("Explainability", when), status, _TITLES[status], reason, facts)]
    if now:
        sections.append(_bars(before, now))
    return page("Explainability", _TITLES[status], [*sections, violations(found), bad_records(sum(bad.values()), bad)])


def _bars(before: Mapping[str, float], now: Mapping[str, float]) -> str:
    """Draw two bars for each feature, as shares of the total attribution, in the order of training."""
    old, new = _shares(before), _shares(now)
    ranks = [{name: place for place, name in enumerate(_ranked(shares), 1)} for shares in (old, new)]
    names = _ranked(old or new)[:_SHOWN]
    reach = max([*old.values(), *new.values()], default=1.0) or 1.0
    rows = []
    for place, name in enumerate(names):
        y = place * 32 + 4
        old_rank, rank = ranks[0].get(name), ranks[1][name]
        changed = old_rank is not None and abs(old_rank - rank) >= 2
        color = "var(--bad)" if changed else "var(--now)"
        ranking = f"rank {rank}" if old_rank in (None, rank) else f"rank {old_rank} → {rank}"
        rows.append(
            f'<text x="222" y="{y + 16}" text-anchor="end" fill="var(--ink)">{escape(short(name))}</text>'
            f'<rect x="230" y="{y}" width="{620 * old.get(name, 0.0) / reach:.1f}" height="10" fill="var(--base)"/>'
            f'<rect x="230" y="{y + 11}" width="{620 * new[name] / reach:.1f}" height="10" fill="{color}"/>'
            f'<text x="1030" y="{y + 16}" text-anchor="end" fill="var(--dim)">{new[name]:.1%} · {ranking}</text>'
        )
    return (
        "<h2>Share of the total attribution (mean |SHAP|)</h2><div class=card>"
        f'<svg viewBox="0 0 1040 {len(names) * 32 + 4}">{"".join(rows)}</svg>'
        '<p class="dim key"><i style="background:var(--base)"></i>at training<i style="background:var(--now)"></i>now'
        '<i style="background:var(--bad)"></i>now, rank changed by two or more</p></div>'
    )


def _shares(values: Mapping[str, float]) -> dict[str, float]:
    total = sum(values.values()) or 1.0
    return {name: value / total for name, value in values.items()}


def _ranked(shares: Mapping[str, float]) -> list[str]:
    return sorted(shares, key=lambda name: (-shares[name], name))
