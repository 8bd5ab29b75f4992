"""The flights of each day, as raw objects and as requests to the endpoint."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby
from pathlib import Path

from evergreen.demo.training import folder_of
from evergreen.names import Names

_COLUMNS = slice(2, -1)  # the features of a raw row: after identifier and time, before the label


@dataclass(frozen=True)
class Request:
    """A request with the departures of one hour, one CSV line for each flight."""

    id: str
    flights: tuple[str, ...]
    rows: tuple[str, ...]
    labels: tuple[int, ...]

    @property
    def body(self) -> bytes:
        """The request's body."""
        return "".join(f"{row}\n" for row in self.rows).encode()


def cut(model: Names, folder: Path, first: date, last: date) -> None:
    """Write each day's raw object to `raw/dt=YYYY-MM-DD/flights.csv` below the folder, unless they exist."""
    if all(raw_file(folder, day).exists() for day in (first, last)):
        return
    command = [sys.executable, str(folder_of(model) / "data.py"), "--out", str(folder)]
    period = ["--start", first.isoformat(), "--end", last.isoformat()]
    subprocess.run([*command, *period], check=True, stdout=subprocess.DEVNULL)


def raw_file(folder: Path, day: date) -> Path:
    """Return the path of a day's raw object."""
    return folder / "raw" / f"dt={day.isoformat()}" / "flights.csv"


def requests(path: Path) -> list[Request]:
    """Return a day's requests. Flights that never landed are left out: without a label no answer can be judged."""
    with path.open(newline="", encoding="utf-8") as file:
        landed = [row for row in list(csv.reader(file))[1:] if row[-1]]
    landed.sort(key=_hour)
    return [_request(hour, list(rows)) for hour, rows in groupby(landed, key=_hour)]


def one_by_one(batches: Sequence[Request]) -> list[Request]:
    """Return the same flights with one request for each."""
    return [
        Request(flight, (flight,), (row,), (label,))
        for batch in batches
        for flight, row, label in zip(batch.flights, batch.rows, batch.labels, strict=True)
    ]


def opening(batches: Sequence[Request], single: int) -> list[Request]:
    """Return the first hours with one request for each flight, up to `single` flights, and the others by hour."""
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
    """Yield the days from the first to the last, both included."""
    return (first + timedelta(days=number) for number in range((last - first).days + 1))
