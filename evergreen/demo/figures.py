"""What the replay comes to, month by month: pure functions over what was asked, answered and labelled."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from sklearn.metrics import roc_auc_score


@dataclass(frozen=True)
class Answered:
    """One flight: what the endpoint answered on its day, by which release, and what came of it."""

    flight: str
    day: date
    late: int
    score: float
    release: str


@dataclass(frozen=True)
class Month:
    """A month's AUC of the loop and of the first version, on the same flights.

    Attributes:
        first: the month's first day.
        releases: those that answered, in their order.
    """

    first: date
    flights: int
    loop: float
    never: float
    releases: tuple[str, ...]

    @property
    def gain(self) -> float:
        return self.loop - self.never


def write_answers(path: Path, answers: Iterable[Answered]) -> None:
    """Keep a day's answers; the file is there when all of them are in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([one.flight, one.late, repr(one.score), one.release] for one in answers)
    partial.rename(path)


def read_answers(folder: Path) -> list[Answered]:
    """All days' answers, in order of the days."""
    found = []
    for path in sorted(folder.glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            for flight, late, score, release in csv.reader(file):
                found.append(Answered(flight, date.fromisoformat(path.stem), int(late), float(score), release))
    return found


def months(answered: Sequence[Answered], never: Mapping[str, float]) -> list[Month]:
    """Both models' AUC by month.

    Args:
        never: the first version's score by flight.

    Raises:
        KeyError: The first version has no score for a flight that was answered.
    """
    found = []
    for first in sorted({one.day.replace(day=1) for one in answered}):
        of_month = [one for one in answered if one.day.replace(day=1) == first]
        labels = [one.late for one in of_month]
        found.append(
            Month(
                first=first,
                flights=len(of_month),
                loop=float(roc_auc_score(labels, [one.score for one in of_month])),
                never=float(roc_auc_score(labels, [never[one.flight] for one in of_month])),
                releases=tuple(dict.fromkeys(one.release for one in of_month)),
            )
        )
    return found


def disagreement(answered: Sequence[Answered], never: Mapping[str, float]) -> float:
    """By how much the endpoint's answers differ from the first version's scores while that version was live.

    It is the same model by two ways: anything beyond rounding means that the comparison compares something else.
    """
    first = answered[0].release
    return max(abs(one.score - never[one.flight]) for one in answered if one.release == first)


def rows(found: Sequence[Month]) -> list[tuple[str, ...]]:
    """The closing table's rows, the mean of the months last."""
    lines = [
        (f"{m.first:%B}", f"{m.flights:,}", f"{m.loop:.3f}", f"{m.never:.3f}", f"{m.gain:+.3f}", _versions(m.releases))
        for m in found
    ]
    loop, never = (sum(values) / len(found) for values in ([m.loop for m in found], [m.never for m in found]))
    total = f"{sum(m.flights for m in found):,}"
    return [*lines, ("mean", total, f"{loop:.3f}", f"{never:.3f}", f"{loop - never:+.3f}", "")]


HEAD = ("month", "flights", "loop", "never retrained", "gain", "versions")


def _versions(releases: Sequence[str]) -> str:
    return ", ".join(release.split("-")[0] for release in releases)
