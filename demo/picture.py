from __future__ import annotations
from dataclasses import dataclass
from datetime import date
from demo.figures import Month


@dataclass(frozen=True)
class Drift:
    feature: str
    start: date
    distance: float
    threshold: float


@dataclass(frozen=True)
class Decision:
    at: date
    kind: str
    text: str


@dataclass(frozen=True)
class Picture:
    first: date
    last: date
    months: tuple[Month, ...]
    drift: tuple[Drift, ...]
    decisions: tuple[Decision, ...]


def page(picture: Picture) -> str:
    import json, dataclasses
    return json.dumps(dataclasses.asdict(picture), default=str, indent=1)
