"""Captured JSONL to window states: in bulk where lines are plain, as JSON elsewhere; tests prove both equal."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import BinaryIO

import numpy as np

from drift_analyzer import envelope, table
from drift_analyzer.envelope import Lines, Positions, Spans
from drift_analyzer.records import BadRecord, Record, Row, parse
from drift_analyzer.schema import Schema
from drift_analyzer.state import WindowState, distinct
from drift_analyzer.times import NOWHERE, Windows

CHUNK = 1 << 21
KEPT = 1000
"""Bad lines kept aside for a person to read; all are counted."""
_LINE_KEPT = 2000
_SHAPES = 4


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
        times: which window a record belongs to.
        fast: False reads every line as JSON; the result is the same, which tests prove.
    """

    schema: Schema
    times: Windows = field(default_factory=Windows)
    fast: bool = True
    windows: dict[int, WindowState] = field(default_factory=dict)
    bad: list[Bad] = field(default_factory=list)
    unplaced: WindowState = field(default_factory=WindowState)
    shape: envelope.Shape | None = None

    def read(self, stream: BinaryIO, source: str) -> None:
        """Fold one file in. A record that cannot be read is counted and kept aside; nothing stops the run."""
        for chunk in whole_lines(stream):
            self._chunk(chunk, source)

    def state(self, window: int) -> WindowState:
        if window not in self.windows:
            self.windows[window] = WindowState.empty(self.schema.features)
        return self.windows[window]

    def _chunk(self, chunk: bytes, source: str) -> None:
        lines = Lines(chunk.replace(b"\r\n", b"\n") if b"\r" in chunk else chunk)
        rest = np.flatnonzero(lines.ends > lines.starts)
        if self.fast and _is_text(chunk):
            rest = self._fast(lines, rest)
        for index in rest.tolist():
            if (line := lines.line(index)).strip():
                self._careful(line, source)

    def _fast(self, lines: Lines, unread: Positions) -> Positions:
        """Fold the lines that have a learnt shape; give back the others."""
        rest: list[Positions] = []
        for _ in range(_SHAPES):
            if not len(unread) or (shape := self._shape(lines, unread[:1])) is None:
                break
            if self.schema.layout is None:
                self._settle(parse(lines.line(unread[0])))
            needed = {"input"} | ({"output"} if self.schema.needs_output else set())
            needed |= set() if self.times.timeless else {"time"}
            if not needed <= set(shape.kinds):
                break
            good, spans = envelope.match(shape, lines, unread)
            if good.all():
                rest.append(self._matched(lines, unread, spans))
                unread = unread[:0]
                break
            rest.append(self._matched(lines, unread[good], _pick(spans, good)))
            unread = unread[~good]
        return np.sort(np.concatenate([*rest, unread]))

    def _shape(self, lines: Lines, first: Positions) -> envelope.Shape | None:
        """The shape of a line: most often the one of the last chunk, since an endpoint's capture hardly changes."""
        line = lines.line(first[0])
        if self.shape is None or not envelope.has(self.shape, line):
            self.shape = envelope.learn(line)
        return self.shape

    def _matched(self, lines: Lines, chosen: Positions, spans: dict[str, Spans]) -> Positions:
        """Fold lines that have the shape; give back those whose payload is not plain."""
        if self.times.timeless:
            found = np.zeros(len(chosen), dtype=np.int64)
        else:
            found = self.times.of(lines.epochs(spans["time"][0])[0])
        rest: list[Positions] = [chosen[:0]]
        present = distinct(found)[0].tolist()
        for window in present:
            if window == NOWHERE:
                continue
            inside = found == window
            members = _pick(spans, inside) if len(present) > 1 else spans
            inputs = envelope.payloads(lines, members["input"])
            outputs = envelope.payloads(lines, members["output"]) if self.schema.needs_output else []
            if self._bulk(window, inputs, outputs):
                continue
            plain = [self._looks_plain(place, inputs, outputs) for place in range(len(inputs))]
            folded = any(plain) and self._bulk(window, list(compress(inputs, plain)), list(compress(outputs, plain)))
            rest.append(chosen[inside][~np.array(plain)] if folded else chosen[inside])
        return np.concatenate(rest)

    def _looks_plain(self, place: int, inputs: Sequence[bytes], outputs: Sequence[bytes]) -> bool:
        layout = self.schema.layout
        assert layout is not None
        rows = _rows(inputs[place])
        if inputs[place].count(b",") != rows * (len(layout.inputs) - 1):
            return False
        return not outputs or rows == _rows(outputs[place])

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
        if outputs and any(_rows(one) != _rows(other) for one, other in zip(inputs, outputs, strict=True)):
            return False  # a record's answers would be paired with another's rows
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
        if self.times.timeless:
            return 0
        if record.time is None:
            raise BadRecord("no inferenceTime")
        window = int(self.times.of(np.array([record.time]))[0])
        return None if window == NOWHERE else window

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
    return payload.count(b"\\n") + 1


def _pick(spans: dict[str, Spans], flags: envelope.Flags) -> dict[str, Spans]:
    return {kind: (starts[flags], ends[flags]) for kind, (starts, ends) in spans.items()}


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
    """Payloads as they stand in JSON to CSV text; only payloads of several rows still hold escapes."""
    text = b"\n".join(payloads)
    return text.replace(b"\\n", b"\n") if b"\\" in text else text


def whole_lines(stream: BinaryIO, size: int = CHUNK) -> Iterator[bytes]:
    """The file in pieces of about `size` bytes that end at a line's end."""
    while piece := stream.read(size):
        yield piece + stream.readline()


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
