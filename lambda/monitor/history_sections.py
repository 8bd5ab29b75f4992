"""Sections of a report about the past: recent decisions, quality over time, and earlier verdicts."""

from collections.abc import Sequence
from html import escape

from drift_analyzer.report.model_quality import Quality, QualityPoint, quality_chart
from monitor.history import ModelHistory, PastDecision
from shared.verdict import Verdict

_SHOWN = 60
_COLORS = {"OK": "var(--ok)", "Drift": "var(--bad)", "Violation": "var(--bad)"}


def sections(history: ModelHistory, now: Verdict) -> str:
    """Render the sections below a report's verdict; `now` is that verdict's row."""
    verdicts = [*history.verdicts, now]
    same = [verdict for verdict in verdicts if verdict.kind == now.kind][-_SHOWN:]
    quality = [verdict for verdict in verdicts if verdict.kind == "model_quality"][-_SHOWN:]
    return _decisions(history.decisions) + _quality(quality) + _windows(same)


def _decisions(decisions: Sequence[PastDecision]) -> str:
    rows = "".join(
        f"<tr><td class=when>{escape(decision.at[:16].replace('T', ' '))}<td><b>{escape(decision.step)}</b>"
        f"<td>{escape(decision.reason)}"
        for decision in decisions
    )
    shown = f"<table>{rows}</table>" if rows else "<div class=dim>None yet.</div>"
    return f"<h2>Recent decisions on release and retraining</h2><div class=card>{shown}</div>"


def _quality(verdicts: Sequence[Verdict]) -> str:
    points = [QualityPoint(f"{v.window_start:%Y-%m-%d %H:%M}", v.metric, v.labels_coverage) for v in verdicts]
    if len(points) < 2:
        return ""
    return quality_chart(Quality("model quality metric", None, tuple(points)))


def _windows(verdicts: Sequence[Verdict]) -> str:
    """Draw a block for each window, in the colour of its verdict."""
    if len(verdicts) < 2:
        return ""
    step = 1000 / len(verdicts)
    blocks = "".join(
        f'<rect x="{20 + place * step:.1f}" y="6" width="{min(max(step - 3, 2), 60):.1f}" height="26" rx="2" '
        f'fill="{_COLORS.get(verdict.status, "var(--base)")}"><title>{verdict.window_start:%Y-%m-%d %H:%M}: '
        f"{escape(verdict.status)}, {escape(verdict.evidence)}</title></rect>"
        for place, verdict in enumerate(verdicts)
    )
    ends = (
        f'<text x="20" y="52" fill="var(--dim)">{verdicts[0].window_start:%Y-%m-%d %H:%M}</text>'
        f'<text x="1030" y="52" text-anchor="end" fill="var(--dim)">{verdicts[-1].window_start:%Y-%m-%d %H:%M}</text>'
    )
    return (
        f'<h2>Verdicts by window</h2><div class=card><svg viewBox="0 0 1040 58">{blocks}{ends}</svg>'
        '<p class="dim key"><i style="background:var(--ok)"></i>no drift<i style="background:var(--bad)"></i>drift or '
        'violation<i style="background:var(--base)"></i>inconclusive</p></div>'
    )
