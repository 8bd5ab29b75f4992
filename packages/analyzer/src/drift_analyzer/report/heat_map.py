"""The heat map of a report: which feature moved in which window, so that a reader sees when it began."""

from collections.abc import Sequence
from html import escape

from drift_analyzer.data_quality import JudgedWindow, window_name
from drift_analyzer.report.page import short

_MOST_FEATURES, _MOST_WINDOWS = 40, 60


def heat_map(windows: Sequence[JudgedWindow]) -> str:
    """Draw a row for each feature that ever moved or broke, and a column for each window."""
    shown = windows[-_MOST_WINDOWS:]
    if len(shown) < 2:
        return ""
    counts: dict[str, int] = {}
    for window in shown:
        for name in {*window.verdict.moved, *window.verdict.broken_names}:
            counts[name] = counts.get(name, 0) + 1
    names = sorted(counts, key=lambda name: (-counts[name], name))[:_MOST_FEATURES]
    if not names:
        return ""
    step = 800 / len(shown)
    cells = "".join(_row(name, place, shown, step) for place, name in enumerate(names))
    return (
        "<h2>When it began: feature by window</h2><div class=card>"
        f'<svg viewBox="0 0 1040 {len(names) * 18 + 22}">{cells}'
        f'<text x="230" y="{len(names) * 18 + 18}" fill="var(--dim)">{window_name(shown[0].start)}</text>'
        f'<text x="1030" y="{len(names) * 18 + 18}" text-anchor="end" fill="var(--dim)">'
        f'{window_name(shown[-1].start)}</text></svg><p class="dim key"><i style="background:var(--bad)"></i>broken'
        '<i style="background:var(--now)"></i>moved; the darker, the further beyond its threshold'
        '<i style="background:var(--line)"></i>as in the baseline</p></div>'
    )


def _row(name: str, place: int, windows: Sequence[JudgedWindow], step: float) -> str:
    y = place * 18 + 2
    cells = []
    for column, window in enumerate(windows):
        item = next((item for item in window.verdict.features if item.name == name), None)
        broken = name in window.verdict.broken_names
        moved = item is not None and item.moved
        ratio = min(item.distance / (item.threshold or 1.0), 3.0) if item is not None else 1.0
        color = "var(--bad)" if broken else "var(--now)" if moved else "var(--line)"
        opacity = f"{0.35 + 0.65 * ratio / 3:.2f}" if moved and not broken else "1"
        cells.append(
            f'<rect x="{230 + column * step:.1f}" y="{y}" width="{max(step - 1, 1):.1f}" height="15" fill="{color}" '
            f'opacity="{opacity}"><title>{escape(name)}, {window_name(window.start)}: '
            f"{'broken' if broken else 'moved' if moved else 'as in the baseline'}</title></rect>"
        )
    label = f'<text x="222" y="{y + 12}" text-anchor="end" fill="var(--ink)">{escape(short(name))}</text>'
    return label + "".join(cells)
