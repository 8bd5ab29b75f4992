"""Score with the packaged model beside this file: `python code/score.py <raw folder> <scores.csv> [<payload.csv>]`.

evaluate.py runs the copy in a model's own archive, so every candidate is scored with its own preprocessing and serving
functions. All versions of the model write the same format: `identifier,late,score`. The scores of a sample payload are
written to `payload_scores.csv` in the same folder, one a line.
"""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path

from inference import CSV, Model, Refusal, input_fn, model_fn, output_fn, predict_fn
from preprocess import labelled


def answers(model: Model, requests: str) -> list[str]:
    """Return what the endpoint would answer to one CSV request, row by row.

    Raises:
        ValueError: The endpoint would refuse the request.
    """
    probabilities = predict_fn(input_fn(requests, CSV), model)
    if isinstance(probabilities, Refusal):
        raise ValueError(probabilities.reason)
    answer: str
    answer, _ = output_fn(probabilities, CSV)
    return answer.split()


def main(raw: Path, scores: Path, payload: Path | None = None) -> None:
    """Score the labelled flights with the serving functions, then the sample payload, if there is one."""
    model = model_fn(str(Path(__file__).resolve().parent.parent))
    flights = list(labelled(raw))
    body = io.StringIO()
    csv.writer(body, lineterminator="\n").writerows(flight.request for flight in flights)
    with scores.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        for flight, score in zip(flights, answers(model, body.getvalue()), strict=True):
            writer.writerow([flight.identifier, flight.late, score])
    if payload:
        lines = "".join(f"{score}\n" for score in answers(model, payload.read_text(encoding="utf-8")))
        scores.with_name("payload_scores.csv").write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
