"""Data capture: requests and responses of a variant as JSON lines in S3, in SageMaker's format.

Source: SageMaker Developer Guide, "Capture data from real-time endpoint": one file for many records, below
`{prefix}/{endpoint}/{variant}/yyyy/mm/dd/hh/`.
"""

from __future__ import annotations

import base64
import json
import logging
import random
import threading
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from localcloud.cloud import Cloud
from localcloud.runtime.contract import Invocation, InvocationResult
from localcloud.runtime.transfer import Transfer

log = logging.getLogger(__name__)
_FLUSH_SECONDS = 2.0
_FLUSH_BYTES = 4 << 20


class DataCapture:
    """Collects records and writes them in batches from a thread of its own, so that no response waits for S3.

    Args:
        config: `EndpointConfig.DataCaptureConfig`.
    """

    def __init__(
        self, cloud: Cloud, transfer: Transfer, config: Mapping[str, Any], endpoint: str, variant: str
    ) -> None:
        self._cloud, self._transfer = cloud, transfer
        self._base = f"{config['DestinationS3Uri'].rstrip('/')}/{endpoint}/{variant}"
        self._key = config.get("KmsKeyId")
        self._share = config.get("InitialSamplingPercentage", 100) / 100
        modes = {option["CaptureMode"] for option in config.get("CaptureOptions", ())}
        self._input = bool(modes & {"Input", "InputAndOutput"})
        self._output = bool(modes & {"Output", "InputAndOutput"})
        header = config.get("CaptureContentTypeHeader", {})
        self._csv = {_media_type(name) for name in header.get("CsvContentTypes", ())}
        self._json = {_media_type(name) for name in header.get("JsonContentTypes", ())}
        self._records: list[tuple[datetime, str]] = []
        self._size = 0
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._due = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._write_regularly, name=f"capture {endpoint}", daemon=True)
        self._thread.start()

    def record(self, request: Invocation, result: InvocationResult) -> None:
        """Collect one request with its response, subject to the sampling percentage."""
        if random.random() >= self._share:  # noqa: S311 (sampling needs no secure randomness)
            return
        now = self._cloud.clock.now().astimezone(UTC)
        data = {}
        if self._input:
            data["endpointInput"] = self._side(request.content_type, "INPUT", request.body)
        if self._output:
            data["endpointOutput"] = self._side(result.content_type, "OUTPUT", result.body)
        event: dict[str, Any] = {"eventId": str(uuid.uuid4())}
        if request.custom_attributes is not None:
            event["customAttributes"] = [request.custom_attributes]
        if request.inference_id is not None:
            event["inferenceId"] = request.inference_id
        event["inferenceTime"] = f"{now:%Y-%m-%dT%H:%M:%SZ}"
        line = json.dumps({"captureData": data, "eventMetadata": event, "eventVersion": "0"}, separators=(",", ":"))
        with self._lock:
            self._records.append((now, line))
            self._size += len(line)
            if self._size >= _FLUSH_BYTES:
                self._due.set()

    def flush(self) -> None:
        """Write the collected records, one file for each hour."""
        with self._writing:
            with self._lock:
                records, self._records, self._size = self._records, [], 0
            hours: dict[str, list[tuple[datetime, str]]] = {}
            for moment, line in records:
                hours.setdefault(f"{moment:%Y/%m/%d/%H}", []).append((moment, line))
            for hour, batch in hours.items():
                first = batch[0][0]
                name = f"{first:%M-%S}-{first.microsecond // 1000:03d}-{uuid.uuid4()}.jsonl"
                body = "".join(line + "\n" for _, line in batch).encode()
                try:
                    self._transfer.put(f"{self._base}/{hour}/{name}", body, "application/json", self._key)
                except (ClientError, BotoCoreError) as error:
                    log.error(
                        "%d captured records of %s could not be written and are lost: %s", len(batch), self._base, error
                    )

    def close(self) -> None:
        """Stop the thread and write the remaining records."""
        self._closed = True
        self._due.set()
        self._thread.join()
        self.flush()

    def _write_regularly(self) -> None:
        while not self._closed:
            self._due.wait(_FLUSH_SECONDS)
            self._due.clear()
            self.flush()

    def _side(self, content_type: str, mode: str, body: bytes) -> dict[str, str]:
        """Return the record of one direction; content types that the configuration does not name become BASE64."""
        kind = _media_type(content_type)
        encoding = "CSV" if kind in self._csv else "JSON" if kind in self._json else "BASE64"
        text = base64.b64encode(body).decode() if encoding == "BASE64" else body.decode("utf-8", errors="replace")
        return {"observedContentType": content_type, "mode": mode, "data": text, "encoding": encoding}


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()
