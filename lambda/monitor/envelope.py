"""The fixed part of captured lines, verified for many lines at once.

A line's shape is its text with the values of `data`, the ids and the time taken out. Lines whose literal parts are
equal byte for byte, and whose values hold no quote, no control character and no escape (but `\\n` in `data`), *are*
the same JSON document with other values: nothing is assumed. Verified with numpy, a fraction of a microsecond a line.
"""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.records import BadRecord, parse
from monitor.times import digits_to_epoch

Positions = NDArray[np.intp]
Flags = NDArray[np.bool_]
Spans = tuple[Positions, Positions]

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"')
_SIDES = {b'"endpointInput"': "input", b'"endpointOutput"': "output"}
_VALUES = {b'"inferenceTime"': "time", b'"eventId"': "id", b'"inferenceId"': "id"}
_PAD = 4096
TIME_LENGTH = 20


@dataclass(frozen=True, slots=True)
class Shape:
    """literals[0] value literals[1] value … literals[-1]; `kinds` names the values: input, output, time, id."""

    literals: tuple[bytes, ...]
    kinds: tuple[str, ...]


class Lines:
    """A piece of a file, whole lines of UTF-8 without carriage returns, with its landmarks."""

    def __init__(self, text: bytes) -> None:
        self.text = text if text.endswith(b"\n") else text + b"\n"
        padded = np.zeros(len(self.text) + _PAD, dtype=np.uint8)
        padded[: len(self.text)] = np.frombuffer(self.text, dtype=np.uint8)
        self.buffer = padded
        controls = np.flatnonzero(padded[: len(self.text)] < 32)
        newline = padded[controls] == 10
        self.ends: Positions = controls[newline]
        self.broken: Positions = controls[~newline]
        self.starts: Positions = np.concatenate([[0], self.ends[:-1] + 1])
        self.quotes: Positions = np.flatnonzero(padded == 34)
        self.escapes: Positions = np.flatnonzero(padded == 92)

    def line(self, index: int) -> bytes:
        return self.text[self.starts[index] : self.ends[index]]

    def take(self, at: Positions, length: int) -> NDArray[np.uint8]:
        """The `length` bytes at each position, shape (positions, length)."""
        size = len(self.buffer) - length + 1
        sliding: NDArray[Any] = np.ndarray((size,), dtype=f"V{length}", buffer=self.buffer, strides=(1,))
        return sliding[np.minimum(at, size - 1)].view(np.uint8).reshape(len(at), length)


def match(shape: Shape, lines: Lines, chosen: Positions) -> tuple[Flags, dict[str, Spans]]:
    """Which of the chosen lines have the shape, and where their values lie (meaningful only where they have)."""
    at, ends = lines.starts[chosen], lines.ends[chosen]
    good: Flags = np.ones(len(chosen), dtype=bool)
    spans: dict[str, Spans] = {}
    expected = np.zeros(len(chosen), dtype=np.intp)
    for place, literal in enumerate(shape.literals):
        pattern = np.frombuffer(literal, dtype=np.uint8)
        good &= (lines.take(at, len(literal)) == pattern).all(axis=1)
        at = at + len(literal)
        expected += literal.count(b"\\")
        if place == len(shape.kinds):
            break
        found = np.searchsorted(lines.quotes, at)
        close = np.where(found < len(lines.quotes), lines.quotes[np.minimum(found, len(lines.quotes) - 1)], ends)
        kind = shape.kinds[place]
        if kind != "id":
            spans[kind] = (at, close)
        if kind in ("input", "output"):
            good &= close > at
            expected += _within(lines.escapes, at, close)
            stripped = _newline_at(lines, close)
            good &= close - 2 * stripped > at
        at = close
    good &= at == ends
    # every escape of the line is a literal's or a newline in data
    good &= _within(lines.escapes, lines.starts[chosen], ends) == expected
    wrong = lines.escapes[lines.buffer[lines.escapes + 1] != 110] if not _literal_escapes(shape) else lines.escapes
    for positions in (wrong, lines.broken):
        if len(positions):
            good &= _within(positions, lines.starts[chosen], ends) == 0
    if "time" in spans:
        start, close = spans["time"]
        good &= (close - start == TIME_LENGTH) & digits_to_epoch(lines.take(start, TIME_LENGTH))[1]
    return good, spans


def _literal_escapes(shape: Shape) -> bool:
    return any(b"\\" in literal for literal in shape.literals)


def _within(positions: Positions, starts: Positions, ends: Positions) -> Positions:
    if not len(positions):
        return np.zeros(len(starts), dtype=np.intp)
    between: Positions = np.searchsorted(positions, ends) - np.searchsorted(positions, starts)
    return between


def _newline_at(lines: Lines, close: Positions) -> NDArray[np.intp]:
    """1 where the text before `close` is an escaped newline."""
    last = np.maximum(close - 2, 0)
    return np.array((lines.buffer[last] == 92) & (lines.buffer[last + 1] == 110), dtype=np.intp)


def payloads(lines: Lines, spans: Spans) -> list[bytes]:
    """The CSV of each span, as it stands in JSON but for one newline at its end."""
    start, close = spans
    close = close - 2 * _newline_at(lines, close)
    text = lines.text
    return [text[a:b] for a, b in zip(start.tolist(), close.tolist(), strict=True)]


def learn(line: bytes) -> Shape | None:
    """The shape of a line; None where it is not a plain record, or the shape would read it otherwise than JSON does."""
    literals: list[bytes] = []
    kinds: list[str] = []
    at, key, side = 0, b"", ""
    for token in _TOKEN.finditer(line):
        if line[token.end() :].lstrip()[:1] == b":":
            key = token.group()
            side = _SIDES.get(key, side)
            continue
        kind = side if key == b'"data"' else _VALUES.get(key, "")
        key = b""
        if kind:
            literals.append(line[at : token.start() + 1])
            kinds.append(kind)
            at = token.end() - 1
    literals.append(line[at:])
    named = [kind for kind in kinds if kind != "id"]
    if len(set(named)) != len(named) or max(map(len, literals)) >= _PAD or not line.endswith(b"}"):
        return None
    shape = Shape(tuple(literals), tuple(kinds))
    return shape if _agrees(shape, line) else None


def _agrees(shape: Shape, line: bytes) -> bool:
    """Whether the shape reads from its own line what the JSON reader reads."""
    try:
        record = parse(line)
    except BadRecord:
        return False
    lines = Lines(line)
    if len(lines.ends) != 1:
        return False
    good, spans = match(shape, lines, np.zeros(1, dtype=np.intp))
    if not good[0]:
        return False
    for name, rows in (("input", record.inputs), ("output", record.outputs)):
        if (name in spans) != (rows is not None):
            return False
        if rows is not None:
            text = payloads(lines, spans[name])[0].decode().replace("\\n", "\n")
            if [list(row) for row in rows] != [row.split(",") for row in text.split("\n") if row]:
                return False
    if "time" not in spans:
        return record.time is None
    return float(digits_to_epoch(lines.take(spans["time"][0], TIME_LENGTH))[0][0]) == record.time
