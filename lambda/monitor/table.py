"""Rows to columns, twice: CSV in bulk for many plain rows, row by row for anything else. The columns are the same."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.cells import category, number
from monitor.jsonio import loads
from monitor.records import BadRecord, Row
from monitor.state import Floats, distinct

_NAN = re.compile(rb"(?<![^,\n])nan(?![^,\n])", re.IGNORECASE)
_COMMA, _NEWLINE = 44, 10
_WIDEST_CATEGORY = 64

StringColumn = tuple[Counter[str], int]
"""Values with their counts, and how many are missing."""
Bytes = NDArray[np.uint8]


class Irregular(ValueError):
    """The text is not the plain CSV that the bulk reader understands."""


@dataclass(frozen=True, slots=True)
class Columns:
    """`rows` rows as columns: numbers as an array, strings as counts."""

    rows: int
    columns: tuple[Floats | StringColumn, ...]


def from_rows(rows: Sequence[Sequence[object]], numeric: Sequence[bool]) -> Columns:
    """Columns of rows that all have `len(numeric)` cells; `numeric[i]` says whether column i holds numbers."""
    columns: list[Floats | StringColumn] = []
    for index, is_number in enumerate(numeric):
        if is_number:
            columns.append(np.array([number(row[index]) for row in rows], dtype=np.float64))
        else:
            values = Counter(category(row[index]) for row in rows)
            missing = values.pop(None, 0)
            columns.append((Counter({value: count for value, count in values.items() if value is not None}), missing))
    return Columns(len(rows), tuple(columns))


def row_cells(row: Row, names: Sequence[str]) -> Sequence[object]:
    """The cells of a row in the order of `names`. A named row is matched by name, another by position.

    Raises BadRecord where a positional row has another width.
    """
    if isinstance(row, Mapping):
        return [row.get(name) for name in names]
    if len(row) != len(names):
        raise BadRecord(f"a row has {len(row)} columns, expected {len(names)}")
    return row


def from_csv(text: bytes, numeric: Sequence[bool]) -> Columns:
    """Columns of plain CSV text: no quotes, no blank lines, one newline between rows and none at the end.

    Every row must have `len(numeric)` cells, or Irregular is raised; that is checked for each row, not assumed.
    """
    width = len(numeric)
    buffer = np.frombuffer(text + b"\n", dtype=np.uint8)
    if width == 1 and (text[:1] in (b"", b"\n") or text[-1:] == b"\n" or b"\n\n" in text):
        raise Irregular("a blank line is no row")
    commas, newlines = np.flatnonzero(buffer == _COMMA), np.flatnonzero(buffer == _NEWLINE)
    if len(commas) != len(newlines) * (width - 1):
        raise Irregular("rows differ in width")
    ends = np.concatenate([commas.reshape(len(newlines), width - 1), newlines[:, None]], axis=1)
    starts = np.concatenate([[0], newlines[:-1] + 1])
    if width > 1 and not ((ends[:, 0] >= starts).all() and (ends[:, -2] < newlines).all()):
        raise Irregular("rows differ in width")
    columns: dict[int, Floats | StringColumn] = {}

    def begins(index: int) -> NDArray[np.intp]:
        return ends[:, index - 1] + 1 if index else starts

    for index, is_number in enumerate(numeric):
        if not is_number:
            columns[index] = _strings(buffer, begins(index), ends[:, index])
    if any(numeric):
        others = [index for index, is_number in enumerate(numeric) if not is_number]
        plain = _blank(buffer, [(begins(index), ends[:, index]) for index in others]) if others else text
        matrix = _numbers(plain, width, len(ends))
        for index in range(width):
            if numeric[index]:
                cells = _cells(buffer, begins(index), ends[:, index]) if matrix is None else matrix[:, index]
                columns[index] = cells
    return Columns(len(ends), tuple(columns[index] for index in range(width)))


def _numbers(text: bytes, width: int, rows: int) -> Floats | None:
    """All cells as numbers, shape (rows, width), by a JSON parser; None where a cell is not a JSON number."""
    text = b"," + text.replace(b"\n", b",") + b","
    if b",," in text:  # twice, for the second comma of a pair is the first of the next
        text = text.replace(b",,", b",null,").replace(b",,", b",null,")
    if b"n" in text or b"N" in text:
        text = _NAN.sub(b"null", text)
    try:
        values = loads(b"[" + text[1:-1] + b"]")
        flat = np.array(values, dtype=np.float64)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None
    return flat.reshape(rows, width) if flat.shape == (rows * width,) else None


def _blank(buffer: Bytes, cells: Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]]) -> bytes:
    """The text with the cells given (starts, ends) overwritten by a zero, so that what is left are numbers."""
    edges = np.zeros(len(buffer) + 1, dtype=np.int8)
    blanked = buffer.copy()
    for starts, ends in cells:
        filled = ends > starts
        edges[starts[filled]], edges[ends[filled]] = 1, -1
    inside = np.cumsum(edges[:-1], dtype=np.int8).astype(bool)
    blanked[inside] = 32
    for starts, ends in cells:
        blanked[ends[ends > starts] - 1] = 48
    return blanked[:-1].tobytes()


def _cells(buffer: Bytes, starts: NDArray[np.intp], ends: NDArray[np.intp]) -> Floats:
    whole = buffer.tobytes()
    spans = zip(starts.tolist(), ends.tolist(), strict=True)
    return np.array([number(whole[start:end].decode()) for start, end in spans], dtype=np.float64)


def _strings(buffer: Bytes, starts: NDArray[np.intp], ends: NDArray[np.intp]) -> StringColumn:
    lengths = ends - starts
    widest = max(int(lengths.max()), 1)
    if widest > _WIDEST_CATEGORY:
        whole = buffer.tobytes()
        spans = zip(starts.tolist(), ends.tolist(), strict=True)
        found = Counter(whole[start:end] for start, end in spans)
    else:
        size = 8 * -(-widest // 8)
        padded = np.concatenate([buffer, np.zeros(size, dtype=np.uint8)])
        sliding = np.ndarray((len(buffer),), dtype=f"V{size}", buffer=padded, strides=(1,))
        taken = sliding[starts].view(np.uint8).reshape(-1, size)
        taken[np.arange(size) >= lengths[:, None]] = 0
        keys = taken.view(np.uint64 if size == 8 else f"S{size}").ravel()
        values, counts = distinct(keys)
        raw = values.tobytes()
        texts = [raw[at : at + size].rstrip(b"\0") for at in range(0, len(raw), size)]
        found = Counter(dict(zip(texts, counts.tolist(), strict=True)))
    counter: Counter[str] = Counter()
    missing = 0
    for text, count in found.items():
        value = category(text.decode())
        if value is None:
            missing += count
        else:
            counter[value] += count
    return counter, missing
