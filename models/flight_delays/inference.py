"""Serve the model: the four functions that SageMaker's inference toolkit calls, and `explain_fn` for monitoring.

A request carries rows of `features.COLUMNS`, in order: `text/csv` (empty field: missing), or `application/json` as
`{"instances": [[…], …]}` (null: missing). The answer is each flight's probability of landing late.

What a handler raises is HTTP 500, which counts as the endpoint's own fault and rolls a good release back. So a mistake
in the request is no exception here: it becomes a `Refusal`, which `output_fn` answers with a 4xx and a sentence.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xgboost
from features import COLUMNS, FEATURE_TYPES, encode
from numpy.typing import NDArray

CSV, JSON = "text/csv", "application/json"
THREADS = 1
"""A request has few rows, so more threads would cost time; the server answers several requests at once."""


class Model(NamedTuple):
    """A booster and the vocabulary it was trained with."""

    booster: xgboost.Booster
    vocabulary: dict[str, list[str]]


class Refusal(NamedTuple):
    """A request that is wrong: the HTTP status and the sentence to answer with."""

    status: int
    reason: str


def model_fn(model_dir: str) -> Model:
    """Load what train.py saved."""
    folder = Path(model_dir)
    booster = xgboost.Booster({"nthread": THREADS}, model_file=folder / "model.ubj")
    return Model(booster, json.loads((folder / "vocabulary.json").read_text(encoding="utf-8")))


def input_fn(body: str | bytes, content_type: str) -> list[list[str]] | Refusal:
    """Return the request's rows, as strings, or why it cannot be read."""
    media_type = (content_type or "").partition(";")[0].strip().lower()
    if media_type not in (CSV, JSON):
        return Refusal(415, f"content type {content_type!r} is not supported, send {CSV} or {JSON}")
    try:
        text = body.decode("utf-8") if isinstance(body, bytes) else body
        rows = json_rows(text) if media_type == JSON else [row for row in csv.reader(text.splitlines()) if row]
    except (ValueError, csv.Error) as error:
        return Refusal(400, f"the request cannot be read: {error}")
    return rows or Refusal(400, f"the request has no rows; a row is {', '.join(COLUMNS)}")


def json_rows(text: str) -> list[list[str]]:
    """Return the rows of `{"instances": [[…], …]}`."""
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"the request is not JSON: {error}") from None
    instances = document.get("instances") if isinstance(document, dict) else None
    if not isinstance(instances, list) or not all(isinstance(row, list) for row in instances):
        raise ValueError('a JSON request is {"instances": [[…], …]}, one list a row')
    return [[json_field(value) for value in row] for row in instances]


def json_field(value: Any) -> str:
    """Return a JSON value as the field of a row."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"a field is a string, a number or null, not {value!r}")
    return str(value)


def matrix(rows: list[list[str]], model: Model) -> xgboost.DMatrix:
    """Return the rows as input of the booster."""
    return xgboost.DMatrix(
        encode(rows, model.vocabulary),
        feature_names=list(COLUMNS),
        feature_types=FEATURE_TYPES,
        enable_categorical=True,
        nthread=THREADS,
    )


def predict_fn(rows: list[list[str]] | Refusal, model: Model) -> list[float] | Refusal:
    """Return the probability of landing late, row by row."""
    if isinstance(rows, Refusal):
        return rows
    try:
        data = matrix(rows, model)
    except ValueError as error:
        return Refusal(400, str(error))
    return [float(probability) for probability in model.booster.predict(data)]


def explain_fn(rows: list[list[str]], model: Model) -> NDArray[np.float32]:
    """Return the SHAP values in log odds, then the expected value: shape (rows, features + 1)."""
    # The monitor explains thousands of rows in a job of its own: use all cores.
    model.booster.set_param({"nthread": 0})
    contributions: NDArray[np.float32] = model.booster.predict(matrix(rows, model), pred_contribs=True)
    return contributions


def output_fn(probabilities: list[float] | Refusal, accept: str) -> Any:
    """Return the answer's body and content type, CSV unless JSON is asked for; a refusal as the server's response."""
    if isinstance(probabilities, Refusal):
        return refused(probabilities)
    wanted = [part.partition(";")[0].strip().lower() for part in (accept or CSV).split(",")]
    for media_type in wanted:
        if media_type == JSON:
            return json.dumps({"predictions": probabilities}), JSON
        if media_type in (CSV, "text/*", "*/*"):
            return "".join(f"{probability!r}\n" for probability in probabilities), CSV
    return refused(Refusal(406, f"cannot answer as {accept!r}, accept {CSV} or {JSON}"))


def refused(refusal: Refusal) -> Any:
    """Return the model server's own response with a refusal's status and sentence."""
    from sagemaker_containers.beta.framework import worker  # only the model server has it

    return worker.Response(response=f"{refusal.reason}\n", status=refusal.status, mimetype="text/plain")
