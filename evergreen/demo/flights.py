"""The flights day by day, as they land in the data bucket, and as the requests that ask for them."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby
from pathlib import Path

from evergreen.demo.training import Model

_COLUMNS = slice(2, -1)  # of a raw row: behind identifier and time, before the label


@dataclass(frozen=True)
class Request:
    """The departures of one hour, asked for together: one line of CSV a flight."""

    id: str
    flights: tuple[str, ...]
    rows: tuple[str, ...]
    labels: tuple[int, ...]

    @property
    def body(self) -> bytes:
        return "".join(f"{row}\n" for row in self.rows).encode()


def cut(model: Model, folder: Path, first: date, last: date) -> None:
    """Write the raw objects of these days below the folder, unless they are there: `raw/dt=YYYY-MM-DD/flights.csv`."""
    if all(raw_file(folder, day).exists() for day in (first, last)):
        return
    command = [sys.executable, str(model.folder / "data.py"), "--out", str(folder)]
    period = ["--start", first.isoformat(), "--end", last.isoformat()]
    subprocess.run([*command, *period], check=True, stdout=subprocess.DEVNULL)


def raw_file(folder: Path, day: date) -> Path:
    return folder / "raw" / f"dt={day.isoformat()}" / "flights.csv"


def requests(path: Path) -> list[Request]:
    """A day's requests. A flight that never landed has no label, so nobody could say whether its answer was right."""
    with path.open(newline="", encoding="utf-8") as file:
        landed = [row for row in list(csv.reader(file))[1:] if row[-1]]
    landed.sort(key=_hour)
    return [_request(hour, list(rows)) for hour, rows in groupby(landed, key=_hour)]


def one_by_one(batches: Sequence[Request]) -> list[Request]:
    """The same flights, each in a request of its own."""
    return [
        Request(flight, (flight,), (row,), (label,))
        for batch in batches
        for flight, row, label in zip(batch.flights, batch.rows, batch.labels, strict=True)
    ]


def opening(batches: Sequence[Request], single: int) -> list[Request]:
    """The first hours flight by flight, until `single` flights were asked for; the others hour by hour."""
    asked, found = 0, []
    for batch in batches:
        found += one_by_one([batch]) if asked < single else [batch]
        asked += len(batch.flights)
    return found


def _hour(row: Sequence[str]) -> str:
    return row[1][:13]


def _request(hour: str, rows: Sequence[Sequence[str]]) -> Request:
    return Request(
        id=hour,
        flights=tuple(row[0] for row in rows),
        rows=tuple(",".join(row[_COLUMNS]) for row in rows),
        labels=tuple(int(row[-1]) for row in rows),
    )


def days(first: date, last: date) -> Iterator[date]:
    """From the first to the last, both included."""
    return (first + timedelta(days=number) for number in range((last - first).days + 1))
