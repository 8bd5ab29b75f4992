"""Serve the model: the four functions that SageMaker's inference toolkit calls, and `explain_fn` for monitoring.

A request carries rows of `features.COLUMNS`, in order: `text/csv` (empty field: missing), or `application/json` as
`{"instances": [[…], …]}` (null: missing). The answer is each flight's probability of landing late.
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


def model_fn(model_dir: str) -> Model:
    """Load what train.py saved."""
    folder = Path(model_dir)
    booster = xgboost.Booster({"nthread": THREADS}, model_file=folder / "model.ubj")
    return Model(booster, json.loads((folder / "vocabulary.json").read_text(encoding="utf-8")))


def input_fn(body: str | bytes, content_type: str) -> list[list[str]]:
    """Return request rows, as strings.

    Raises:
        ValueError: Another content type, no rows, or JSON of another shape.
    """
    text = body.decode("utf-8") if isinstance(body, bytes) else body
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == CSV:
        rows = [row for row in csv.reader(text.splitlines()) if row]
    elif media_type == JSON:
        rows = json_rows(text)
    else:
        raise ValueError(f"content type {content_type!r} is not supported, send {CSV} or {JSON}")
    if not rows:
        raise ValueError(f"the request has no rows; a row is {', '.join(COLUMNS)}")
    return rows


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


def predict_fn(rows: list[list[str]], model: Model) -> list[float]:
    """Return the probability of landing late for each row."""
    return [float(probability) for probability in model.booster.predict(matrix(rows, model))]


def explain_fn(rows: list[list[str]], model: Model) -> NDArray[np.float32]:
    """Return the SHAP values in log odds, then the expected value: shape (rows, features + 1)."""
    # The monitor explains thousands of rows in a job of its own: use all cores.
    model.booster.set_param({"nthread": 0})
    contributions: NDArray[np.float32] = model.booster.predict(matrix(rows, model), pred_contribs=True)
    return contributions


def output_fn(probabilities: list[float], accept: str) -> tuple[str, str]:
    """Return the body of the answer and its content type; CSV unless JSON is requested.

    Raises:
        ValueError: The client accepts neither.
    """
    wanted = [part.partition(";")[0].strip().lower() for part in (accept or CSV).split(",")]
    for media_type in wanted:
        if media_type == JSON:
            return json.dumps({"predictions": probabilities}), JSON
        if media_type in (CSV, "text/*", "*/*"):
            return "".join(f"{probability!r}\n" for probability in probabilities), CSV
    raise ValueError(f"cannot answer as {accept!r}, accept {CSV} or {JSON}")
