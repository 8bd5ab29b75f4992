"""The report on model quality: the metric over time against its baseline, with label coverage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from drift_analyzer.drift import Status
from drift_analyzer.report.page import bad_records, head, page, subject, violations

_TITLES = {
    "Ok": "Model quality is within its limits",
    "Drift": "Model quality has dropped",
    "InsufficientData": "Too few labels",
}


@dataclass(frozen=True)
class QualityPoint:
    """The quality of one window.

    Attributes:
        value: The metric; None: too few labels.
        coverage: Labelled predictions ÷ predictions.
    """

    window: str
    value: float | None
    coverage: float


@dataclass(frozen=True)
class Quality:
    """A metric over time, and its baseline (None: not known)."""

    metric: str
    baseline: float | None
    points: tuple[QualityPoint, ...]


def render_quality(
    quality: Quality,
    status: Status,
    reason: str,
    found: Sequence[Mapping[str, str]],
    facts: Mapping[str, str],
    bad: Mapping[str, int],
    when: str = "",
) -> str:
    """Render the report; `bad` is the number of bad records by reason."""
    top = head(subject("Model quality", when), status, _TITLES[status], reason, facts)
    sections = [top, violations(found), quality_chart(quality), bad_records(sum(bad.values()), bad)]
    return page("Model quality", _TITLES[status], sections)


def quality_chart(quality: Quality) -> str:
    """Draw the metric by window, and below it the share of labelled predictions."""
    if not quality.points:
        return ""
    values = [point.value for point in quality.points if point.value is not None]
    values += [quality.baseline] if quality.baseline is not None else []
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    low, high = low - 0.1 * (high - low or 0.1), high + 0.1 * (high - low or 0.1)
    step = 1000 / max(len(quality.points), 1)

    def y(value: float) -> float:
        return 150 - 140 * (value - low) / (high - low)

    xs = [30 + step * (place + 0.5) for place in range(len(quality.points))]
    width = min(step * 0.7, 60)
    coverage = "".join(
        f'<rect x="{x - width / 2:.1f}" width="{width:.1f}" y="{190 - 30 * point.coverage:.1f}" '
        f'height="{30 * point.coverage:.1f}" fill="var(--line)"><title>{point.window}: {point.coverage:.0%} labelled'
        "</title></rect>"
        for x, point in zip(xs, quality.points, strict=True)
    )
    dots = [(x, y(point.value)) for x, point in zip(xs, quality.points, strict=True) if point.value is not None]
    line = " ".join(f"{x:.1f},{height:.1f}" for x, height in dots)
    marks = "".join(f'<circle cx="{x:.1f}" cy="{height:.1f}" r="3.5" fill="var(--now)"/>' for x, height in dots)
    known = [point.value for point in quality.points if point.value is not None]
    if dots:
        marks += f'<text x="{dots[-1][0] + 8:.1f}" y="{dots[-1][1] + 4:.1f}" fill="var(--ink)">{known[-1]:.3f}</text>'
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
