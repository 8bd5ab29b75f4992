"""Labels that arrive late, out of order, twice or corrected, joined to what was predicted."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

from monitor.capture import Bad, read_records
from monitor.jsonio import loads
from monitor.records import BadRecord, Record, Row, csv_rows, json_rows

_LINE_KEPT = 2000


@dataclass
class Labels:
    """Labels by id. One that was corrected replaces the earlier: files are read in the order of arrival.

    Their keys hold the hour in which the *label* arrived, so the order of names is that of arrival.
    """

    by_id: dict[str, tuple[Row, ...]] = field(default_factory=dict)
    bad: list[Bad] = field(default_factory=list)
    corrected: int = 0

    def read(self, stream: BinaryIO, source: str) -> None:
        """Fold one ground-truth file in; a bad line is kept aside."""
        for line in stream:
            if not line.strip():
                continue
            try:
                key, rows = _label(line)
            except BadRecord as reason:
                self.bad.append(Bad(source, str(reason), line[:_LINE_KEPT].decode("utf-8", "replace")))
                continue
            if key in self.by_id and self.by_id[key] != rows:
                self.corrected += 1
            self.by_id[key] = rows

    def of(self, record: Record) -> tuple[Row, ...] | None:
        """The labels of a request's rows, in their order: by `inferenceId`, else by `eventId`."""
        for key in (record.inference_id, record.event_id):
            if key is not None and key in self.by_id:
                return self.by_id[key]
        return None


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


@dataclass(frozen=True)
class Joined:
    """A window's predictions with their labels, in order of inference time, and how many have one.

    A record here holds one row: a request of many is many predictions.
    """

    pairs: tuple[tuple[Record, Row], ...]
    times: tuple[float, ...]
    """Inference time of every prediction, labelled or not, epoch seconds."""

    @property
    def coverage(self) -> float:
        return len(self.pairs) / len(self.times) if self.times else 0.0


def join(records: Iterable[Record | Bad], labels: Labels, start: float | None, end: float | None) -> Joined:
    """Predictions of inference times in [start, end), each once however often it was captured, with their labels."""
    seen: dict[str, Record] = {}
    for record in records:
        if isinstance(record, Bad) or record.outputs is None or (key := record.event_id or record.join_key) is None:
            continue
        if record.time is None and (start is not None or end is not None):
            continue
        moment = record.time or 0.0
        if (start is None or moment >= start) and (end is None or moment < end):
            seen[key] = record
    ordered = sorted(seen.values(), key=lambda record: record.time or 0.0)
    pairs = tuple(pair for record in ordered for pair in _labelled(record, labels))
    return Joined(pairs, tuple(record.time or 0.0 for record in ordered for _ in record.outputs or ()))


def _labelled(record: Record, labels: Labels) -> Iterator[tuple[Record, Row]]:
    """Each answered row of a request with its label.

    A request whose labels, or inputs, are not as many as its answers has none: whose they are nobody can say.
    """
    outputs, found = record.outputs or (), labels.of(record) or ()
    inputs = record.inputs or (None,) * len(outputs)
    if len(outputs) == len(found) == len(inputs):
        for row, answer, label in zip(inputs, outputs, found, strict=True):
            yield replace(record, inputs=None if row is None else (row,), outputs=(answer,)), label


def merged_lines(stream: BinaryIO, source: str) -> Iterator[tuple[Record, Row]]:
    """Records with labels of a file in the form `sagemakerMergeJson`; lines without a label are left out."""
    labels = Labels()
    lines = [line for line in stream if line.strip()]
    for line in lines:
        try:
            if b"groundTruthData" in line:
                key, rows = _label(line)
                labels.by_id[key] = rows
        except BadRecord:
            continue
    for record in read_records([(source, iter(lines))]):  # type: ignore[list-item]
        if isinstance(record, Record):
            yield from _labelled(record, labels)


def attribute(row: Row, name: str | None) -> Any:
    """A cell by name, or by position where `name` is a number (None: the first). Raises BadRecord."""
    try:
        if isinstance(row, Mapping):
            return row[name] if name is not None else next(iter(row.values()))
        return row[int(name.removeprefix("_c")) if name is not None else 0]
    except (KeyError, IndexError, ValueError, StopIteration):
        raise BadRecord(f"no attribute {name!r}") from None
