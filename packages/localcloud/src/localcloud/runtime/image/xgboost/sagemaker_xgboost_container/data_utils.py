"""Training channels as DMatrix.

Source: SageMaker Developer Guide, "XGBoost algorithm", "Input/Output interface": CSV without header, label first.
"""

from __future__ import annotations

import csv
import os
import tempfile
from typing import Any

import xgboost as xgb

from sagemaker_algorithm_toolkit.exceptions import UserError

CSV, LIBSVM, PARQUET, RECORDIO_PROTOBUF = "csv", "libsvm", "parquet", "recordio-protobuf"
_NAMES = {
    CSV: CSV,
    LIBSVM: LIBSVM,
    PARQUET: PARQUET,
    RECORDIO_PROTOBUF: RECORDIO_PROTOBUF,
    "text/csv": CSV,
    "text/libsvm": LIBSVM,
    "text/x-libsvm": LIBSVM,
    "application/x-parquet": PARQUET,
    "application/x-recordio-protobuf": RECORDIO_PROTOBUF,
}
VALID_CONTENT_TYPES = list(_NAMES)
_MAX_DEPTH = 3


def get_content_type(content_type_cfg_val: str | None) -> str:
    """Return the format of a ContentType; without one LIBSVM."""
    if content_type_cfg_val is None:
        return LIBSVM
    media_type, *parameters = (part.strip() for part in content_type_cfg_val.lower().split(";"))
    kind = _NAMES.get(media_type)
    if kind is None:
        raise UserError(f"{content_type_cfg_val} is not an accepted ContentType: {', '.join(_NAMES)}.")
    sizes = [one.partition("=")[2].strip() for one in parameters if one.startswith("label_size")]
    if kind == CSV and any(size != "1" for size in sizes):
        raise UserError(
            f"{content_type_cfg_val} is not an accepted csv ContentType. "
            "Optional parameter label_size must be equal to 1"
        )
    return kind


def data_files(data_path: str | list[str]) -> list[str]:
    """Return the data files of a channel, or of several; folders count to a depth of three."""
    found = []
    for path in [data_path] if isinstance(data_path, str) else data_path:
        if os.path.isfile(path):
            found.append(path)
        for folder, _, names in sorted(os.walk(path)):
            depth = len(os.path.relpath(folder, path).split(os.sep)) if folder != path else 0
            if depth < _MAX_DEPTH:
                found += [os.path.join(folder, name) for name in sorted(names) if _is_data(name)]
    return found


def _is_data(name: str) -> bool:
    return not name.startswith((".", "_")) and not (".cache" in name and ("dtrain" in name or "dval" in name))


def get_size(data_path: str, is_pipe: bool = False) -> int:  # noqa: ARG001 (the container's signature)
    """Return the bytes in a channel's folder, 0 where it does not exist.

    Raises:
        UserError: a file's name begins with a dot.
    """
    if os.path.isfile(data_path):
        return os.path.getsize(data_path)
    total = 0
    for folder, _, names in os.walk(data_path):
        if any(name.startswith(".") for name in names):
            raise UserError("Hidden file found in the data path! Remove that before training.")
        total += sum(os.path.getsize(os.path.join(folder, name)) for name in names)
    return total


def get_dmatrix(data_path: str | list[str], content_type: str, csv_weights: int = 0, is_pipe: bool = False) -> Any:
    """Return a channel as one DMatrix, label first; None where it does not exist.

    Args:
        data_path: a file, a folder, or several folders.
        content_type: `csv`, `libsvm`, `parquet`, or a media type.
        csv_weights: 1 where the second column of CSV data holds the weights.
        is_pipe: pipe mode, which the container has no more.
    """
    kind = get_content_type(content_type)
    if is_pipe:
        raise UserError(f"Pipe mode for {kind} is no longer supported. Please use Fast File mode (default) instead.")
    if isinstance(data_path, str) and not os.path.exists(data_path):
        return None
    files = data_files(data_path)
    if not files:
        return None
    matrix = _read_parquet(files) if kind == PARQUET else _read_text(files, kind, csv_weights)
    if matrix.get_label().size == 0:
        raise UserError("Got input data without labels. Please check the input data set.")
    return matrix


def _read_text(files: list[str], kind: str, csv_weights: int) -> Any:
    """Read text by XGBoost's own parser, which takes one folder."""
    if kind == RECORDIO_PROTOBUF:
        raise UserError(f"{kind} is not supported by the local cloud's stand-in.")
    options = f"format={kind}"
    for path in files:
        _check_first_line(path, kind)
    if kind == CSV:
        options += f"&label_column=0&delimiter={_delimiter(files[0])}{'&weight_column=1' if csv_weights == 1 else ''}"
    with tempfile.TemporaryDirectory() as folder:
        for number, path in enumerate(files):
            os.symlink(path, os.path.join(folder, f"{number:06}"))
        try:
            return xgb.DMatrix(f"{folder}?{options}")
        except Exception as error:
            raise UserError(f"Failed to load {kind} data with exception:\n{error}") from error


def _first_line(path: str) -> str:
    with open(path, errors="ignore") as file:
        return file.readline()


def _delimiter(path: str) -> str:
    line = _first_line(path)
    try:
        return csv.Sniffer().sniff(line).delimiter
    except csv.Error as error:
        raise UserError(f"Could not determine delimiter on line {line[:50]}:\n{error}") from error


def _check_first_line(path: str, kind: str) -> None:
    if kind == CSV:
        _delimiter(path)
        return
    label, *features = _first_line(path).split()[:2] or [""]
    try:
        numbers = [float(part) for part in label.split(":")]
    except ValueError:
        numbers = []
    if not 1 <= len(numbers) <= 2 or any(feature.count(":") != 1 for feature in features):
        raise UserError(
            f"First line '{_first_line(path)[:50]}...' of file '{os.path.basename(path)}' is not 'LIBSVM' format. "
            "Please ensure the file is in 'LIBSVM' format."
        )


def _read_parquet(files: list[str]) -> Any:
    import pandas as pd

    try:
        table = pd.concat([pd.read_parquet(path) for path in files]).to_numpy()
        return xgb.DMatrix(table[:, 1:], label=table[:, 0])
    except Exception as error:
        raise UserError(f"Failed to load parquet data with exception:\n{error}") from error
