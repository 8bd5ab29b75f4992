"""Parse captured records one line at a time, in every form that SageMaker writes."""

import base64
import binascii
import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from drift_analyzer.jsonio import loads

Row = Sequence[Any] | Mapping[str, Any]
_WRAPPERS = ("instances", "inputs", "predictions", "outputs", "data")
_OF_ROWS = ("instances", "predictions")
"""Wrappers whose list holds rows even if each is a single number: one prediction for each instance."""
_ROW_KEYS = ("features", "values")


class UnreadableRecordError(ValueError):
    """A record that cannot be read; the message is the reason, short and without data."""


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
    except ValueError:
        raise UnreadableRecordError("the time is not ISO 8601") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def parse(line: bytes) -> Record:
    """Parse one line of data capture.

    Raises:
        UnreadableRecordError: The line is not a captured record.
    """
    body = _object(_json(line, "the line is not JSON (truncated?)"), "the line")
    capture = _object(body.get("captureData"), "captureData")
    meta = body.get("eventMetadata") or {}
    meta = _object(meta, "eventMetadata")
    time = meta.get("inferenceTime")
    inputs, outputs = _side(capture.get("endpointInput")), _side(capture.get("endpointOutput"))
    if inputs is None and outputs is None:
        raise UnreadableRecordError("neither endpointInput nor endpointOutput")
    return Record(
        inputs,
        outputs,
        _text(meta.get("eventId")),
        _text(meta.get("inferenceId")),
        timestamp(time) if isinstance(time, str) else None,
    )


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


def _side(side: Any) -> tuple[Row, ...] | None:
    if not side:
        return None
    side = _object(side, "a captured side")
    data, encoding = side.get("data"), str(side.get("encoding", "CSV")).upper()
    if data is None or data == "":
        return None
    kind = str(side.get("observedContentType") or "").lower()
    if encoding == "BASE64":
        try:
            data = base64.b64decode(data, validate=True).decode("utf-8")
        except (binascii.Error, UnicodeDecodeError, TypeError, ValueError):
            raise UnreadableRecordError("data is not BASE64 of text") from None
        encoding = "JSON" if "json" in kind or (not kind and data.lstrip()[:1] in ("{", "[")) else "CSV"
    if encoding == "JSON":
        return json_rows(data)
    if encoding == "CSV":
        return csv_rows(data)
    raise UnreadableRecordError("encoding is not CSV, JSON or BASE64")


def csv_rows(text: Any) -> tuple[Row, ...]:
    """Return the rows of CSV text; blank lines are not rows.

    Raises:
        UnreadableRecordError: The text is not CSV or holds no row.
    """
    if not isinstance(text, str):
        raise UnreadableRecordError("data is not text")
    try:
        rows = tuple(row for row in csv.reader(io.StringIO(text, newline="")) if row)
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
    rows = tuple(row for document in documents for row in _rows(document))
    if not rows:
        raise UnreadableRecordError("data holds no row")
    return rows


def _rows(document: Any) -> Sequence[Row]:
    if isinstance(document, dict):
        for key in _WRAPPERS:
            if isinstance(items := document.get(key), list):
                return [_row(item) for item in items] if key in _OF_ROWS else _rows(items)
        return [_row(document)] if document else []
    if isinstance(document, list):
        if any(isinstance(item, list | dict) for item in document):
            return [_row(item) for item in document]
        return [document] if document else []
    return [[document]]


def _row(item: Any) -> Row:
    if isinstance(item, dict):
        for key in _ROW_KEYS:
            if isinstance(item.get(key), list):
                return list(item[key])
        return item
    return item if isinstance(item, list) else [item]
