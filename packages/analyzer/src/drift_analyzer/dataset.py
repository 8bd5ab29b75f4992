"""Reference data from files: CSV with a header, JSON lines, Parquet, or data capture, in time order."""

import csv
import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from drift_analyzer.baseline import Column, infer
from drift_analyzer.capture import Bad, read_records
from drift_analyzer.jsonio import loads
from drift_analyzer.records import BadRecord, Record, json_rows

FORMATS = ("csv", "json", "parquet", "sagemakerCaptureJson", "sagemakerMergeJson")


class BadDataset(ValueError):
    """Data that cannot be read; the message says which file and why."""


def files(folder: Path, pattern: str = "*") -> list[Path]:
    """The data files of a folder, or the file itself, in the order of their names, which is that of time in capture."""
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise BadDataset(f"{folder} is neither a file nor a folder")
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith((".", "_")) and fnmatch.fnmatch(path.name, pattern)
    )
    if not found:
        raise BadDataset(f"{folder} holds no file {pattern}")
    return found


def opened(paths: Sequence[Path]) -> Iterator[tuple[str, BinaryIO]]:
    for path in paths:
        with path.open("rb") as stream:
            yield str(path), stream


def reference(path: Path, kind: str, *, header: bool = True) -> list[Column]:
    """All columns of the reference data.

    Args:
        kind: one of FORMATS, as in `dataset_format`.
        header: CSV only; without one columns are `_c0`, `_c1`, … as the managed engine calls them.
    """
    if kind == "csv":
        return _columns(_csv_rows(files(path), header))
    if kind == "json":
        return _columns(_json_rows(files(path)))
    if kind == "parquet":
        return _parquet(files(path))
    if kind == "sagemakerCaptureJson":
        return _captured(path)
    raise BadDataset(f"a baseline is built from csv, json, parquet or sagemakerCaptureJson, got {kind!r}")


def table_rows(path: Path, kind: str, *, header: bool = True) -> Iterator[Mapping[str, Any]]:
    """Rows of reference or merged data as mappings by column name."""
    if kind == "csv":
        yield from _csv_rows(files(path), header)
    elif kind == "json":
        yield from _json_rows(files(path))
    elif kind == "parquet":
        columns = _parquet(files(path))
        cells = [column.numbers if column.numbers is not None else column.strings or () for column in columns]
        for values in zip(*cells, strict=True):
            yield dict(zip((column.name for column in columns), values, strict=True))
    else:
        raise BadDataset(f"rows are read from csv, json or parquet, got {kind!r}")


def _csv_rows(paths: Sequence[Path], header: bool) -> Iterator[Mapping[str, str]]:
    for path in paths:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.reader(stream)
            names: list[str] = []
            for row in rows:
                if not row:
                    continue
                if not names:
                    names = [name.strip() for name in row] if header else [f"_c{index}" for index in range(len(row))]
                    if len(set(names)) != len(names):
                        raise BadDataset(f"{path}: two columns have the same name")
                    if header:
                        continue
                if len(row) != len(names):
                    raise BadDataset(f"{path}:{rows.line_num}: {len(row)} columns, expected {len(names)}")
                yield dict(zip(names, row, strict=True))


def _json_rows(paths: Sequence[Path]) -> Iterator[Mapping[str, Any]]:
    for path in paths:
        try:
            for row in json_rows(path.read_text("utf-8")):
                yield row if isinstance(row, Mapping) else {f"_c{index}": cell for index, cell in enumerate(row)}
        except BadRecord as reason:
            raise BadDataset(f"{path}: {reason}") from None


def _columns(rows: Iterator[Mapping[str, Any]]) -> list[Column]:
    collected: dict[str, list[Any]] = {}
    count = 0
    for row in rows:
        for name in row:
            if name not in collected:
                collected[name] = [None] * count
        for name, cells in collected.items():
            cells.append(row.get(name))
        count += 1
    if not count:
        raise BadDataset("the reference data has no rows")
    return [infer(name, collected.pop(name)) for name in list(collected)]


def _parquet(paths: Sequence[Path]) -> list[Column]:
    try:
        import pandas
    except ImportError:
        raise BadDataset("Parquet needs pandas, which is not installed here; use csv or json") from None
    frame = pandas.concat([pandas.read_parquet(path) for path in paths])
    return [infer(str(name), frame[name].astype(object).where(frame[name].notna(), None).tolist()) for name in frame]


def _captured(path: Path) -> list[Column]:
    inputs: list[Any] = []
    outputs: list[Any] = []
    for record in read_records(opened(files(path, "*.jsonl"))):
        if isinstance(record, Bad) or record.inputs is None:
            continue
        inputs += record.inputs
        outputs += record.outputs or [None] * len(record.inputs)
    if not inputs:
        raise BadDataset(f"{path} holds no captured request")
    columns = _positional(inputs, "endpointInput", "input")
    return columns + (_positional(outputs, "endpointOutput", "output") if all(outputs) else [])


def _positional(rows: Sequence[Any], prefix: str, source: str) -> list[Column]:
    first = rows[0]
    if isinstance(first, Mapping):
        return [infer(name, [row.get(name) for row in rows], source) for name in first]
    if any(len(row) != len(first) for row in rows):
        raise BadDataset("captured rows differ in width; name a CSV reference instead")
    return [infer(f"{prefix}_{index}", [row[index] for row in rows], source) for index in range(len(first))]


def read_json(path: Path) -> Any:
    """A JSON file. Raises BadDataset with the reason in one line."""
    try:
        return loads(path.read_bytes())
    except OSError as error:
        raise BadDataset(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise BadDataset(f"{path} is not JSON: {error}") from error


__all__ = ["FORMATS", "BadDataset", "Record", "files", "opened", "read_json", "reference", "table_rows"]
