"""Read reference data in time order: CSV with a header, JSON lines, Parquet, or data capture."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from drift_analyzer.baseline_builder import ReferenceColumn, infer_column
from drift_analyzer.capture_reader import BadRecord, read_records
from drift_analyzer.capture_records import UnreadableRecordError, json_rows
from drift_analyzer.input_files import DatasetError, list_files, open_files


def read_reference(path: Path, data_format: str, *, header: bool = True) -> list[ReferenceColumn]:
    """Read all columns of the reference data.

    Args:
        path: A file, or a folder whose files are read in the order of their names.
        data_format: csv, json, parquet or sagemakerCaptureJson.
        header: Whether CSV files have a header. Without one, columns are `_c0`, `_c1`, … as Model Monitor names them.

    Raises:
        DatasetError: The data cannot be read.
    """
    if data_format == "csv":
        return _columns(_csv_rows(list_files(path), header))
    if data_format == "json":
        return _columns(_json_rows(list_files(path)))
    if data_format == "parquet":
        return _parquet(list_files(path))
    if data_format == "sagemakerCaptureJson":
        return _captured(path)
    raise DatasetError(f"a baseline is built from csv, json, parquet or sagemakerCaptureJson, got {data_format!r}")


def unnamed(index: int) -> str:
    """Return the name of a column without one, as Model Monitor names it."""
    return f"_c{index}"


def read_rows(path: Path, data_format: str, *, header: bool = True) -> Iterator[Mapping[str, Any]]:
    """Yield the rows as mappings by column name.

    Raises:
        DatasetError: The data cannot be read, or are not in csv, json or parquet.
    """
    if data_format == "csv":
        yield from _csv_rows(list_files(path), header)
    elif data_format == "json":
        yield from _json_rows(list_files(path))
    elif data_format == "parquet":
        columns = _parquet(list_files(path))
        cells = [column.numbers if column.numbers is not None else column.strings or () for column in columns]
        for values in zip(*cells, strict=True):
            yield dict(zip((column.name for column in columns), values, strict=True))
    else:
        raise DatasetError(f"rows are read from csv, json or parquet, got {data_format!r}")


def _csv_rows(paths: Sequence[Path], header: bool) -> Iterator[Mapping[str, str]]:
    for path in paths:
        try:
            yield from _csv_rows_of(path, header)
        except (csv.Error, UnicodeDecodeError) as error:
            raise DatasetError(f"{path} is not CSV in UTF-8: {error}") from None


def _csv_rows_of(path: Path, header: bool) -> Iterator[Mapping[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.reader(stream)
        names: list[str] = []
        for row in rows:
            if not row:
                continue
            if not names:
                names = [name.strip() if header else "" for name in row]
                names = [name or unnamed(index) for index, name in enumerate(names)]
                if len(set(names)) != len(names):
                    raise DatasetError(f"{path}: two columns have the same name")
                if header:
                    continue
            if len(row) != len(names):
                raise DatasetError(f"{path}:{rows.line_num}: {len(row)} columns, expected {len(names)}")
            yield dict(zip(names, row, strict=True))


def _json_rows(paths: Sequence[Path]) -> Iterator[Mapping[str, Any]]:
    for path in paths:
        try:
            for row in json_rows(path.read_text("utf-8")):
                yield row if isinstance(row, Mapping) else {f"_c{index}": cell for index, cell in enumerate(row)}
        except UnreadableRecordError as reason:
            raise DatasetError(f"{path}: {reason}") from None


def _columns(rows: Iterator[Mapping[str, Any]]) -> list[ReferenceColumn]:
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
        raise DatasetError("the reference data has no rows")
    return [
        infer_column(name.strip() or unnamed(index), collected.pop(name)) for index, name in enumerate(list(collected))
    ]


def _parquet(paths: Sequence[Path]) -> list[ReferenceColumn]:
    try:
        import pandas
    except ImportError:
        raise DatasetError("Parquet needs pandas, which is not installed here; use csv or json") from None
    frame = pandas.concat([pandas.read_parquet(path) for path in paths])
    return [
        infer_column(str(name).strip() or unnamed(index), _plain_cells(frame[name])) for index, name in enumerate(frame)
    ]


def _plain_cells(series: Any) -> list[Any]:
    cells: list[Any] = series.astype(object).where(series.notna(), None).tolist()
    return cells


def _captured(path: Path) -> list[ReferenceColumn]:
    inputs: list[Any] = []
    outputs: list[Any] = []
    for record in read_records(open_files(list_files(path, "*.jsonl"))):
        if isinstance(record, BadRecord) or record.inputs is None:
            continue
        inputs += record.inputs
        outputs += record.outputs or [None] * len(record.inputs)
    if not inputs:
        raise DatasetError(f"{path} holds no captured request")
    columns = _positional(inputs, "endpointInput", "input")
    return columns + (_positional(outputs, "endpointOutput", "output") if all(outputs) else [])


def _positional(rows: Sequence[Any], prefix: str, source: str) -> list[ReferenceColumn]:
    first = rows[0]
    if isinstance(first, Mapping):
        names = list(dict.fromkeys(name for row in rows if isinstance(row, Mapping) for name in row))
        return [
            infer_column(name, [row.get(name) if isinstance(row, Mapping) else None for row in rows], source)
            for name in names
        ]
    if any(isinstance(row, Mapping) or len(row) != len(first) for row in rows):
        raise DatasetError("captured rows differ in width; name a CSV reference instead")
    return [infer_column(f"{prefix}_{index}", [row[index] for row in rows], source) for index in range(len(first))]
