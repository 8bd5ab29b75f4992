"""The columns of a raw object and of a request, and the encoding of a request row as numbers.

This file travels in the model's archive, so a model is always served and scored with the encoding of its training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

CATEGORIES = ("carrier", "origin", "dest")
NUMBERS = (
    "distance",
    "departure_minute",
    "arrival_minute",
    "weekday",
    "temp",
    "dewp",
    "humid",
    "wind_dir",
    "wind_speed",
    "precip",
    "pressure",
    "visib",
)
COLUMNS = CATEGORIES + NUMBERS
"""A request row, in this order: `data.columns` of model.yaml."""
FEATURE_TYPES = ["c"] * len(CATEGORIES) + ["q"] * len(NUMBERS)
"""XGBoost's feature types, column by column."""

IDENTIFIER = "flight_id"
LABEL = "late"
"""1: lands more than 15 minutes late, 0: does not, empty: never landed, or not yet. `target` of model.yaml."""
RAW_COLUMNS = (IDENTIFIER, "scheduled_at", *COLUMNS, LABEL)

Vocabulary = Mapping[str, Sequence[str]]
Matrix = NDArray[np.float32]


def vocabulary(rows: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    """Return the values of each categorical column, sorted: a value's position is its code."""
    return {
        column: sorted({row[index] for row in rows} - {""})
        for index, column in enumerate(COLUMNS)
        if column in CATEGORIES
    }


def encode(rows: Sequence[Sequence[str]], known: Vocabulary) -> Matrix:
    """Return request rows as a matrix of shape (rows, columns).

    An empty field and a category that was not in the training data become NaN, which XGBoost treats as missing.

    Raises:
        ValueError: A row with the wrong number of fields, or a field of a numeric column that is not a finite number.
    """
    for number, row in enumerate(rows, start=1):
        if len(row) != len(COLUMNS):
            raise ValueError(f"row {number} has {len(row)} fields, expected {len(COLUMNS)}: {', '.join(COLUMNS)}")
    matrix = np.empty((len(rows), len(COLUMNS)), dtype=np.float32)
    for index, column in enumerate(COLUMNS):
        values = [row[index] for row in rows]
        if column in CATEGORIES:
            codes = {value: float(code) for code, value in enumerate(known[column])}
            matrix[:, index] = [codes.get(value, math.nan) for value in values]
        else:
            matrix[:, index] = numbers(column, values)
    return matrix


def numbers(column: str, values: Sequence[str]) -> list[float]:
    """Return one numeric column; an empty field is NaN."""
    result = []
    for number, value in enumerate(values, start=1):
        try:
            parsed = float(value) if value else math.nan
        except ValueError:
            raise ValueError(f"row {number}, {column}: {value!r} is not a number") from None
        if math.isinf(parsed):
            raise ValueError(f"row {number}, {column}: {value!r} is not a finite number")
        result.append(parsed)
    return result
