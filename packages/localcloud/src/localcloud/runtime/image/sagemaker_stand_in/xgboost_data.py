"""Training channels and request bodies of XGBoost's container, as CSV, LIBSVM or Parquet.

Source: SageMaker Developer Guide, "XGBoost algorithm", "Input/Output interface": CSV without header, label first.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import xgboost as xgb

from .codec import UnsupportedFormatError, media_type

_NAMES = {
    "csv": "csv",
    "text/csv": "csv",
    "libsvm": "libsvm",
    "text/libsvm": "libsvm",
    "text/x-libsvm": "libsvm",
    "parquet": "parquet",
    "application/x-parquet": "parquet",
}


class DataError(Exception):
    """The data have a format that the container does not read."""


def channel_format(content_type: str | None) -> str:
    """Return `csv`, `libsvm` or `parquet` for a channel's ContentType; without one LIBSVM, as in the container."""
    if content_type is None:
        return "libsvm"
    name = _NAMES.get(media_type(content_type))
    if name is None:
        raise DataError(f"{content_type} is not an accepted ContentType: {', '.join(_NAMES)}.")
    return name


def read_channel(directory: Path, kind: str, *, weights: bool = False, features: int | None = None) -> Any:
    """Return a channel's files as one DMatrix.

    Args:
        directory: the channel's folder.
        kind: `csv`, `libsvm` or `parquet`. The label is the first column.
        weights: the second column holds the weights.
        features: number of features, which LIBSVM does not contain.
    """
    files = [p for p in sorted(directory.rglob("*")) if p.is_file() and not p.name.startswith((".", "_"))]
    if not files:
        raise DataError(f"No data in channel path {directory}")
    if kind == "libsvm":
        return _read_libsvm(files, features)
    try:
        table = np.concatenate([_read_table(path, kind) for path in files])
    except (ValueError, OSError) as error:
        raise DataError(f"Failed to load {kind} data with exception:\n{error}") from error
    first = 2 if weights else 1
    return xgb.DMatrix(table[:, first:], label=table[:, 0], weight=table[:, 1] if weights else None)


def _read_table(path: Path, kind: str) -> Any:
    import pandas as pd

    if kind == "parquet":
        return pd.read_parquet(path).to_numpy(dtype=np.float32)
    return pd.read_csv(path, header=None, dtype=np.float32).to_numpy()


def _read_libsvm(files: list[Path], features: int | None) -> Any:
    from scipy.sparse import vstack
    from sklearn.datasets import load_svmlight_files

    try:
        parts = load_svmlight_files([str(path) for path in files], n_features=features, zero_based=True)
    except ValueError as error:
        raise DataError(f"Failed to load libsvm data with exception:\n{error}") from error
    return xgb.DMatrix(vstack(parts[0::2]), label=np.concatenate(parts[1::2]))


def decode_payload(body: str | bytes, content_type: str) -> Any:
    """Return a request body, which has no labels, as a DMatrix."""
    kind = _NAMES.get(media_type(content_type))
    text = body.decode() if isinstance(body, bytes) else body
    if kind == "csv":
        rows = [[value or "nan" for value in line.strip().split(",")] for line in text.strip().splitlines()]
        return xgb.DMatrix(np.array(rows, dtype=np.float32))
    if kind == "libsvm":
        from sklearn.datasets import load_svmlight_file

        unlabelled = "\n".join(line if ":" not in line.split(" ", 1)[0] else f"0 {line}" for line in text.splitlines())
        return xgb.DMatrix(load_svmlight_file(io.BytesIO(unlabelled.encode()), zero_based=True)[0])
    raise UnsupportedFormatError(content_type)
