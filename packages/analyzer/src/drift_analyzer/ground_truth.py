"""Join predictions with labels, which may arrive late, out of order, twice or corrected."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from drift_analyzer.capture_reader import BadRecord
from drift_analyzer.capture_records import Record, Row, UnreadableRecordError, csv_rows, json_rows, parse
from drift_analyzer.jsonio import loads

_MAX_LINE = 2000


@dataclass
class Labels:
    """Labels by id, one row of labels for each row of the request.

    A corrected label replaces the earlier one, so files must be read in the order of arrival.
    """

    by_id: dict[str, tuple[Row, ...]] = field(default_factory=dict)
    bad: list[BadRecord] = field(default_factory=list)
    corrected: int = 0

    def read(self, stream: Iterable[bytes], source: str) -> None:
        """Add the labels of one ground-truth file; a bad line is kept in `bad`."""
        for line in stream:
            if not line.strip():
                continue
            try:
                key, rows = _label(line)
            except UnreadableRecordError as reason:
                self.bad.append(_bad(source, reason, line))
                continue
            if key in self.by_id and self.by_id[key] != rows:
                self.corrected += 1
            self.by_id[key] = rows

    def of(self, record: Record) -> tuple[Row, ...] | None:
        """Return the labels of a request by `inferenceId`, otherwise by `eventId`; None if there are none."""
        for key in (record.inference_id, record.event_id):
            if key is not None and key in self.by_id:
                return self.by_id[key]
        return None


def _bad(source: str, reason: object, line: bytes) -> BadRecord:
    return BadRecord(source, str(reason), line[:_MAX_LINE].decode("utf-8", "replace"))


def _label(line: bytes) -> tuple[str, tuple[Row, ...]]:
    try:
        body = loads(line)
        meta, data = body["eventMetadata"], body["groundTruthData"]
        key, text, encoding = meta.get("inferenceId") or meta.get("eventId"), data["data"], data.get("encoding", "CSV")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UnreadableRecordError("not a ground-truth record") from None
    if not key:
        raise UnreadableRecordError("a label without eventId")
    return str(key), json_rows(text) if str(encoding).upper() == "JSON" else csv_rows(text)


@dataclass(frozen=True, slots=True)
class LabelledRow:
    """One row of a request with its prediction and label.

    Attributes:
        time: Inference time, epoch seconds.
        input: Features; None if only responses were captured.
        output: Prediction.
        label: Label.
    """

    time: float
    input: Row | None
    output: Row
    label: Row


@dataclass(frozen=True)
class LabelledData:
    """A window's predictions with their labels.

    Attributes:
        rows: Labelled rows in order of inference time.
        times: Inference time of every predicted row, labelled or not, epoch seconds.
        bad: Records and labels that could not be read or paired.
    """

    rows: tuple[LabelledRow, ...]
    times: tuple[float, ...]
    bad: tuple[BadRecord, ...] = ()


def join(records: Iterable[Record | BadRecord], labels: Labels, start: float | None, end: float | None) -> LabelledData:
    """Join the predictions whose inference time is in [start, end) with their labels.

    A record that was captured several times counts once.
    """
    seen: dict[str, Record] = {}
    bad = list(labels.bad)
    for record in records:
        if isinstance(record, BadRecord):
            bad.append(record)
        elif (key := record.event_id or record.join_key) is None:
            bad.append(BadRecord("", "neither eventId nor inferenceId", ""))
        elif record.outputs is not None and in_time_range(record, start, end):
            seen[key] = record
    rows: list[LabelledRow] = []
    times: list[float] = []
    for record in sorted(seen.values(), key=lambda record: record.time or 0.0):
        times += [record.time or 0.0] * len(record.outputs or ())
        if (label := labels.of(record)) is not None:
            _pair(record, label, rows, bad)
    return LabelledData(tuple(rows), tuple(times), tuple(bad))


def in_time_range(record: Record, start: float | None, end: float | None) -> bool:
    """Return whether the inference time is in [start, end); a record without a time is in no bounded range."""
    if record.time is None:
        return start is None and end is None
    return (start is None or record.time >= start) and (end is None or record.time < end)


def _pair(record: Record, label: tuple[Row, ...], rows: list[LabelledRow], bad: list[BadRecord]) -> None:
    outputs, inputs, time = record.outputs or (), record.inputs, record.time or 0.0
    if len(outputs) != len(label) or (inputs is not None and len(inputs) != len(outputs)):
        counts = f"{len(inputs or ())} rows requested, {len(outputs)} predicted, {len(label)} labelled"
        bad.append(BadRecord(record.join_key or "", counts, ""))
        return
    for index, output in enumerate(outputs):
        rows.append(LabelledRow(time, None if inputs is None else inputs[index], output, label[index]))


def read_merged(streams: Iterable[tuple[str, Iterable[bytes]]], start: float | None, end: float | None) -> LabelledData:
    """Read files in the form `sagemakerMergeJson`: captured records that carry their label."""
    rows: list[LabelledRow] = []
    bad: list[BadRecord] = []
    for source, stream in streams:
        for line in stream:
            if not line.strip() or b"groundTruthData" not in line:
                continue
            try:
                record, (_, label) = parse(line), _label(line)
            except UnreadableRecordError as reason:
                bad.append(_bad(source, reason, line))
                continue
            if in_time_range(record, start, end):
                _pair(record, label, rows, bad)
    rows.sort(key=lambda row: row.time)
    return LabelledData(tuple(rows), tuple(row.time for row in rows), tuple(bad))


def attribute(row: Row, name: str | None) -> Any:
    """Return a cell by name, or by position if `name` is a number; None is the first cell.

    Raises:
        UnreadableRecordError: There is no such cell.
    """
    try:
        if isinstance(row, Mapping):
            return row[name] if name is not None else next(iter(row.values()))
        return row[int(name.removeprefix("_c")) if name is not None else 0]
    except (KeyError, IndexError, ValueError, StopIteration):
        raise UnreadableRecordError(f"no attribute {name!r}") from None
