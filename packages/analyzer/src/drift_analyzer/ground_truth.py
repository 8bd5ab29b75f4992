"""Labels that arrive late, out of order, twice or corrected, joined to what was predicted."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from drift_analyzer.capture import Bad
from drift_analyzer.jsonio import loads
from drift_analyzer.records import BadRecord, Record, Row, csv_rows, json_rows, parse

_LINE_KEPT = 2000


@dataclass
class Labels:
    """Labels by id, a row of labels for each row of the request. A corrected one replaces the earlier.

    Files are read in the order of arrival: their keys hold the hour in which the *label* arrived.
    """

    by_id: dict[str, tuple[Row, ...]] = field(default_factory=dict)
    bad: list[Bad] = field(default_factory=list)
    corrected: int = 0

    def read(self, stream: Iterable[bytes], source: str) -> None:
        """Fold one ground-truth file in; a bad line is kept aside."""
        for line in stream:
            if not line.strip():
                continue
            try:
                key, rows = _label(line)
            except BadRecord as reason:
                self.bad.append(_bad(source, reason, line))
                continue
            if key in self.by_id and self.by_id[key] != rows:
                self.corrected += 1
            self.by_id[key] = rows

    def of(self, record: Record) -> tuple[Row, ...] | None:
        """The labels of a request: by `inferenceId`, else by `eventId`."""
        for key in (record.inference_id, record.event_id):
            if key is not None and key in self.by_id:
                return self.by_id[key]
        return None


def _bad(source: str, reason: object, line: bytes) -> Bad:
    return Bad(source, str(reason), line[:_LINE_KEPT].decode("utf-8", "replace"))


def _label(line: bytes) -> tuple[str, tuple[Row, ...]]:
    try:
        body = loads(line)
        meta, data = body["eventMetadata"], body["groundTruthData"]
        key, text, encoding = meta.get("inferenceId") or meta.get("eventId"), data["data"], data.get("encoding", "CSV")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BadRecord("not a ground-truth record") from None
    if not key:
        raise BadRecord("a label without eventId")
    return str(key), json_rows(text) if str(encoding).upper() == "JSON" else csv_rows(text)


@dataclass(frozen=True, slots=True)
class Labelled:
    """One row of a request with its answer and its label; `asked` is None where only answers were captured."""

    time: float
    asked: Row | None
    said: Row
    label: Row


@dataclass(frozen=True)
class Joined:
    """A window's answers with their labels, row by row in order of inference time, and how many have one."""

    rows: tuple[Labelled, ...]
    times: tuple[float, ...]
    """Inference time of every row that was answered, labelled or not, epoch seconds."""
    bad: tuple[Bad, ...] = ()
    """Records and labels that could not be read or paired."""

    @property
    def coverage(self) -> float:
        return len(self.rows) / len(self.times) if self.times else 0.0


def join(records: Iterable[Record | Bad], labels: Labels, start: float | None, end: float | None) -> Joined:
    """Answers of inference times in [start, end), each record once however often captured, with their labels."""
    seen: dict[str, Record] = {}
    bad = list(labels.bad)
    for record in records:
        if isinstance(record, Bad):
            bad.append(record)
        elif (key := record.event_id or record.join_key) is None:
            bad.append(Bad("", "neither eventId nor inferenceId", ""))
        elif record.outputs is not None and inside(record, start, end):
            seen[key] = record
    rows: list[Labelled] = []
    times: list[float] = []
    for record in sorted(seen.values(), key=lambda record: record.time or 0.0):
        times += [record.time or 0.0] * len(record.outputs or ())
        if (label := labels.of(record)) is not None:
            _pair(record, label, rows, bad)
    return Joined(tuple(rows), tuple(times), tuple(bad))


def inside(record: Record, start: float | None, end: float | None) -> bool:
    """Whether the record's inference time is in [start, end); one without a time is in no bounded range."""
    if record.time is None:
        return start is None and end is None
    return (start is None or record.time >= start) and (end is None or record.time < end)


def _pair(record: Record, label: tuple[Row, ...], rows: list[Labelled], bad: list[Bad]) -> None:
    said, asked, time = record.outputs or (), record.inputs, record.time or 0.0
    if len(said) != len(label) or (asked is not None and len(asked) != len(said)):
        counts = f"{len(asked or ())} rows asked, {len(said)} answered, {len(label)} labelled"
        bad.append(Bad(record.join_key or "", counts, ""))
        return
    for place, answer in enumerate(said):
        rows.append(Labelled(time, None if asked is None else asked[place], answer, label[place]))


def merged(streams: Iterable[tuple[str, Iterable[bytes]]], start: float | None, end: float | None) -> Joined:
    """Rows of files in the form `sagemakerMergeJson`: captured records that carry their label."""
    rows: list[Labelled] = []
    bad: list[Bad] = []
    for source, stream in streams:
        for line in stream:
            if not line.strip() or b"groundTruthData" not in line:
                continue
            try:
                record, (_, label) = parse(line), _label(line)
            except BadRecord as reason:
                bad.append(_bad(source, reason, line))
                continue
            if inside(record, start, end):
                _pair(record, label, rows, bad)
    rows.sort(key=lambda row: row.time)
    return Joined(tuple(rows), tuple(row.time for row in rows), tuple(bad))


def attribute(row: Row, name: str | None) -> Any:
    """A cell by name, or by position where `name` is a number (None: the first). Raises BadRecord."""
    try:
        if isinstance(row, Mapping):
            return row[name] if name is not None else next(iter(row.values()))
        return row[int(name.removeprefix("_c")) if name is not None else 0]
    except (KeyError, IndexError, ValueError, StopIteration):
        raise BadRecord(f"no attribute {name!r}") from None
