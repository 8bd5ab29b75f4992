"""Turn raw objects into labelled rows: the first column is the label, the others are a request row.

It runs as a SageMaker processing job. score.py also uses `labelled`, to score a packaged model on raw data. So this
file travels in the model's archive.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from features import COLUMNS, IDENTIFIER, LABEL, RAW_COLUMNS

PROCESSING = Path("/opt/ml/processing")
PAYLOAD_ROWS = 10


class LabelledFlight(NamedTuple):
    """A flight whose outcome is known."""

    identifier: str
    late: int
    request: list[str]


def labelled(folder: Path) -> Iterator[LabelledFlight]:
    """Yield the flights of all raw objects below `folder`, in the order of the objects' names.

    A flight without a label (it never landed) is left out.

    Raises:
        ValueError: An object lacks a column, a field, or carries another label than 0 or 1.
    """
    for path in sorted(folder.rglob("*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            missing = [column for column in RAW_COLUMNS if column not in header]
            if missing:
                raise ValueError(f"{path.parent.name}/{path.name} lacks the columns {', '.join(missing)}")
            identifier, label = header.index(IDENTIFIER), header.index(LABEL)
            request = [header.index(column) for column in COLUMNS]
            for row in reader:
                if len(row) != len(header):
                    raise ValueError(
                        f"{path.parent.name}/{path.name}, line {reader.line_num}: {len(row)} fields, "
                        f"expected {len(header)}"
                    )
                if row[label] not in ("", "0", "1"):
                    raise ValueError(
                        f"{path.parent.name}/{path.name}, line {reader.line_num}: {LABEL} is {row[label]!r}, "
                        "expected 0, 1 or nothing"
                    )
                if row[label]:
                    yield LabelledFlight(row[identifier], int(row[label]), [row[index] for index in request])


def write_rows(path: Path, rows: list[list[str]], header: list[str] | None = None) -> None:
    """Write a CSV file, and create its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if header:
            writer.writerow(header)
        writer.writerows(rows)


def main() -> None:
    """Label both splits and keep a few requests of the holdout as the sample payload."""
    for split in ("train", "holdout"):
        flights = list(labelled(PROCESSING / "input" / split))
        if not flights:
            raise ValueError(f"no flight in the {split} window has landed: nothing to learn from")
        rows = [[str(flight.late), *flight.request] for flight in flights]
        write_rows(PROCESSING / "output" / split / f"{split}.csv", rows, [LABEL, *COLUMNS])
        if split == "holdout":
            requests = [flight.request for flight in flights[:PAYLOAD_ROWS]]
            write_rows(PROCESSING / "output" / "payload" / "payload.csv", requests)
        late = sum(flight.late for flight in flights)
        print(f"{split}: {len(flights)} flights, {late / len(flights):.1%} late", flush=True)


if __name__ == "__main__":
    main()
