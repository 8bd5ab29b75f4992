"""Recognise captured lines that differ only in their values, many at once.

A line's shape is its text without the values of `data`, the ids and the time. If the literal parts of two lines are
equal byte for byte, and their values hold no quote, control character or escape (except newlines in `data`), the
lines are the same JSON document with other values. numpy verifies that in a fraction of a microsecond for each line.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drift_analyzer.capture_records import UnreadableRecordError, parse
from drift_analyzer.inference_time import TIME_LENGTHS, Epochs, digits_to_epoch
from drift_analyzer.window_state import Floats

Bytes = NDArray[np.uint8]
Positions = NDArray[np.intp]
Flags = NDArray[np.bool_]
Spans = tuple[Positions, Positions]

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"')
_SIDES = {b'"endpointInput"': "input", b'"endpointOutput"': "output"}
_VALUES = {b'"inferenceTime"': "time", b'"eventId"': "id", b'"inferenceId"': "id"}
_PAD = 4096
_NEAR = 64
"""Bytes in which the start of a short value is searched for: an id has 36 bytes, a time 20."""
_NEWLINE, _QUOTE, _ESCAPE = 10, 34, 92


@dataclass(frozen=True, slots=True)
class LineShape:
    """The literal parts of a line and the values between them.

    Attributes:
        literals: literals[0] value literals[1] value … literals[-1].
        kinds: The values' kinds in order: input, output, time or id.
        time_length: Bytes of the time.
    """

    literals: tuple[bytes, ...]
    kinds: tuple[str, ...]
    time_length: int = TIME_LENGTHS[0]


class Lines:
    """Whole lines of UTF-8 without carriage returns, with the positions of quotes, escapes and line ends."""

    def __init__(self, text: bytes) -> None:
        self.text = text if text.endswith(b"\n") else text + b"\n"
        self.buffer: Bytes = np.frombuffer(self.text + bytes(_PAD), dtype=np.uint8)
        self._body = self.buffer[: len(self.text)]
        self._times: tuple[Positions, tuple[Epochs | Floats, Flags]] | None = None
        self.ends: Positions = np.flatnonzero(self._body == _NEWLINE)
        self.starts: Positions = np.concatenate([[0], self.ends[:-1] + 1])

    @cached_property
    def _marks(self) -> tuple[Positions, Bytes]:
        """Positions of control characters, quotes and escapes, and the bytes there: one search for all."""
        body = self._body
        places = np.flatnonzero((body < 32) | (body == _QUOTE) | (body == _ESCAPE))
        return places, body[places]

    @cached_property
    def broken(self) -> Positions:
        """Positions of control characters other than line ends."""
        places, found = self._marks
        chosen: Positions = places[(found < 32) & (found != _NEWLINE)]
        return chosen

    @cached_property
    def quotes(self) -> Positions:
        """Positions of the quotes."""
        places, found = self._marks
        chosen: Positions = places[found == _QUOTE]
        return chosen

    @cached_property
    def escapes(self) -> Positions:
        """Positions of the backslashes."""
        places, found = self._marks
        chosen: Positions = places[found == _ESCAPE]
        return chosen

    def holds(self, *, quotes: int, escapes: int) -> bool:
        """Return whether the text has exactly these numbers and no control character except line ends.

        Counting is cheaper than searching.
        """
        body = self._body
        found = [int(np.count_nonzero(each)) for each in (body == _QUOTE, body == _ESCAPE, body < 32)]
        return found == [quotes, escapes, len(self.ends)]

    def line(self, index: int) -> bytes:
        """Return a line without its end."""
        return self.text[self.starts[index] : self.ends[index]]

    @cached_property
    def quote_table(self) -> Positions | None:
        """Positions of the quotes, shape (lines, quotes in a line); None if lines hold different numbers of quotes."""
        each, rest = divmod(len(self.quotes), len(self.ends))
        if rest or not each:
            return None
        table = self.quotes.reshape(-1, each)
        return table if (table[:, 0] >= self.starts).all() and (table[:, -1] < self.ends).all() else None

    def closing(self, chosen: Positions, at: Positions, number: int) -> Positions:
        """Return the first quote at or after `at` in each of the chosen lines, which hold `number` quotes before it."""
        table = self.quote_table
        if table is not None:
            return table[chosen, number] if number < table.shape[1] else self.ends[chosen]
        found = np.searchsorted(self.quotes, at)
        return np.append(self.quotes, len(self.text))[found]

    def equal(self, at: Positions, literal: bytes) -> Flags:
        """Return for each position whether the text there is the literal, which holds no NUL."""
        same: Flags = self._sliding(at, f"S{len(literal)}") == literal
        return same

    def all_equal(self, at: Positions, literal: bytes) -> bool:
        """Return whether the text at all positions is the literal, compared as machine words; the last may overlap."""
        size = len(literal)
        if size < 8:
            return bool(self.equal(at, literal).all())
        whole = size - size % 8
        parts = [(0, whole)] if whole == size else [(0, whole), (size - 8, size)]
        for first, last in parts:
            words = self._sliding(at + first, f"V{last - first}").view(np.uint64).reshape(len(at), -1)
            if not (words == np.frombuffer(literal[first:last], dtype=np.uint64)).all():
                return False
        return True

    def epochs(self, at: Positions, length: int) -> tuple[Epochs | Floats, Flags]:
        """Return the time at each position in epoch seconds, and whether it is one. The last result is cached."""
        if self._times is not None and self._times[0] is at:
            return self._times[1]
        found = digits_to_epoch(self.take(at, length))
        self._times = (at, found)
        return found

    def take(self, at: Positions, length: int) -> NDArray[np.uint8]:
        """Return the `length` bytes at each position, shape (positions, length)."""
        return self._sliding(at, f"V{length}").view(np.uint8).reshape(len(at), length)

    def _sliding(self, at: Positions, kind: str) -> NDArray[Any]:
        size = len(self.buffer) - int(kind[1:]) + 1
        windows: NDArray[Any] = np.ndarray((size,), dtype=kind, buffer=self.buffer, strides=(1,))
        return windows[np.minimum(at, size - 1)]

    def unexpected(self, chosen: Positions, data: Sequence[Spans]) -> Positions:
        """Return the control characters, and the escapes that are not a newline in the chosen lines' data."""
        line = np.searchsorted(self.ends, self.escapes)
        inside = np.zeros(len(self.escapes), dtype=bool)
        for starts, ends in data:
            bounds = np.zeros((2, len(self.ends)), dtype=np.intp)
            bounds[:, chosen] = starts, ends
            first, last = bounds[:, line]
            inside |= (self.escapes >= first) & (self.escapes < last)
        inside &= self.buffer[self.escapes + 1] == 110
        return np.concatenate([self.broken, self.escapes[~inside]])


def match(shape: LineShape, lines: Lines, chosen: Positions) -> tuple[Flags, dict[str, Spans]]:
    """Match lines with a shape.

    Args:
        shape: The shape.
        lines: The text.
        chosen: Indices of the lines to match.

    Returns:
        Whether each chosen line has the shape, and the start and end of each value; valid only for matching lines.
    """
    if len(chosen) == len(lines.ends) and (found := _all_alike(shape, lines)) is not None:
        return np.ones(len(chosen), dtype=bool), found
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
    unexpected = lines.unexpected(chosen, [spans[kind] for kind in ("input", "output") if kind in spans])
    if len(unexpected):
        clean = np.ones(len(lines.ends), dtype=bool)
        clean[np.searchsorted(lines.ends, unexpected)] = False
        good &= clean[chosen]
    if "time" in spans:
        start, close = spans["time"]
        good &= (close - start == shape.time_length) & lines.epochs(start, shape.time_length)[1]
    return good, spans


def matches(shape: LineShape, line: bytes) -> bool:
    """Return whether a single line has the shape."""
    lines = Lines(line)
    return len(lines.ends) == 1 and bool(match(shape, lines, np.zeros(1, dtype=np.intp))[0][0])


def _all_alike(shape: LineShape, lines: Lines) -> dict[str, Spans] | None:
    """Return the values' positions if every line has the shape and no escape except a newline at the end of its data.

    Nothing is searched for. The first value begins after the first literal. The other values are short, so they are
    located from the end of the line. Counting shows that all quotes, escapes and control characters belong to the
    literals. Return None if that does not hold or is not known.
    """
    if not shape.kinds or shape.kinds[0] not in ("input", "output"):
        return None
    spans: dict[str, Spans] = {}
    first, at = lines.starts + len(shape.literals[0]), lines.ends
    for place in range(len(shape.kinds) - 1, -1, -1):
        literal, kind = shape.literals[place + 1], shape.kinds[place]
        close = at - len(literal)
        if (close < lines.starts).any() or not lines.all_equal(close, literal):
            return None
        found = _opening(lines, close) if place else first
        if found is None or (found > close).any():
            return None
        if kind != "id":
            spans[kind] = (found, close)
        at = found
    if not lines.all_equal(lines.starts, shape.literals[0]):
        return None
    escapes = 0
    for start, close in (spans[kind] for kind in ("input", "output") if kind in spans):
        newlines = _newline_at(lines, close)
        if (close - 2 * newlines <= start).any():
            return None
        escapes += int(newlines.sum())
    quotes = len(lines.ends) * sum(literal.count(b'"') for literal in shape.literals)
    if not lines.holds(quotes=quotes, escapes=escapes):
        return None
    if "time" in spans:
        start, close = spans["time"]
        if (close - start != shape.time_length).any() or not lines.epochs(start, shape.time_length)[1].all():
            return None
    return spans


def _opening(lines: Lines, close: Positions) -> Positions | None:
    """Return the starts of short values that end at `close`: after the last quote before it. None if it is not near."""
    if close.min() < _NEAR:
        return None
    # Most are as long as the first: ids, times, and probabilities of so many digits.
    start: Positions = close - (int(close[0]) - 1 - lines.text.rfind(b'"', 0, int(close[0])))
    if (start > 0).all() and (lines.buffer[start - 1] == _QUOTE).all():
        return start
    quoted = lines.take(close - _NEAR, _NEAR)[:, ::-1] == _QUOTE
    if not quoted.any(axis=1).all():
        return None
    near: Positions = close - quoted.argmax(axis=1)
    return near


def _newline_at(lines: Lines, close: Positions) -> NDArray[np.intp]:
    """Return 1 where the text before `close` is an escaped newline, otherwise 0."""
    last = np.maximum(close - 2, 0)
    return np.array((lines.buffer[last] == 92) & (lines.buffer[last + 1] == 110), dtype=np.intp)


def payloads(lines: Lines, spans: Spans) -> list[bytes]:
    """Return the CSV of each span as it is in JSON, without one newline at its end."""
    start, close = spans
    close = close - 2 * _newline_at(lines, close)
    text = lines.text
    return [text[a:b] for a, b in zip(start.tolist(), close.tolist(), strict=True)]


def learn(line: bytes) -> LineShape | None:
    """Derive the shape of a line; None if the line is not a plain record or the shape would read it unlike JSON."""
    literals: list[bytes] = []
    kinds: list[str] = []
    at, key, side, time_length = 0, b"", "", TIME_LENGTHS[0]
    for token in _TOKEN.finditer(line):
        if line[token.end() :].lstrip()[:1] == b":":
            key = token.group()
            side = _SIDES.get(key, side)
            continue
        kind = side if key == b'"data"' else _VALUES.get(key, "")
        key = b""
        if kind == "time":
            time_length = len(token.group()) - 2
        if kind:
            literals.append(line[at : token.start() + 1])
            kinds.append(kind)
            at = token.end() - 1
    literals.append(line[at:])
    named = [kind for kind in kinds if kind != "id"]
    odd = not line.endswith(b"}") or max(map(len, literals)) >= _PAD or any(b"\\" in literal for literal in literals)
    if odd or len(set(named)) != len(named) or time_length not in TIME_LENGTHS:
        return None
    shape = LineShape(tuple(literals), tuple(kinds), time_length)
    return shape if _agrees(shape, line) else None


def _agrees(shape: LineShape, line: bytes) -> bool:
    """Return whether the shape reads from its own line what the JSON parser reads."""
    try:
        record = parse(line)
    except UnreadableRecordError:
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
    return float(digits_to_epoch(lines.take(spans["time"][0], shape.time_length))[0][0]) == record.time
