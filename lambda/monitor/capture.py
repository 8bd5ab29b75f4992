"""Captured JSONL to window states: the fast path, with every record verified, and the careful reader for the rest.

The fast path learns one line's shape as a regular expression: all of it literal, except the text of `data`, the ids
and the time, which may hold no escape but `\\n`. A line that matches *is* that JSON document with other values, so
nothing is assumed; a line that does not match is parsed as JSON. Benchmarked in docs/monitoring.md.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import BinaryIO

from monitor import table
from monitor.records import BadRecord, Record, Row, parse, timestamp
from monitor.schema import Schema
from monitor.state import WindowState

CHUNK = 1 << 22
KEPT = 1000
"""Bad lines kept aside for a person to read; all are counted."""
_LINE_KEPT = 2000
_SHAPES = 4

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"')
_PLAIN = rb'[^"\\\x00-\x1f]'
_DATA = _PLAIN + rb"+(?:\\n" + _PLAIN + rb"*)*"
_TIME = rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
_SIDES = {b'"endpointInput"': "input", b'"endpointOutput"': "output"}

WindowOf = Callable[[float], int | None]
"""Epoch seconds to the start of the window, or None where the record is not wanted."""


@dataclass(slots=True)
class Bad:
    """A line that could not be read, and why."""

    source: str
    reason: str
    line: str


@dataclass(slots=True)
class Capture:
    """Reads captured files into one state per window of inference time (key: its start, epoch seconds).

    Args:
        schema: what the columns mean.
        window_of: window of an inference time; None when all is one window (key 0) whatever its time.
        fast: False reads every line as JSON; the result is the same, which tests prove.
    """

    schema: Schema
    window_of: WindowOf | None = None
    fast: bool = True
    windows: dict[int, WindowState] = field(default_factory=dict)
    bad: list[Bad] = field(default_factory=list)
    unplaced: WindowState = field(default_factory=WindowState)

    def read(self, stream: BinaryIO, source: str) -> None:
        """Fold one file in. A record that cannot be read is counted and kept aside; nothing stops the run."""
        for chunk in whole_lines(stream):
            self._chunk(chunk, source)

    def state(self, window: int) -> WindowState:
        if window not in self.windows:
            self.windows[window] = WindowState.empty(self.schema.features)
        return self.windows[window]

    def _chunk(self, chunk: bytes, source: str) -> None:
        lines = [line for line in chunk.replace(b"\r\n", b"\n").split(b"\n") if line.strip()]
        rest = self._fast(lines) if self.fast and _is_text(chunk) else lines
        for line in rest:
            self._careful(line, source)

    def _fast(self, lines: list[bytes]) -> list[bytes]:
        """Fold the lines that have a learnt shape; give back the others."""
        rest: list[bytes] = []
        for _ in range(_SHAPES):
            if not lines or (pattern := learn(lines[0])) is None:
                break
            if self.schema.layout is None:
                self._settle(parse(lines[0]))
            needed = {"input", "time"} | ({"output"} if self.schema.needs_output else set())
            if not needed <= pattern.groupindex.keys():
                break
            matched = lines
            found = pattern.findall(b"\n".join(lines))
            if len(found) != len(lines):
                matched = [line for line in lines if pattern.fullmatch(line)]
                lines = [line for line in lines if not pattern.fullmatch(line)]
                found = pattern.findall(b"\n".join(matched))
            else:
                lines = []
            rest += self._matched(pattern.groupindex, found, matched)
        return rest + lines

    def _matched(
        self, groups: Mapping[str, int], found: Sequence[tuple[bytes, ...]], lines: Sequence[bytes]
    ) -> list[bytes]:
        """Fold what the pattern took out of `lines`; give back the lines whose payload is not plain."""
        rest: list[bytes] = []
        at_input, at_time, at_output = groups["input"] - 1, groups["time"] - 1, groups.get("output", 0) - 1
        for window, members in self._by_window([match[at_time] for match in found], lines, rest):
            chosen = range(len(lines)) if members is None else members
            inputs = [found[index][at_input] for index in chosen]
            outputs = [found[index][at_output] for index in chosen] if self.schema.needs_output else []
            if self._bulk(window, inputs, outputs):
                continue
            plain = [self._looks_plain(place, inputs, outputs) for place in range(len(inputs))]
            if any(plain) and self._bulk(window, list(compress(inputs, plain)), list(compress(outputs, plain))):
                rest += [lines[index] for index, ok in zip(chosen, plain, strict=True) if not ok]
            else:
                rest += [lines[index] for index in chosen]
        return rest

    def _looks_plain(self, place: int, inputs: Sequence[bytes], outputs: Sequence[bytes]) -> bool:
        layout = self.schema.layout
        assert layout is not None
        rows = _rows(inputs[place])
        if inputs[place].count(b",") != rows * (len(layout.inputs) - 1):
            return False
        return not outputs or rows == _rows(outputs[place]) == 1

    def _by_window(
        self, times: Sequence[bytes], lines: Sequence[bytes], rest: list[bytes]
    ) -> Iterator[tuple[int, list[int] | None]]:
        """Windows with the indices of their records (None: all). Times that are none go to `rest`."""
        windows: dict[bytes, int | None] = {}
        try:
            for text in set(times):
                moment = timestamp(text.decode())
                windows[text] = 0 if self.window_of is None else self.window_of(moment)
        except BadRecord:
            rest += lines
            return
        if len(wanted := set(windows.values())) == 1:
            if (only := wanted.pop()) is not None:
                yield only, None
            return
        members: dict[int, list[int]] = {}
        for index, text in enumerate(times):
            if (window := windows[text]) is not None:
                members.setdefault(window, []).append(index)
        yield from members.items()

    def _bulk(self, window: int, inputs: list[bytes], outputs: list[bytes]) -> bool:
        """Fold payloads; False, with nothing folded, where one of them is not plain."""
        layout = self.schema.layout
        assert layout is not None
        try:
            sides = [table.from_csv(_unescape(inputs), layout.inputs)]
            if self.schema.needs_output:
                sides.append(table.from_csv(_unescape(outputs), layout.outputs))
        except table.Irregular:
            return False
        if len(sides) > 1 and not sides[0].rows == sides[1].rows == len(inputs):
            return False  # rows of several records could be mispaired
        self._add(window, sides, len(inputs))
        return True

    def _add(self, window: int, sides: Sequence[table.Columns], records: int) -> None:
        state = self.state(window)
        state.records += records
        state.rows += sides[0].rows
        state.widths[sum(len(side.columns) for side in sides)] += sides[0].rows
        layout = self.schema.layout
        assert layout is not None
        for side, positions in zip(sides, (layout.input_features, layout.output_features), strict=False):
            for column, feature in zip(side.columns, positions, strict=True):
                target = state.features[feature.name]
                if isinstance(column, tuple):
                    target.add(column[0], column[1], feature)  # type: ignore[call-arg, arg-type]
                else:
                    target.add(column, feature)  # type: ignore[call-arg, arg-type]

    def _careful(self, line: bytes, source: str) -> None:
        window: int | None = None
        placed = self.unplaced
        try:
            record = parse(line)
            if self.schema.layout is None and record.inputs is not None:
                self._settle(record)
            window = self._window(record)
            if window is None:
                return
            placed = self.state(window)
            self._add(window, self._sides(record, placed), 1)
        except BadRecord as reason:
            placed.refuse(str(reason))
            if len(self.bad) < KEPT:
                self.bad.append(Bad(source, str(reason), line[:_LINE_KEPT].decode("utf-8", "replace")))

    def _settle(self, record: Record) -> None:
        inputs, outputs = record.inputs or ((),), record.outputs or ((),)
        self.schema.settle(inputs[0], outputs[0])

    def _window(self, record: Record) -> int | None:
        if self.window_of is None:
            return 0
        if record.time is None:
            raise BadRecord("no inferenceTime")
        return self.window_of(record.time)

    def _sides(self, record: Record, state: WindowState) -> list[table.Columns]:
        if record.inputs is None:
            raise BadRecord("endpointInput is missing")
        schema = self.schema
        layout = schema.layout
        assert layout is not None
        try:
            sides = [table.from_rows(_cells(record.inputs, layout.input_names), layout.inputs)]
        except BadRecord:
            state.widths[_width(record)] += len(record.inputs)
            raise
        if schema.needs_output:
            if record.outputs is None:
                raise BadRecord("endpointOutput is missing")
            if len(record.outputs) != len(record.inputs):
                raise BadRecord("endpointOutput has another number of rows")
            sides.append(table.from_rows(_cells(record.outputs, layout.output_names), layout.outputs))
        return sides


def _rows(payload: bytes) -> int:
    return payload.count(b"\\n") + (not payload.endswith(b"\\n"))


def _width(record: Record) -> int:
    return len(record.inputs[0]) if record.inputs else 0


def _cells(rows: Sequence[Row], names: Sequence[str]) -> list[Sequence[object]]:
    return [table.row_cells(row, names) for row in rows]


def _is_text(chunk: bytes) -> bool:
    if chunk.isascii():
        return True
    try:
        chunk.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _unescape(payloads: Sequence[bytes]) -> bytes:
    """Payloads as they stand in JSON to CSV text; they end with one newline or none, else they are irregular."""
    text = b"\\n".join(payloads).replace(b"\\n\\n", b"\\n").removesuffix(b"\\n")
    return text.replace(b"\\n", b"\n")


def whole_lines(stream: BinaryIO, size: int = CHUNK) -> Iterator[bytes]:
    """The file in pieces of about `size` bytes that end at a line's end."""
    while piece := stream.read(size):
        yield piece + stream.readline()


def learn(line: bytes) -> re.Pattern[bytes] | None:
    """The shape of a line as a pattern with groups `input`, `output`, `time`; None where it is not a plain record."""
    parts: list[bytes] = []
    at, key, side = 0, b"", ""
    for token in _TOKEN.finditer(line):
        if line[token.end() :].lstrip()[:1] == b":":
            key = token.group()
            side = _SIDES.get(key, side)
            continue
        body = {
            b'"data"': b"(?P<%s>%s)" % (side.encode() or b"none", _DATA),
            b'"inferenceTime"': b"(?P<time>%s)" % _TIME,
            b'"eventId"': _PLAIN + b"*",
            b'"inferenceId"': _PLAIN + b"*",
        }.get(key)
        key = b""
        if body is not None:
            parts += [re.escape(line[at : token.start() + 1]), body]
            at = token.end() - 1
    parts.append(re.escape(line[at:]))
    try:
        pattern = re.compile(b"^" + b"".join(parts) + b"$", re.MULTILINE)
    except re.error:
        return None
    return pattern if _agrees(pattern, line) else None


def _agrees(pattern: re.Pattern[bytes], line: bytes) -> bool:
    """Whether the pattern reads from its own line what the JSON reader reads."""
    match = pattern.fullmatch(line)
    try:
        record = parse(line)
    except BadRecord:
        return False
    if match is None:
        return False
    groups = match.groupdict()
    for name, rows in (("input", record.inputs), ("output", record.outputs)):
        if (name in groups) != (rows is not None):
            return False
        if name in groups:
            text = groups[name].decode().replace("\\n", "\n")
            plain = [row.split(",") for row in text.split("\n") if row]
            if rows is None or [list(row) for row in rows] != plain:
                return False
    return "time" not in groups or timestamp(groups["time"].decode()) == record.time


def read_records(streams: Iterable[tuple[str, BinaryIO]]) -> Iterator[Record | Bad]:
    """Every record of the files with its ids and rows, for what must join them (quality, bias, explainability)."""
    for source, stream in streams:
        for line in stream:
            if not line.strip():
                continue
            try:
                yield parse(line)
            except BadRecord as reason:
                yield Bad(source, str(reason), line[:_LINE_KEPT].decode("utf-8", "replace"))
