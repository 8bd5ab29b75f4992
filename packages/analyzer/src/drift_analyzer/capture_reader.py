"""Fold captured JSON lines into window states.

Plain lines are read in bulk, all others as JSON. Property tests hold that both paths give the same state.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import BinaryIO

import numpy as np

from drift_analyzer import columns, line_shapes
from drift_analyzer.baseline_files import Schema
from drift_analyzer.capture_records import Record, Row, UnreadableRecordError, parse
from drift_analyzer.inference_time import NO_WINDOW, TimeWindows
from drift_analyzer.line_shapes import Lines, Positions, Spans
from drift_analyzer.window_state import WindowState, distinct

_CHUNK = 1 << 21
MAX_KEPT = 1000
"""Bad lines kept for a person to read; all are counted."""
_MAX_LINE = 2000
_SHAPES = 4


@dataclass(slots=True)
class BadRecord:
    """A line that could not be read, with the reason."""

    source: str
    reason: str
    line: str


@dataclass(slots=True)
class Capture:
    """A reader that folds captured files into one state for each window of inference time.

    Attributes:
        schema: The baseline's features.
        times: The windows to sort records into.
        fast: False reads every line as JSON; the result is the same.
        windows: State by window start, epoch seconds.
        bad: The first `MAX_KEPT` bad lines.
        unplaced: Counts of the bad records that belong to no window.
        shape: Shape of the last chunk's lines.
    """

    schema: Schema
    times: TimeWindows = field(default_factory=TimeWindows)
    fast: bool = True
    windows: dict[int, WindowState] = field(default_factory=dict)
    bad: list[BadRecord] = field(default_factory=list)
    unplaced: WindowState = field(default_factory=WindowState)
    shape: line_shapes.LineShape | None = None

    def read(self, stream: BinaryIO, source: str) -> None:
        """Fold one file. A record that cannot be read is counted and kept; it does not stop the run."""
        for chunk in _whole_lines(stream):
            self._chunk(chunk, source)

    def state(self, window: int) -> WindowState:
        """Return the state of a window, empty on first use."""
        if window not in self.windows:
            self.windows[window] = WindowState.empty(self.schema.features)
        return self.windows[window]

    def _chunk(self, chunk: bytes, source: str) -> None:
        lines = Lines(chunk.replace(b"\r\n", b"\n") if b"\r" in chunk else chunk)
        rest = np.flatnonzero(lines.ends > lines.starts)
        if self.fast and _is_text(chunk):
            rest = self._read_plain(lines, rest)
        for index in rest.tolist():
            if (line := lines.line(index)).strip():
                self._read_json(line, source)

    def _read_plain(self, lines: Lines, unread: Positions) -> Positions:
        """Fold the lines that have a learnt shape; return the others."""
        rest: list[Positions] = []
        for _ in range(_SHAPES):
            if not len(unread) or (shape := self._shape(lines, unread[:1])) is None:
                break
            if self.schema.layout is None:
                self._set_layout(parse(lines.line(unread[0])))
            needed = {"input"} | ({"output"} if self.schema.needs_output else set())
            needed |= set() if self.times.unbounded else {"time"}
            if not needed <= set(shape.kinds):
                break
            good, spans = line_shapes.match(shape, lines, unread)
            if good.all():
                rest.append(self._matched(lines, unread, spans))
                unread = unread[:0]
                break
            rest.append(self._matched(lines, unread[good], _pick(spans, good)))
            unread = unread[~good]
        return np.sort(np.concatenate([*rest, unread]))

    def _shape(self, lines: Lines, first: Positions) -> line_shapes.LineShape | None:
        """Return the shape of a line. Mostly it is that of the last chunk, since an endpoint's lines hardly change."""
        line = lines.line(first[0])
        if self.shape is None or not line_shapes.matches(self.shape, line):
            self.shape = line_shapes.learn(line)
        return self.shape

    def _matched(self, lines: Lines, chosen: Positions, spans: dict[str, Spans]) -> Positions:
        """Fold lines that have the shape; return those whose payload is not plain CSV."""
        if self.times.unbounded:
            found = np.zeros(len(chosen), dtype=np.int64)
        else:
            found = self.times.of(lines.epochs(spans["time"][0])[0])
        rest: list[Positions] = [chosen[:0]]
        present = distinct(found)[0].tolist()
        for window in present:
            if window == NO_WINDOW:
                continue
            inside = found == window
            members = _pick(spans, inside) if len(present) > 1 else spans
            inputs = line_shapes.payloads(lines, members["input"])
            outputs = line_shapes.payloads(lines, members["output"]) if self.schema.needs_output else []
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
        """Fold payloads. Return False, with nothing folded, if one of them is not plain CSV."""
        layout = self.schema.layout
        assert layout is not None
        try:
            sides = [columns.from_csv(_unescape(inputs), layout.inputs)]
            if self.schema.needs_output:
                sides.append(columns.from_csv(_unescape(outputs), layout.outputs))
        except columns.IrregularCsvError:
            return False
        if outputs and any(_rows(one) != _rows(other) for one, other in zip(inputs, outputs, strict=True)):
            return False  # a record's predictions would be paired with another record's rows
        self._add(window, sides, len(inputs))
        return True

    def _add(self, window: int, sides: Sequence[columns.Columns], records: int) -> None:
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

    def _read_json(self, line: bytes, source: str) -> None:
        window: int | None = None
        placed = self.unplaced
        try:
            record = parse(line)
            if self.schema.layout is None and record.inputs is not None:
                self._set_layout(record)
            window = self._window(record)
            if window is None:
                return
            placed = self.state(window)
            self._add(window, self._sides(record, placed), 1)
        except UnreadableRecordError as reason:
            placed.add_bad(str(reason))
            if len(self.bad) < MAX_KEPT:
                self.bad.append(BadRecord(source, str(reason), line[:_MAX_LINE].decode("utf-8", "replace")))

    def _set_layout(self, record: Record) -> None:
        inputs, outputs = record.inputs or ((),), record.outputs or ((),)
        self.schema.set_layout(inputs[0], outputs[0])

    def _window(self, record: Record) -> int | None:
        if self.times.unbounded:
            return 0
        if record.time is None:
            raise UnreadableRecordError("no inferenceTime")
        window = int(self.times.of(np.array([record.time]))[0])
        return None if window == NO_WINDOW else window

    def _sides(self, record: Record, state: WindowState) -> list[columns.Columns]:
        if record.inputs is None:
            raise UnreadableRecordError("endpointInput is missing")
        schema = self.schema
        layout = schema.layout
        assert layout is not None
        try:
            sides = [columns.from_rows(_cells(record.inputs, layout.input_names), layout.inputs)]
        except UnreadableRecordError:
            state.widths[_width(record)] += len(record.inputs)
            raise
        if schema.needs_output:
            if record.outputs is None:
                raise UnreadableRecordError("endpointOutput is missing")
            if len(record.outputs) != len(record.inputs):
                raise UnreadableRecordError("endpointOutput has another number of rows")
            sides.append(columns.from_rows(_cells(record.outputs, layout.output_names), layout.outputs))
        return sides


def _rows(payload: bytes) -> int:
    return payload.count(b"\\n") + 1


def _pick(spans: dict[str, Spans], flags: line_shapes.Flags) -> dict[str, Spans]:
    return {kind: (starts[flags], ends[flags]) for kind, (starts, ends) in spans.items()}


def _width(record: Record) -> int:
    return len(record.inputs[0]) if record.inputs else 0


def _cells(rows: Sequence[Row], names: Sequence[str]) -> list[Sequence[object]]:
    return [columns.row_cells(row, names) for row in rows]


def _is_text(chunk: bytes) -> bool:
    if chunk.isascii():
        return True
    try:
        chunk.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _unescape(payloads: Sequence[bytes]) -> bytes:
    """Join payloads, as they are in JSON, to CSV text. Only payloads of several rows still hold escapes."""
    text = b"\n".join(payloads)
    return text.replace(b"\\n", b"\n") if b"\\" in text else text


def _whole_lines(stream: BinaryIO, size: int = _CHUNK) -> Iterator[bytes]:
    """Yield the file in pieces of about `size` bytes that end at the end of a line."""
    while piece := stream.read(size):
        yield piece + stream.readline()


def read_records(streams: Iterable[tuple[str, BinaryIO]]) -> Iterator[Record | BadRecord]:
    """Yield every record of the files with its ids and rows, for the jobs that join or explain them."""
    for source, stream in streams:
        for line in stream:
            if not line.strip():
                continue
            try:
                yield parse(line)
            except UnreadableRecordError as reason:
                yield BadRecord(source, str(reason), line[:_MAX_LINE].decode("utf-8", "replace"))
