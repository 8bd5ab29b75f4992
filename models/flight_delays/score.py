"""Score raw objects with the packaged model beside this file: `python code/score.py <raw folder> <scores.csv>`.

evaluate.py runs the copy in a model's own archive, so every candidate goes through its own preprocessing and through
the functions that serve it. The file it writes is what versions of a model have in common: `identifier,late,score`.
"""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path

from inference import CSV, input_fn, model_fn, output_fn, predict_fn
from preprocess import labelled


def main(raw: Path, scores: Path) -> None:
    """Send the labelled flights through the serving functions, as one CSV request."""
    flights = list(labelled(raw))
    body = io.StringIO()
    csv.writer(body, lineterminator="\n").writerows(flight.request for flight in flights)
    model = model_fn(str(Path(__file__).resolve().parent.parent))
    answer, _ = output_fn(predict_fn(input_fn(body.getvalue(), CSV), model), CSV)
    with scores.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        for flight, score in zip(flights, answer.split(), strict=True):
            writer.writerow([flight.identifier, flight.late, score])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
