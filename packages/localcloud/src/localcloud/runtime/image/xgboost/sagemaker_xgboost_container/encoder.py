"""Request bodies as DMatrix."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import xgboost as xgb
from sagemaker_containers import _content_types, _errors


def csv_to_dmatrix(input: str | bytes, dtype: Any = None) -> Any:
    """Return CSV rows without labels and without line breaks around them; an empty field is a missing value."""
    text = input.decode() if isinstance(input, bytes) else input
    lines = text.split("\n")
    found = csv.Sniffer().sniff(lines[0][:512]).delimiter
    delimiter = "," if found.isalnum() else found
    rows = [[field or "nan" for field in line.split(delimiter)] for line in lines]
    return xgb.DMatrix(np.array(rows).astype(dtype))


def libsvm_to_dmatrix(string_like: str | bytes) -> Any:
    """Return LIBSVM rows; indices that begin at one are shifted to zero."""
    text = string_like.decode() if isinstance(string_like, (bytes, bytearray)) else string_like
    rows = [
        {int(index): float(value) for index, _, value in (item.partition(":") for item in line.split() if ":" in item)}
        for line in text.strip().split("\n")
    ]
    indices = [index for row in rows for index in row]
    if not indices:
        return xgb.DMatrix(np.empty((0, 0)))
    offset = 1 if min(indices) >= 1 else 0
    table = np.zeros((len(rows), max(indices) - offset + 1))
    for number, row in enumerate(rows):
        for index, value in row.items():
            table[number, index - offset] = value
    return xgb.DMatrix(table)


_DECODERS: dict[str, Callable[[Any], Any]] = {
    _content_types.CSV: csv_to_dmatrix,
    "text/libsvm": libsvm_to_dmatrix,
    "text/x-libsvm": libsvm_to_dmatrix,
}


def decode(obj: Any, content_type: str) -> Any:
    """Return a body of one of the content types that the default `input_fn` reads."""
    media_type = content_type.partition(";")[0].strip()
    if media_type not in _DECODERS:
        raise _errors.UnsupportedFormatError(media_type)
    return _DECODERS[media_type](obj)


def json_to_jsonlines(json_data: Any) -> bytes:
    """Return the entries of a JSON object's only list, one a line."""
    values = json_data if isinstance(json_data, dict) else json.loads(json_data)
    if len(values) != 1:
        raise ValueError("JSON response is not compatible for conversion to jsonlines.")
    (entries,) = values.values()
    return "".join(f"{json.dumps(entry)}\n" for entry in entries).encode()
