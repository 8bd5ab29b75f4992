"""Monthly figures of the replay: pure functions of the answers and their labels."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from sklearn.metrics import roc_auc_score


@dataclass(frozen=True)
class Answered:
    """One flight: the endpoint's score, the release that gave it, and whether the flight was late."""

    flight: str
    day: date
    late: int
    score: float
    release: str


@dataclass(frozen=True)
class Month:
    """A month's AUC with the loop and for the first version alone, on the same flights.

    Attributes:
        first: The month's first day.
        flights: How many flights were scored.
        loop: AUC of the versions that were live.
        never: AUC of the first version.
        releases: The releases that answered, in their order.
    """

    first: date
    flights: int
    loop: float
    never: float
    releases: tuple[str, ...]

    @property
    def gain(self) -> float:
        """The loop's AUC less the first version's."""
        return self.loop - self.never


def write_answers(path: Path, answers: Iterable[Answered]) -> None:
    """Write a day's answers. The file appears when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([one.flight, one.late, repr(one.score), one.release] for one in answers)
    partial.rename(path)


def read_answers(folder: Path) -> list[Answered]:
    """Return the answers of all days, in order."""
    found = []
    for path in sorted(folder.glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            for flight, late, score, release in csv.reader(file):
                found.append(Answered(flight, date.fromisoformat(path.stem), int(late), float(score), release))
    return found


def months(answered: Sequence[Answered], never: Mapping[str, float]) -> list[Month]:
    """Return the AUC of both by month.

    Args:
        answered: The endpoint's answers.
        never: The first version's score by flight.

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
    """Return the largest difference between the endpoint's answers and the first version's scores while it was live.

    Both come from the same model, so anything beyond rounding means that the comparison is wrong.
    """
    first = answered[0].release
    return max(abs(one.score - never[one.flight]) for one in answered if one.release == first)


def rows(found: Sequence[Month]) -> list[tuple[str, ...]]:
    """Return the rows of the monthly table. The last one is the mean of the months."""
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
