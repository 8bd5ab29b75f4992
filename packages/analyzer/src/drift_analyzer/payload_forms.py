"""Find the rows in a JSON payload, in the forms that model servers accept.

SageMaker's own forms, TensorFlow Serving (`instances`, `inputs`), MLflow (`dataframe_split`, `dataframe_records`),
KServe and Triton (Open Inference Protocol: `inputs` with `name`, `shape` and `data`), Seldon (`data.ndarray`), and
pandas' `split`, `records`, `columns` and `list`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

Row = Sequence[Any] | Mapping[str, Any]
_WRAPPERS = (
    "instances",
    "inputs",
    "predictions",
    "outputs",
    "dataframe_split",
    "dataframe_records",
    "records",
    "rows",
    "data",
)
_OF_ROWS = ("instances", "predictions")
"""Wrappers whose list holds rows even if each is a single number: one prediction for each instance."""
_ROW_KEYS = ("features", "values")
_NESTED = frozenset((list, dict))


class UnreadableRecordError(ValueError):
    """A record that cannot be read; the message is the reason, short and without data."""


def rows_of_document(document: Any) -> Sequence[Row]:
    """Return the rows of a parsed payload; empty if it holds none.

    Raises:
        UnreadableRecordError: The columns of the payload differ in length.
    """
    if isinstance(document, dict):
        return _single(document) if _NESTED.isdisjoint(map(type, document.values())) else _of_object(document)
    if isinstance(document, list):
        if not _NESTED.isdisjoint(map(type, document)):
            return [_row(item) for item in document]
        return [document] if document else []
    return [[document]]


def _single(document: Mapping[str, Any]) -> Sequence[Row]:
    return [document] if document else []


def _of_object(document: Mapping[str, Any]) -> Sequence[Row]:
    names = document.get("columns") or document.get("names")
    for key in ("data", "ndarray"):
        if isinstance(cells := document.get(key), list):
            if isinstance(names, list) and all(isinstance(name, str) for name in names):
                return _named(names, cells)
            if key == "ndarray":
                return rows_of_document(cells)
    for key in _WRAPPERS:
        inner = document.get(key)
        if isinstance(inner, list):
            if _are_tensors(inner):
                return _of_tensors(inner)
            return [_row(item) for item in inner] if key in _OF_ROWS else rows_of_document(inner)
        if isinstance(inner, dict) and inner:
            return rows_of_document(inner)
    row = _row(document)
    if row is not document:
        return [row]
    return _of_columns(document)


def _named(names: Sequence[str], cells: Sequence[Any]) -> Sequence[Row]:
    rows = cells if any(isinstance(row, list) for row in cells) else [cells]
    if any(not isinstance(row, list) or len(row) != len(names) for row in rows):
        raise UnreadableRecordError("a row has another number of cells than there are column names")
    return [dict(zip(names, row, strict=True)) for row in rows]


def _are_tensors(items: Sequence[Any]) -> bool:
    return bool(items) and all(
        isinstance(item, dict) and isinstance(item.get("data"), list) and "name" in item for item in items
    )


def _of_tensors(tensors: Sequence[Mapping[str, Any]]) -> Sequence[Row]:
    """Return the rows of tensors: one tensor of rows, or one for each column."""
    if len(tensors) == 1:
        tensor = tensors[0]
        cells, shape = _flat(tensor["data"]), tensor.get("shape")
        width = shape[-1] if isinstance(shape, list) and len(shape) > 1 else 1
        if isinstance(width, int) and width > 1:
            if len(cells) % width:
                raise UnreadableRecordError("a tensor's data do not fill its shape")
            return [cells[at : at + width] for at in range(0, len(cells), width)]
    return _of_columns({str(tensor["name"]): _flat(tensor["data"]) for tensor in tensors})


def _flat(cells: Sequence[Any]) -> list[Any]:
    """Return the cells of nested lists in order, without recursion: a payload may be nested deeply."""
    found, waiting = [], list(reversed(cells))
    while waiting:
        cell = waiting.pop()
        if isinstance(cell, list):
            waiting += reversed(cell)
        else:
            found.append(cell)
    return found


def _of_columns(document: Mapping[str, Any]) -> Sequence[Row]:
    """Return the rows of an object of columns; any other object is one row."""
    columns = list(document.values())
    if all(isinstance(column, dict) for column in columns):
        keys = list(columns[0])
        if keys and all(column.keys() == columns[0].keys() for column in columns):
            return [{name: column[key] for name, column in document.items()} for key in keys]
        return _single(document)
    if not all(isinstance(column, list) for column in columns):
        return _single(document)
    if len({len(column) for column in columns}) != 1:
        raise UnreadableRecordError("the columns differ in length")
    cells = [[item[0] if isinstance(item, list) and len(item) == 1 else item for item in column] for column in columns]
    return [dict(zip(document, row, strict=True)) for row in zip(*cells, strict=True)]


def _row(item: Any) -> Row:
    if isinstance(item, dict):
        for key in _ROW_KEYS:
            if isinstance(item.get(key), list):
                return list(item[key])
        return item
    return item if isinstance(item, list) else [item]
