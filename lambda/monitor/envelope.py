"""The fixed part of captured lines, verified for many lines at once.

A line's shape is its text with the values of `data`, the ids and the time taken out. Lines whose literal parts are
equal byte for byte, and whose values hold no quote, no control character and no escape (but `\\n` in `data`), *are*
the same JSON document with other values: nothing is assumed. Verified with numpy, a fraction of a microsecond a line.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.records import BadRecord, parse
from monitor.times import digits_to_epoch

Bytes = NDArray[np.uint8]
Positions = NDArray[np.intp]
Flags = NDArray[np.bool_]
Spans = tuple[Positions, Positions]

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"')
_SIDES = {b'"endpointInput"': "input", b'"endpointOutput"': "output"}
_VALUES = {b'"inferenceTime"': "time", b'"eventId"': "id", b'"inferenceId"': "id"}
_PAD = 4096
_NEWLINE, _QUOTE, _ESCAPE = 10, 34, 92
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
        self.buffer: Bytes = np.frombuffer(self.text + bytes(_PAD), dtype=np.uint8)
        body = self.buffer[: len(self.text)]
        # One search for all of them: to find is what costs, not to compare.
        marks = np.flatnonzero((body < 32) | (body == _QUOTE) | (body == _ESCAPE))
        found = body[marks]
        self.ends: Positions = marks[found == _NEWLINE]
        self.broken: Positions = marks[(found < 32) & (found != _NEWLINE)]
        self.starts: Positions = np.concatenate([[0], self.ends[:-1] + 1])
        self.quotes: Positions = marks[found == _QUOTE]
        self.escapes: Positions = marks[found == _ESCAPE]

    def line(self, index: int) -> bytes:
        return self.text[self.starts[index] : self.ends[index]]

    @cached_property
    def quote_table(self) -> Positions | None:
        """The quotes, shape (lines, quotes of a line), where all lines hold equally many; else None."""
        each, rest = divmod(len(self.quotes), len(self.ends))
        if rest or not each:
            return None
        table = self.quotes.reshape(-1, each)
        return table if (table[:, 0] >= self.starts).all() and (table[:, -1] < self.ends).all() else None

    def closing(self, chosen: Positions, at: Positions, number: int) -> Positions:
        """The first quote at or after `at` in each of the chosen lines, which hold `number` quotes before it."""
        table = self.quote_table
        if table is not None:
            return table[chosen, number] if number < table.shape[1] else self.ends[chosen]
        found = np.searchsorted(self.quotes, at)
        return np.append(self.quotes, len(self.text))[found]

    def equal(self, at: Positions, literal: bytes) -> Flags:
        """Where the text at the positions is the literal, which holds no NUL."""
        same: Flags = self._sliding(at, f"S{len(literal)}") == literal
        return same

    def take(self, at: Positions, length: int) -> NDArray[np.uint8]:
        """The `length` bytes at each position, shape (positions, length)."""
        return self._sliding(at, f"V{length}").view(np.uint8).reshape(len(at), length)

    def _sliding(self, at: Positions, kind: str) -> NDArray[Any]:
        size = len(self.buffer) - int(kind[1:]) + 1
        windows: NDArray[Any] = np.ndarray((size,), dtype=kind, buffer=self.buffer, strides=(1,))
        return windows[np.minimum(at, size - 1)]

    def foreign(self, chosen: Positions, data: Sequence[Spans]) -> Positions:
        """Control characters, and escapes that are no newline in the chosen lines' data."""
        line = np.searchsorted(self.ends, self.escapes)
        inside = np.zeros(len(self.escapes), dtype=bool)
        for starts, ends in data:
            bounds = np.zeros((2, len(self.ends)), dtype=np.intp)
            bounds[:, chosen] = starts, ends
            first, last = bounds[:, line]
            inside |= (self.escapes >= first) & (self.escapes < last)
        inside &= self.buffer[self.escapes + 1] == 110
        return np.concatenate([self.broken, self.escapes[~inside]])


def match(shape: Shape, lines: Lines, chosen: Positions) -> tuple[Flags, dict[str, Spans]]:
    """Which of the chosen lines have the shape, and where their values lie (meaningful only where they have)."""
    at, quotes = lines.starts[chosen], 0
    good: Flags = np.ones(len(chosen), dtype=bool)
    spans: dict[str, Spans] = {}
    for literal, kind in zip(shape.literals, (*shape.kinds, ""), strict=True):
        good &= lines.equal(at, literal)
        at = at + len(literal)
        if not kind:
            break
        quotes += literal.count(b'"')
        close = lines.closing(chosen, at, quotes)
        if kind != "id":
            spans[kind] = (at, close)
        if kind in ("input", "output"):
            good &= close - 2 * _newline_at(lines, close) > at
        at = close
    good &= at == lines.ends[chosen]
    foreign = lines.foreign(chosen, [spans[kind] for kind in ("input", "output") if kind in spans])
    if len(foreign):
        clean = np.ones(len(lines.ends), dtype=bool)
        clean[np.searchsorted(lines.ends, foreign)] = False
        good &= clean[chosen]
    if "time" in spans:
        start, close = spans["time"]
        good &= (close - start == TIME_LENGTH) & digits_to_epoch(lines.take(start, TIME_LENGTH))[1]
    return good, spans


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
    odd = not line.endswith(b"}") or max(map(len, literals)) >= _PAD or any(b"\\" in literal for literal in literals)
    if odd or len(set(named)) != len(named):
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
