"""Parse captured records, in every form that SageMaker writes."""

import base64
import binascii
import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from drift_analyzer.jsonio import dumps, loads
from drift_analyzer.payload_forms import Row, UnreadableRecordError, rows_of_document

__all__ = ["Envelope", "Payload", "Record", "Row", "UnreadableRecordError", "csv_rows", "json_rows", "parse"]


@dataclass(frozen=True, slots=True)
class Payload:
    """What a request or a response held.

    Attributes:
        is_json: Whether it is JSON; otherwise CSV.
        data: Its text; JSON may also be a document.
    """

    is_json: bool
    data: Any

    def rows(self) -> tuple[Row, ...]:
        """Return the rows.

        Raises:
            UnreadableRecordError: The payload is malformed or holds no row.
        """
        return json_rows(self.data) if self.is_json else csv_rows(self.data)

    def first_row(self) -> Row:
        """Return the first row, without parsing the others where that is possible.

        Raises:
            UnreadableRecordError: The payload is malformed or holds no row.
        """
        if not self.is_json and isinstance(self.data, str):
            end = self.data.find("\n")
            line = self.data[: end if end >= 0 else None].removesuffix("\r")
            if line and '"' not in line:
                return csv_rows(line)[0]
        return self.rows()[0]

    def canonical(self) -> bytes:
        """Return the payload without what does not distinguish requests: the spelling and the end of lines."""
        if not isinstance(self.data, str):
            return dumps(self.data)
        text = self.data if self.is_json else self.data.replace("\r\n", "\n").removesuffix("\n")
        return text.encode("utf-8", "surrogatepass")


@dataclass(frozen=True, slots=True)
class Envelope:
    """A captured line of which the payloads are not parsed yet.

    Attributes:
        inputs: The side `endpointInput`, raw; None: not captured.
        outputs: The side `endpointOutput`, raw; None: not captured.
        meta: `eventMetadata`.
    """

    inputs: Any
    outputs: Any
    meta: Mapping[str, Any]

    @property
    def time(self) -> float | None:
        """The inference time in epoch seconds; None: not given.

        Raises:
            UnreadableRecordError: It is not ISO 8601.
        """
        text = self.meta.get("inferenceTime")
        return timestamp(text) if isinstance(text, str) else None


@dataclass(frozen=True, slots=True)
class Record:
    """One captured request.

    Attributes:
        inputs: Rows of the request; None: not captured.
        outputs: Rows of the response; None: not captured.
        time: Inference time, epoch seconds.
    """

    inputs: tuple[Row, ...] | None
    outputs: tuple[Row, ...] | None
    event_id: str | None
    inference_id: str | None
    time: float | None

    @property
    def join_key(self) -> str | None:
        """The id that labels are joined by: `inferenceId`, otherwise `eventId`."""
        return self.inference_id or self.event_id


def timestamp(text: str) -> float:
    """Convert an ISO 8601 time to epoch seconds; a time without an offset is UTC.

    Raises:
        UnreadableRecordError: The text is not such a time.
    """
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise UnreadableRecordError("the time is not ISO 8601") from None


def envelope(line: bytes) -> Envelope:
    """Parse one line of data capture, without its payloads.

    Raises:
        UnreadableRecordError: The line is not a captured record.
    """
    body = _object(_json(line, "the line is not JSON (truncated?)"), "the line")
    capture = _object(body.get("captureData"), "captureData")
    meta = _object(body.get("eventMetadata") or {}, "eventMetadata")
    return Envelope(capture.get("endpointInput"), capture.get("endpointOutput"), meta)


def parse(line: bytes) -> Record:
    """Parse one line of data capture.

    Raises:
        UnreadableRecordError: The line is not a captured record.
    """
    found = envelope(line)
    inputs, outputs = payload(found.inputs), payload(found.outputs)
    if inputs is None and outputs is None:
        raise UnreadableRecordError("neither endpointInput nor endpointOutput")
    return Record(
        None if inputs is None else inputs.rows(),
        None if outputs is None else outputs.rows(),
        _text(found.meta.get("eventId")),
        _text(found.meta.get("inferenceId")),
        found.time,
    )


def payload(side: Any) -> Payload | None:
    """Return what a captured side held; None if it was not captured.

    Raises:
        UnreadableRecordError: The side is malformed.
    """
    if not side:
        return None
    side = _object(side, "a captured side")
    data, encoding = side.get("data"), side.get("encoding", "CSV")
    if data is None or data == "":
        return None
    if encoding == "CSV":
        return Payload(False, data)
    if encoding == "JSON":
        return Payload(True, data)
    encoding = str(encoding).upper()
    if encoding == "BASE64":
        kind = str(side.get("observedContentType") or "").lower()
        try:
            data = base64.b64decode(data, validate=True).decode("utf-8")
        except (binascii.Error, UnicodeDecodeError, TypeError, ValueError):
            raise UnreadableRecordError("data is not BASE64 of text") from None
        return Payload("json" in kind or (not kind and data.lstrip()[:1] in ("{", "[")), data)
    if encoding in ("CSV", "JSON"):
        return Payload(encoding == "JSON", data)
    raise UnreadableRecordError("encoding is not CSV, JSON or BASE64")


def _json(data: bytes | str, reason: str) -> Any:
    try:
        return loads(data)
    except (ValueError, RecursionError):
        raise UnreadableRecordError(reason) from None


def _object(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise UnreadableRecordError(f"{name} is not an object")
    return value


def _text(value: Any) -> str | None:
    return str(value) if value not in (None, "") else None


def csv_rows(text: Any) -> tuple[Row, ...]:
    """Return the rows of CSV text; blank lines are not rows.

    Raises:
        UnreadableRecordError: The text is not CSV or holds no row.
    """
    if not isinstance(text, str):
        raise UnreadableRecordError("data is not text")
    try:
        rows = tuple(filter(None, csv.reader(io.StringIO(text, newline=""))))
    except csv.Error:
        raise UnreadableRecordError("data is not CSV") from None
    if not rows:
        raise UnreadableRecordError("data holds no row")
    return rows


def json_rows(data: Any) -> tuple[Row, ...]:
    """Return the rows of a JSON payload, which is one document or one for each line.

    Raises:
        UnreadableRecordError: The payload is not JSON or holds no row.
    """
    if not isinstance(data, str):
        documents = [data]
    else:
        try:
            documents = [loads(data)]
        except (ValueError, RecursionError):
            documents = [_json(line, "data is not JSON") for line in data.splitlines() if line.strip()]
    if len(documents) == 1:
        rows = tuple(rows_of_document(documents[0]))
    else:
        rows = tuple(row for document in documents for row in rows_of_document(document))
    if not rows:
        raise UnreadableRecordError("data holds no row")
    return rows
