"""The pictures of the replay: an HTML page with every panel, and an SVG image for a README.

Both are self-contained: no scripts, no fonts and no files of anybody else. The panels share the time axis.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from html import escape

from evergreen.demo.figures import HEAD, Month, rows

_LEFT, _WIDTH, _RIGHT = 150, 900, 40
_LOOP, _NEVER, _INK, _FAINT, _PAPER = "#0b6e4f", "#8a8f98", "#22262b", "#d9dce0", "#ffffff"
_AUC_TOP, _AUC_HEIGHT = 60, 230
_DRIFT_TOP, _ROW = 370, 17
_LANE = 26
_LANES = (
    ("data_quality", "data drifted", "#d95f02"),
    ("model_quality", "quality fell", "#b2182b"),
    ("started", "training began", "#4575b4"),
    ("refused", "gate refused", "#7b3294"),
    ("proposed", "version proposed", "#1b9e77"),
    ("released", "version live", _LOOP),
)
# The distance in units of the threshold at which the colours end, and the colours.
_SATURATED = 1.5
_PALE, _MIDDLE, _DARK = (247, 248, 249), (253, 190, 120), (178, 24, 43)


@dataclass(frozen=True)
class Drift:
    """A feature's distance from its baseline in the seven days from `start`; above `threshold` it has drifted."""

    feature: str
    start: date
    distance: float
    threshold: float

    @property
    def ratio(self) -> float:
        """The distance in units of the threshold."""
        return self.distance / self.threshold if self.threshold else 0.0


@dataclass(frozen=True)
class Decision:
    """A finding or a decision of a day. `kind` is the kind of one of the lanes."""

    at: date
    kind: str
    text: str


@dataclass(frozen=True)
class Picture:
    """The contents of the pictures, from the first day to the last, both included."""

    first: date
    last: date
    months: tuple[Month, ...]
    drift: tuple[Drift, ...]
    decisions: tuple[Decision, ...]

    @property
    def series(self) -> tuple[list[float], list[float]]:
        """The monthly AUC with the loop, and for the first version alone."""
        return [month.loop for month in self.months], [month.never for month in self.months]

    @property
    def summary(self) -> str:
        """The result in two sentences."""
        loop, never = (sum(values) / len(values) for values in self.series)
        versions = sum(one.kind == "released" for one in self.decisions)
        refused = sum(one.kind == "refused" for one in self.decisions)
        return (
            f"Mean monthly AUC {loop:.3f} with the loop, {never:.3f} for the first version alone. "
            f"{versions} versions were live; the gate refused {refused} challenger{'s' * (refused != 1)}."
        )

    @property
    def features(self) -> list[str]:
        """The features, the one with the largest distance first."""
        farthest: dict[str, float] = {}
        for one in self.drift:
            farthest[one.feature] = max(farthest.get(one.feature, 0.0), one.ratio)
        return sorted(farthest, key=lambda name: -farthest[name])

    def x(self, day: date) -> float:
        """Return where a day begins on the time axis."""
        days = (self.last - self.first).days + 1
        return _LEFT + _WIDTH * (day - self.first).days / days


def page(picture: Picture) -> str:
    """Return the HTML page with all panels, the monthly table and the decisions in words."""
    drift_bottom = _DRIFT_TOP + _ROW * len(picture.features)
    lanes_top = drift_bottom + 96
    bottom = lanes_top + _LANE * len(_LANES)
    drawn = "".join([*_grid(picture, bottom), *_auc(picture), *_drift(picture), *_lanes(picture, lanes_top)])
    width, height = _LEFT + _WIDTH + _RIGHT, bottom + 40
    summary = picture.summary
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Evergreen: the loop</title>'
        f"<style>{_STYLE}</style>"
        f"<h1>Flights out of New York, {picture.first:%B} to {picture.last:%B %Y}: the loop against a model that was "
        f"never retrained</h1><p>{escape(summary)}</p>"
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(summary)}">{drawn}</svg>'
        f"{_table(picture.months)}{_log(picture)}</html>\n"
    )


def image(picture: Picture) -> str:
    """Return the SVG image: quality by month and the decisions. It has its own background for light and dark pages."""
    lanes_top = _AUC_TOP + _AUC_HEIGHT + 62
    bottom = lanes_top + _LANE * len(_LANES)
    drawn = "".join([*_grid(picture, bottom), *_auc(picture), *_lanes(picture, lanes_top)])
    width, height = _LEFT + _WIDTH + _RIGHT, bottom + 70
    summary = escape(picture.summary)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{summary}"><style>{_IMAGE_STYLE}</style>'
        f'<rect width="{width}" height="{height}" rx="8" fill="{_PAPER}"/>{drawn}'
        f'<text x="{_LEFT}" y="{height - 18}">{summary}</text></svg>\n'
    )


# A README shows the image at four fifths of its size.
_IMAGE_STYLE = f"text{{font:14px system-ui,sans-serif;fill:{_INK}}}.title{{font-size:16px;font-weight:600}}"
_STYLE = (
    f"body{{font:15px/1.5 system-ui,sans-serif;color:{_INK};max-width:1120px;margin:28px auto;padding:0 16px}}"
    "h1{font-size:19px;margin:0 0 4px}p{margin:0 0 12px;color:#555}svg{width:100%;height:auto}"
    "svg text{font:12px system-ui,sans-serif;fill:#444}svg .title{font-size:14px;font-weight:600;fill:#22262b}"
    "table{border-collapse:collapse;margin:20px 0}td,th{padding:3px 14px 3px 0;text-align:right}"
    "td:first-child,th:first-child{text-align:left}th{border-bottom:1px solid #ccc;font-weight:600}"
    "tr:last-child td{border-top:1px solid #ccc}details td{text-align:left;vertical-align:top}"
)


def _grid(picture: Picture, bottom: float) -> Iterator[str]:
    """Draw the months through all panels."""
    for month in _months(picture):
        left = picture.x(month)
        yield f'<line x1="{left:.1f}" x2="{left:.1f}" y1="{_AUC_TOP}" y2="{bottom}" stroke="{_FAINT}"/>'
        middle = (left + picture.x(min(_next(month), picture.last + timedelta(days=1)))) / 2
        for y in (_AUC_TOP + _AUC_HEIGHT + 18, bottom + 18):
            yield f'<text x="{middle:.1f}" y="{y}" text-anchor="middle">{month:%b}</text>'


def _auc(picture: Picture) -> Iterator[str]:
    both = [value for values in picture.series for value in values]
    low, high = _bounds(both)

    def y(value: float) -> float:
        return _AUC_TOP + _AUC_HEIGHT * (high - value) / (high - low)

    yield f'<text class="title" x="{_LEFT}" y="24">AUC by month, on every flight that landed</text>'
    for step in range(round((high - low) / 0.02) + 1):
        value = low + 0.02 * step
        yield f'<line x1="{_LEFT}" x2="{_LEFT + _WIDTH}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="{_FAINT}"/>'
        yield f'<text x="{_LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.2f}</text>'
    middle = _AUC_TOP + _AUC_HEIGHT / 2
    yield f'<text x="100" y="{middle}" text-anchor="middle" transform="rotate(-90 100 {middle})">AUC</text>'
    for index, (name, values, colour, dash) in enumerate(
        (
            ("never retrained", [month.never for month in picture.months], _NEVER, "5 4"),
            ("the loop", [month.loop for month in picture.months], _LOOP, ""),
        )
    ):
        points = [
            (_middle(picture, month.first), y(value)) for month, value in zip(picture.months, values, strict=True)
        ]
        path = " ".join(f"{x:.1f},{at:.1f}" for x, at in points)
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5" stroke-dasharray="{dash}"/>'
        for (x, at), value, month in zip(points, values, picture.months, strict=True):
            tip = f"{month.first:%B}, {name}: {value:.3f} on {month.flights:,} flights"
            yield f'<circle cx="{x:.1f}" cy="{at:.1f}" r="4" fill="{colour}"><title>{escape(tip)}</title></circle>'
        x = _LEFT + _WIDTH - 260 + 160 * index
        yield (
            f'<line x1="{x}" x2="{x + 26}" y1="20" y2="20" stroke="{colour}" stroke-width="2.5"'
            f' stroke-dasharray="{dash}"/><text x="{x + 32}" y="24">{name}</text>'
        )
    yield from _versions(picture)


def _versions(picture: Picture) -> Iterator[str]:
    """Draw a mark where a version became live. A label that would touch the one before is raised."""
    last, raised = -1000.0, False
    for one in picture.decisions:
        if one.kind != "released":
            continue
        x = picture.x(one.at)
        raised = x - last < 26 and not raised
        last = x
        top = _AUC_TOP - (18 if raised else 4)
        label = "v" + "".join(character for character in one.text if character.isdigit())
        yield (
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{_AUC_TOP + _AUC_HEIGHT}" stroke="{_LOOP}"'
            f' stroke-opacity="0.35"/><text x="{x + 3:.1f}" y="{top}" fill="{_LOOP}">{label}</text>'
        )


def _drift(picture: Picture) -> Iterator[str]:
    yield (
        f'<text class="title" x="{_LEFT}" y="{_DRIFT_TOP - 26}">Distance of each feature from the live version\'s '
        "baseline, by week, in units of its threshold</text>"
    )
    order = picture.features
    for index, feature in enumerate(order):
        y = _DRIFT_TOP + _ROW * index + _ROW - 5
        yield f'<text x="{_LEFT - 8}" y="{y}" text-anchor="end">{escape(feature)}</text>'
    for one in picture.drift:
        x, until = picture.x(one.start), picture.x(one.start + timedelta(days=7))
        y = _DRIFT_TOP + _ROW * order.index(one.feature)
        tip = (
            f"{one.feature}, {one.start:%d %b} and six days on: {one.distance:.2f}, threshold {one.threshold:.2f}"
            f"{', drifted' if one.ratio > 1 else ''}"
        )
        yield (
            f'<rect x="{x:.1f}" y="{y}" width="{until - x - 1:.1f}" height="{_ROW - 1}" fill="{_colour(one.ratio)}">'
            f"<title>{escape(tip)}</title></rect>"
        )
    yield from _scale(_DRIFT_TOP + _ROW * len(order) + 16)


def _scale(y: float) -> Iterator[str]:
    """Draw the legend of the colours."""
    for step in range(31):
        ratio = _SATURATED * step / 30
        yield f'<rect x="{_LEFT + 9 * step}" y="{y}" width="9" height="10" fill="{_colour(ratio)}"/>'
    for ratio, text in ((0.0, "0"), (1.0, "1: the threshold"), (_SATURATED, "1.5 and more")):
        x = _LEFT + 279 * ratio / _SATURATED
        anchor = {0.0: "start", 1.0: "middle"}.get(ratio, "start")
        yield f'<text x="{x:.0f}" y="{y + 24}" text-anchor="{anchor}">{text}</text>'


def _lanes(picture: Picture, top: float) -> Iterator[str]:
    yield f'<text class="title" x="{_LEFT}" y="{top - 12}">Findings and decisions, from the ledger</text>'
    for index, (kind, name, colour) in enumerate(_LANES):
        y = top + _LANE * index + _LANE / 2
        yield f'<line x1="{_LEFT}" x2="{_LEFT + _WIDTH}" y1="{y}" y2="{y}" stroke="{_FAINT}"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{name}</text>'
        for one in (one for one in picture.decisions if one.kind == kind):
            x, tip = picture.x(one.at), escape(f"{one.at:%d %B}: {one.text}")
            if kind in ("data_quality", "model_quality"):
                width = max(picture.x(one.at + timedelta(days=1)) - x, 1.5)
                shape = f'<rect x="{x:.1f}" y="{y - 7}" width="{width:.1f}" height="14" fill="{colour}">'
                yield f"{shape}<title>{tip}</title></rect>"
            else:
                yield f'<circle cx="{x:.1f}" cy="{y}" r="5.5" fill="{colour}"><title>{tip}</title></circle>'


def _table(found: Sequence[Month]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in HEAD)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows(found))
    return f"<table><tr>{head}</tr>{body}</table>"


def _log(picture: Picture) -> str:
    """Return every decision in words. The daily findings are in the picture only."""
    decided = [one for one in picture.decisions if one.kind not in ("data_quality", "model_quality")]
    names = {kind: name for kind, name, _ in _LANES}
    body = "".join(
        f"<tr><td>{one.at:%d&nbsp;%b}</td><td>{names[one.kind].replace(' ', '&nbsp;')}</td>"
        f"<td>{escape(one.text)}</td></tr>"
        for one in decided
    )
    return f"<details open><summary>Decisions in words</summary><table>{body}</table></details>"


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of the axis: whole steps of 0.02 around the values."""
    return int(min(values) * 50) / 50, (int(max(values) * 50) + 1) / 50


def _months(picture: Picture) -> list[date]:
    found = [picture.first.replace(day=1)]
    while _next(found[-1]) <= picture.last:
        found.append(_next(found[-1]))
    return found


def _next(month: date) -> date:
    return (month + timedelta(days=32)).replace(day=1)


def _middle(picture: Picture, month: date) -> float:
    return (picture.x(month) + picture.x(min(_next(month), picture.last + timedelta(days=1)))) / 2


def _colour(ratio: float) -> str:
    """Return pale to orange up to the threshold, orange to dark red beyond it."""
    if ratio <= 1:
        low, high, part = _PALE, _MIDDLE, max(ratio, 0.0)
    else:
        low, high, part = _MIDDLE, _DARK, min((ratio - 1) / (_SATURATED - 1), 1.0)
    red, green, blue = (round(a + (b - a) * part) for a, b in zip(low, high, strict=True))
    return f"#{red:02x}{green:02x}{blue:02x}"
