"""Convert rows to columns: plain CSV in bulk, anything else row by row, with the same result."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drift_analyzer import decimals
from drift_analyzer.capture_records import Row, UnreadableRecordError
from drift_analyzer.cells import MISSING, category, number
from drift_analyzer.jsonio import loads
from drift_analyzer.window_state import Floats, distinct

_NAN = re.compile(rb"(?<![^,\n])nan(?![^,\n])", re.IGNORECASE)
_COMMA, _NEWLINE = 44, 10
_WIDEST_CATEGORY = 64
_JSON_NUMBERS = {float, int, bool, type(None)}
_TEXTS = {str, type(None)}
_WORDS_OR_UNDERSCORES = re.compile("[nN_]")
_MOST_ODD = 1 / 16
"""Share of numbers read one by one, a microsecond each; with more of them, the text is read as JSON."""

StringColumn = tuple[Counter[str], int]
"""Counts by value, and the number of missing cells."""
Bytes = NDArray[np.uint8]
Places = NDArray[np.intp]


class IrregularCsvError(ValueError):
    """Text that is not plain CSV, so that rows must be read one by one."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Rows as columns: numbers as an array, strings as counts."""

    rows: int
    columns: tuple[Floats | StringColumn, ...]


def from_cells(cells: Sequence[Sequence[object]], numeric: Sequence[bool]) -> Columns:
    """Convert the cells of columns of one length; `numeric[i]` is whether column i holds numbers."""
    columns: list[Floats | StringColumn] = []
    for column, is_number in zip(cells, numeric, strict=True):
        columns.append(_numbers_of(column) if is_number else _counts_of(column))
    return Columns(len(cells[0]) if cells else 0, tuple(columns))


def _numbers_of(cells: Sequence[object]) -> Floats:
    """Return the cells as `number` reads them, in bulk where the types or the text allow no other reading."""
    kinds = set(map(type, cells))
    try:
        if kinds <= _JSON_NUMBERS:
            return np.array(cells, dtype=np.float64)
        if kinds == {str}:
            texts: list[Any] = list(cells)
            # `float` also reads other digits, underscores, and words such as nan and infinity.
            if (joined := ",".join(texts)).isascii() and not _WORDS_OR_UNDERSCORES.search(joined):
                return np.array([float(text) if text else MISSING for text in texts], dtype=np.float64)
    except (ValueError, OverflowError):
        pass  # a cell that is no number is read by itself below
    return np.array([number(cell) for cell in cells], dtype=np.float64)


def _counts_of(cells: Sequence[object]) -> StringColumn:
    # Values of one type only: as keys, 1 equals 1.0 and true.
    if set(map(type, cells)) <= _TEXTS:
        raw: Mapping[Any, int] = Counter(cells)
    else:
        raw = Counter(category(cell) for cell in cells)
    counter: Counter[str] = Counter()
    missing = 0
    for cell, count in raw.items():
        if (value := category(cell)) is None:
            missing += count
        else:
            counter[value] += count
    return counter, missing


def width_error(found: int, expected: int) -> UnreadableRecordError:
    """Return the error of a row that has another number of columns than the baseline."""
    return UnreadableRecordError(f"a row has {found} columns, expected {expected}")


def row_cells(row: Row, names: Sequence[str]) -> Sequence[object]:
    """Return the cells of a row in the order of `names`; a named row is matched by name, another by position.

    Raises:
        UnreadableRecordError: A positional row has another width.
    """
    if isinstance(row, Mapping):
        return [row.get(name) for name in names]
    if len(row) != len(names):
        raise width_error(len(row), len(names))
    return row


def from_csv(text: bytes, numeric: Sequence[bool]) -> Columns:
    """Convert plain CSV text: no quotes, no blank lines, one newline between rows and none at the end.

    Raises:
        IrregularCsvError: A row does not have `len(numeric)` cells.
    """
    width = len(numeric)
    buffer = np.frombuffer(text + b"\n", dtype=np.uint8)
    if width == 1 and (text[:1] in (b"", b"\n") or text[-1:] == b"\n" or b"\n\n" in text):
        raise IrregularCsvError("a blank line is no row")
    separators = np.flatnonzero((buffer == _COMMA) | (buffer == _NEWLINE))
    if len(separators) % width:
        raise IrregularCsvError("rows differ in width")
    ends = separators.reshape(-1, width)
    breaks = buffer[separators].reshape(-1, width) == _NEWLINE
    if not breaks[:, -1].all() or np.count_nonzero(breaks) != len(ends):
        raise IrregularCsvError("rows differ in width")
    begins = np.concatenate([[0], separators[:-1] + 1]).reshape(-1, width)
    numbers = _short_numbers(text, begins, ends, numeric) if any(numeric) else None
    if numbers is None and any(numeric):
        others = [(begins[:, index], ends[:, index]) for index, is_number in enumerate(numeric) if not is_number]
        numbers = _numbers(_blank(buffer, others) if others else text, width, len(ends))
    columns: list[Floats | StringColumn] = []
    for index, is_number in enumerate(numeric):
        if not is_number:
            columns.append(_strings(buffer, begins[:, index], ends[:, index]))
        elif numbers is not None:
            columns.append(numbers[:, index])
        else:
            columns.append(_cells(buffer, begins[:, index], ends[:, index]))
    return Columns(len(ends), tuple(columns))


def _short_numbers(text: bytes, begins: Places, ends: Places, numeric: Sequence[bool]) -> Floats | None:
    """Read cells as short decimals, shape (rows, width); None if too many numeric cells are something else."""
    wanted = np.array(numeric, dtype=bool)
    most = np.count_nonzero(wanted) * len(ends) * _MOST_ODD
    if np.count_nonzero(((ends - begins) > decimals.WIDTH) & wanted) > most:
        return None
    values, good = decimals.read(text, begins.ravel(), ends.ravel())
    found = values.reshape(ends.shape)
    unread = ~good.reshape(ends.shape) & wanted
    if unread.any():
        empty = begins == ends
        found[unread & empty] = MISSING
        odd = np.argwhere(unread & ~empty).tolist()
        if len(odd) > most:
            return None
        for row, column in odd:
            found[row, column] = number(text[begins[row, column] : ends[row, column]].decode())
    return found


def _numbers(text: bytes, width: int, rows: int) -> Floats | None:
    """Read all cells with a JSON parser, shape (rows, width); None if a cell is not a JSON number."""
    text = b"," + text.replace(b"\n", b",") + b","
    if b",," in text:  # twice, because the second comma of a pair is the first of the next
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
    """Overwrite the cells given (starts, ends) with a zero, so that only numbers are left."""
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
