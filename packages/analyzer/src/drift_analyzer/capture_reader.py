"""Fold captured JSON lines into window states.

Lines that differ only in their values are read in bulk. Of other lines the envelope is parsed one by one, and the rows
are folded in bulk too. Property tests hold that the state is the same as if each record was folded by itself.
"""

import csv
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import BinaryIO

import numpy as np

from drift_analyzer import columns, line_shapes
from drift_analyzer.baseline_files import Schema
from drift_analyzer.capture_records import Record, UnreadableRecordError, envelope, parse, payload
from drift_analyzer.inference_time import NO_WINDOW, TimeWindows
from drift_analyzer.line_shapes import Lines, Positions, Spans
from drift_analyzer.pending_rows import Pending, first_columns, plain_csv, rows_of_both_sides
from drift_analyzer.window_state import PAYLOADS, WindowState, distinct

_CHUNK = 1 << 21
_LONG_LINE = 1 << 22
"""Longer lines are read by themselves: the index of a chunk takes a multiple of its size."""
MAX_LINE = 1 << 26
"""Longer lines are bad records. SageMaker's largest request has 25 MB, as BASE64 33 MB."""
MAX_KEPT = 1000
"""Bad lines kept for a person to read; all are counted."""
_MAX_SHOWN = 2000
_SHAPES = 4
_PIECE = 1 << 20
_MASK = b"\x7f\x7f"
"""Stands for an escaped quote while lines are matched."""
_NEEDLESS_QUOTES = re.compile(rb'(?<![^,\n])"([^",\n]*)"(?![^,\n])')
"""A quoted cell that would be the same without quotes."""


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
        fast: False folds each record by itself; the result is the same.
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
    pending: dict[int, Pending] = field(default_factory=dict)

    def read(self, stream: BinaryIO, source: str) -> None:
        """Fold one file. A record that cannot be read is counted and kept; it does not stop the run."""
        for chunk, complete in _whole_lines(stream):
            if not complete:
                self._refuse(self._unplaced(), f"the line is longer than {MAX_LINE >> 20} MB", chunk, source)
            elif len(chunk) > _LONG_LINE:
                self._collect(chunk, source)
                self._flush(source)
            else:
                self._chunk(chunk, source)

    def state(self, window: int) -> WindowState:
        """Return the state of a window, empty on first use."""
        if window not in self.windows:
            self.windows[window] = WindowState.empty(self.schema.features)
        return self.windows[window]

    def _chunk(self, chunk: bytes, source: str) -> None:
        chunk = chunk.replace(b"\r\n", b"\n") if b"\r" in chunk else chunk
        lines = Lines(chunk)
        rest = np.flatnonzero(lines.ends > lines.starts)
        if self.fast and _is_text(chunk):
            masked = _mask_escapes(chunk)
            rest = self._read_plain(lines if masked is chunk else Lines(masked), rest)
        for index in rest.tolist():
            if (line := lines.line(index)).strip():
                self._collect(line, source)
                if not self.fast:
                    self._flush(source)
        self._flush(source)

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
                rest.append(self._matched(lines, unread, spans, shape.time_length))
                unread = unread[:0]
                break
            rest.append(self._matched(lines, unread[good], _pick(spans, good), shape.time_length))
            unread = unread[~good]
        return np.sort(np.concatenate([*rest, unread]))

    def _shape(self, lines: Lines, first: Positions) -> line_shapes.LineShape | None:
        """Return the shape of a line. Mostly it is that of the last chunk, since an endpoint's lines hardly change."""
        line = lines.line(first[0])
        if self.shape is None or not line_shapes.matches(self.shape, line):
            self.shape = line_shapes.learn(line)
        return self.shape

    def _matched(self, lines: Lines, chosen: Positions, spans: dict[str, Spans], time_length: int) -> Positions:
        """Fold lines that have the shape; return those whose payload is not plain CSV."""
        if self.times.unbounded:
            found = np.zeros(len(chosen), dtype=np.int64)
        else:
            found = self.times.of(lines.epochs(spans["time"][0], time_length)[0])
        rest: list[Positions] = [chosen[:0]]
        present = distinct(found)[0].tolist()
        for window in present:
            if window == NO_WINDOW:
                continue
            inside = found == window
            members = _pick(spans, inside) if len(present) > 1 else spans
            inputs = line_shapes.payloads(lines, members["input"])
            outputs = line_shapes.payloads(lines, members["output"]) if self.schema.needs_output else []
            outputs = first_columns(outputs, self._output_width)
            if self._bulk(window, inputs, outputs) or self._bulk_quoted(window, inputs, outputs):
                continue
            plain = [self._looks_plain(place, inputs, outputs) for place in range(len(inputs))]
            folded = any(plain) and self._bulk(window, list(compress(inputs, plain)), list(compress(outputs, plain)))
            rest.append(chosen[inside][~np.array(plain)] if folded else chosen[inside])
        return np.concatenate(rest)

    @property
    def _output_width(self) -> int:
        layout = self.schema.layout
        return len(layout.outputs) if layout is not None else 0

    def _looks_plain(self, place: int, inputs: Sequence[bytes], outputs: Sequence[bytes]) -> bool:
        layout = self.schema.layout
        assert layout is not None
        rows = _rows(inputs[place])
        if inputs[place].count(b",") != rows * (len(layout.inputs) - 1) or _MASK in inputs[place]:
            return False
        return not outputs or rows == _rows(outputs[place])

    def _bulk(self, window: int, inputs: list[bytes], outputs: list[bytes]) -> bool:
        """Fold payloads as they are in JSON. Return False, with nothing folded, if one is not plain CSV."""
        text, answers = b"\n".join(inputs), b"\n".join(outputs)
        if _MASK in text or _MASK in answers:
            return False
        if outputs and any(_rows(one) != _rows(other) for one, other in zip(inputs, outputs, strict=True)):
            return False  # a record's predictions would be paired with another record's rows
        if b"\\" in text:
            inputs = [payload.replace(b"\\n", b"\n") for payload in inputs]
            text = text.replace(b"\\n", b"\n")
        return self._fold_csv(window, inputs, text, answers.replace(b"\\n", b"\n") if outputs else None)

    def _bulk_quoted(self, window: int, inputs: list[bytes], outputs: list[bytes]) -> bool:
        """Fold payloads of one row each, of which some have quotes. Return False, with nothing folded, otherwise."""
        if any(b"\\" in text for text in inputs) or any(b"\\" in text or _MASK in text for text in outputs):
            return False
        layout = self.schema.layout
        assert layout is not None
        texts = [text.replace(_MASK, b'"') for text in inputs]
        plain = _NEEDLESS_QUOTES.sub(rb"\1", b"\n".join(texts))
        if b'"' not in plain and self._fold_csv(window, texts, plain, b"\n".join(outputs) if outputs else None):
            return True
        try:
            # An open quote would join two texts to one row.
            rows = list(csv.reader([text.decode() for text in texts]))
            if len(rows) != len(texts) or set(map(len, rows)) != {len(layout.inputs)}:
                return False
            sides = [[columns.from_cells(list(zip(*rows, strict=True)), layout.inputs)]]
            if outputs:
                sides.append(_columns_of(b"\n".join(outputs), layout.outputs))
                if sides[1][0].rows != len(rows):
                    return False
        except (csv.Error, columns.IrregularCsvError):
            return False
        self._add(window, sides, len(inputs))
        self._add_payloads(window, list(map(zlib.crc32, texts)))
        return True

    def _fold_csv(self, window: int, inputs: Sequence[bytes], text: bytes, output: bytes | None) -> bool:
        """Fold plain CSV: the requests, also joined, and their answers. Return False if it is irregular."""
        layout = self.schema.layout
        assert layout is not None
        try:
            sides = [_columns_of(text, layout.inputs)]
            if output is not None:
                sides.append(_columns_of(output, layout.outputs))
        except columns.IrregularCsvError:
            return False
        self._add(window, sides, len(inputs))
        self._add_payloads(window, list(map(zlib.crc32, inputs)))
        return True

    def _add(self, window: int, sides: Sequence[Sequence[columns.Columns]], records: int) -> None:
        state = self.state(window)
        rows = sum(piece.rows for piece in sides[0])
        state.records += records
        state.rows += rows
        layout = self.schema.layout
        assert layout is not None
        state.widths[sum(len(side[0].columns) for side in sides)] += rows
        for side, positions in zip(sides, (layout.input_features, layout.output_features), strict=False):
            for piece in side:
                for column, feature in zip(piece.columns, positions, strict=True):
                    target = state.features[feature.name]
                    if isinstance(column, tuple):
                        target.add(column[0], column[1], feature)  # type: ignore[call-arg, arg-type]
                    else:
                        target.add(column, feature)  # type: ignore[call-arg, arg-type]

    def _add_payloads(self, window: int, checksums: list[int]) -> None:
        values, counts = distinct(np.array(checksums, dtype=np.int64))
        self.state(window).add_payloads(dict(zip(values[:PAYLOADS].tolist(), counts[:PAYLOADS].tolist(), strict=True)))

    def _collect(self, line: bytes, source: str) -> None:
        """Parse one line, and keep its rows until the next flush."""
        placed = None
        try:
            record = envelope(line)
            window = self._window(record.time)
            if window is None:
                return
            placed = window
            self._collect_payloads(window, record.inputs, record.outputs, line)
        except UnreadableRecordError as reason:
            self._refuse(self._unplaced() if placed is None else self.state(placed), str(reason), line, source)

    def _collect_payloads(self, window: int, raw_input: object, raw_output: object, line: bytes) -> None:
        given = payload(raw_input)
        if given is None:
            if payload(raw_output) is None:
                raise UnreadableRecordError("neither endpointInput nor endpointOutput")
            raise UnreadableRecordError("endpointInput is missing")
        if self.schema.layout is None:
            answer = payload(raw_output)
            self.schema.set_layout(given.first_row(), answer.first_row() if answer is not None else ())
        layout = self.schema.layout
        assert layout is not None
        pending = self.pending.get(window)
        if pending is None:
            pending = self.pending[window] = Pending()
        answer = payload(raw_output) if layout.outputs else None
        if layout.outputs and answer is None:
            raise UnreadableRecordError("endpointOutput is missing")
        if not given.is_json and (answer is None or not answer.is_json):
            text = plain_csv(given.data, len(layout.inputs))
            output = plain_csv(answer.data, len(layout.outputs), cut=True) if answer is not None else ("", 0)
            if text is not None and output is not None and (answer is None or text[1] == output[1]):
                pending.add_plain(text[0], output[0] if answer is not None else None, line)
                return
        inputs, outputs = rows_of_both_sides(given, answer, layout, self.state(window))
        pending.add_rows(inputs, outputs, zlib.crc32(given.canonical()), layout)

    def _flush(self, source: str) -> None:
        """Fold the rows that were collected."""
        for window, pending in self.pending.items():
            if pending.texts:
                inputs = [text.encode() for text in pending.texts]
                output = "\n".join(pending.answers).encode() if pending.answers else None
                if not self._fold_csv(window, inputs, b"\n".join(inputs), output):
                    self._fold_one_by_one(window, pending, source)
            self._flush_rows(window, pending)
        self.pending.clear()

    def _flush_rows(self, window: int, pending: Pending) -> None:
        layout = self.schema.layout
        assert layout is not None
        for batch in pending.batches:
            if batch.records:
                sides = [[columns.from_cells(batch.input_cells(layout.input_names), layout.inputs)]]
                if layout.outputs:
                    sides.append([columns.from_cells(batch.output_cells(layout), layout.outputs)])
                self._add(window, sides, batch.records)
                self._add_payloads(window, batch.checksums)

    def _fold_one_by_one(self, window: int, pending: Pending, source: str) -> None:
        """Fold texts of which one is irregular: rows of different width that even out."""
        layout = self.schema.layout
        assert layout is not None
        for place, line in enumerate(pending.lines):
            text = pending.texts[place].encode()
            output = pending.answers[place].encode() if pending.answers else None
            if self._fold_csv(window, [text], text, output):
                continue
            try:
                record = envelope(line)
                given = payload(record.inputs)
                assert given is not None
                answer = payload(record.outputs) if layout.outputs else None
                inputs, outputs = rows_of_both_sides(given, answer, layout, self.state(window))
                pending.add_rows(inputs, outputs, zlib.crc32(given.canonical()), layout)
            except UnreadableRecordError as reason:
                self._refuse(self.state(window), str(reason), line, source)

    def _refuse(self, state: WindowState, reason: str, line: bytes, source: str) -> None:
        state.add_bad(reason)
        if len(self.bad) < MAX_KEPT:
            self.bad.append(BadRecord(source, reason, line[:_MAX_SHOWN].decode("utf-8", "replace")))

    def _unplaced(self) -> WindowState:
        """Return the state that counts a bad record without a time."""
        return self.state(0) if self.times.unbounded else self.unplaced

    def _set_layout(self, record: Record) -> None:
        inputs, outputs = record.inputs or ((),), record.outputs or ((),)
        self.schema.set_layout(inputs[0], outputs[0])

    def _window(self, time: float | None) -> int | None:
        if self.times.unbounded:
            return 0
        if time is None:
            raise UnreadableRecordError("no inferenceTime")
        window = self.times.of_one(time)
        return None if window == NO_WINDOW else window


def _columns_of(text: bytes, numeric: Sequence[bool]) -> list[columns.Columns]:
    """Convert plain CSV in pieces, because the index of a text takes a multiple of its size."""
    if len(text) <= 4 * _PIECE:
        return [columns.from_csv(text, numeric)]
    found, start = [], 0
    while start < len(text):
        end = text.find(b"\n", start + _PIECE)
        end = len(text) if end < 0 else end
        found.append(columns.from_csv(text[start:end], numeric))
        start = end + 1
    return found


def _mask_escapes(chunk: bytes) -> bytes:
    """Replace escaped quotes by control characters of the same length, and escaped line ends of Windows by Unix's.

    Lines are then recognised by their quotes. Text with escaped backslashes, where a quote may follow one, stays as it
    is. Line ends inside quoted cells are part of the value, so they stay too.
    """
    if b"\\" not in chunk or b"\\\\" in chunk or b"\x7f" in chunk:
        return chunk
    if b'\\"' in chunk:
        return chunk.replace(b'\\"', _MASK)
    return chunk.replace(b"\\r\\n", b"\\n") if b"\\r" in chunk else chunk


def _rows(text: bytes) -> int:
    return text.count(b"\\n") + 1


def _pick(spans: dict[str, Spans], flags: line_shapes.Flags) -> dict[str, Spans]:
    return {kind: (starts[flags], ends[flags]) for kind, (starts, ends) in spans.items()}


def _is_text(chunk: bytes) -> bool:
    if chunk.isascii():
        return True
    try:
        chunk.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _whole_lines(stream: BinaryIO, size: int = _CHUNK) -> Iterator[tuple[bytes, bool]]:
    """Yield the file in pieces of whole lines, long lines by themselves; of a line that is too long, its begin.

    Returns:
        Pieces, and whether they are complete.
    """
    while piece := stream.read(size):
        tail = b"" if piece.endswith(b"\n") else stream.readline(MAX_LINE)
        if len(tail) <= _LONG_LINE - size:
            yield piece + tail, True
            continue
        start = piece.rfind(b"\n") + 1
        if start:
            yield piece[:start], True
        line = piece[start:] + tail
        if len(line) <= MAX_LINE:
            del tail
            yield line, True
            continue
        while tail and not tail.endswith(b"\n"):
            tail = stream.readline(size)
        yield line[:_MAX_SHOWN], False


def read_records(streams: Iterable[tuple[str, BinaryIO]]) -> Iterator[Record | BadRecord]:
    """Yield every record of the files with its ids and rows, for the jobs that join or explain them."""
    for source, stream in streams:
        for line in stream:
            if not line.strip():
                continue
            try:
                yield parse(line)
            except UnreadableRecordError as reason:
                yield BadRecord(source, str(reason), line[:_MAX_SHOWN].decode("utf-8", "replace"))
