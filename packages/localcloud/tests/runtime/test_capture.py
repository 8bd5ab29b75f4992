"""Data capture: keys, records and encodings as Model Monitor reads them."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from localcloud_support.containers import DENIED_ROLE, ROLE, FakeAws

from localcloud.cloud import Clock
from localcloud.runtime.capture import DataCapture
from localcloud.runtime.contract import Invocation, InvocationResult
from localcloud.runtime.transfer import S3Clients, Transfer

REQUEST = Invocation(b"69,0,153.7\n", "text/csv", inference_id="42", custom_attributes="trace=1")
RESULT = InvocationResult(b"0.5\n", "text/csv; charset=utf-8")


class FixedClock(Clock):
    def now(self) -> datetime:
        return datetime(2026, 2, 14, 12, 25, 49, 87_000, tzinfo=UTC)


def capture(aws: FakeAws, role: str = ROLE, **changes: Any) -> DataCapture:
    config = {
        "EnableCapture": True,
        "InitialSamplingPercentage": 100,
        "DestinationS3Uri": "s3://data/flights/capture/",
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]},
    }
    cloud = replace(aws.cloud, clock=FixedClock())
    return DataCapture(cloud, Transfer(S3Clients(cloud), role, cloud.region), config | changes, "prices", "AllTraffic")


def written(aws: FakeAws) -> list[dict[str, Any]]:
    keys = aws.keys("flights/capture/prices/AllTraffic/")
    return [json.loads(line) for key in keys for line in aws.get(key).splitlines()]


def test_records_and_keys_have_sagemakers_form(aws: FakeAws) -> None:
    capturing = capture(aws)
    capturing.record(REQUEST, RESULT)
    capturing.close()
    (key,) = aws.keys()
    uid = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    assert re.fullmatch(rf"flights/capture/prices/AllTraffic/2026/02/14/12/25-49-087-{uid}\.jsonl", key)
    (record,) = written(aws)
    assert re.fullmatch(uid, record["eventMetadata"].pop("eventId"))
    assert record == {
        "captureData": {
            "endpointInput": {
                "observedContentType": "text/csv", "mode": "INPUT", "data": "69,0,153.7\n", "encoding": "CSV",
            },
            "endpointOutput": {
                "observedContentType": "text/csv; charset=utf-8", "mode": "OUTPUT", "data": "0.5\n", "encoding": "CSV",
            },
        },
        "eventMetadata": {
            "customAttributes": ["trace=1"], "inferenceId": "42", "inferenceTime": "2026-02-14T12:25:49Z",
        },
        "eventVersion": "0",
    }  # fmt: skip


def test_unnamed_content_types_are_base64(aws: FakeAws) -> None:
    capturing = capture(aws, CaptureContentTypeHeader={"JsonContentTypes": ["application/json"]})
    capturing.record(REQUEST, InvocationResult(b"{}", "application/json"))
    capturing.close()
    (record,) = written(aws)
    assert record["captureData"]["endpointInput"]["data"] == "NjksMCwxNTMuNwo="
    assert record["captureData"]["endpointInput"]["encoding"] == "BASE64"
    assert record["captureData"]["endpointOutput"]["encoding"] == "JSON"


def test_only_the_configured_directions_are_captured(aws: FakeAws) -> None:
    capturing = capture(aws, CaptureOptions=[{"CaptureMode": "Output"}])
    capturing.record(REQUEST, RESULT)
    capturing.close()
    assert [list(record["captureData"]) for record in written(aws)] == [["endpointOutput"]]


def test_the_sampling_percentage_is_applied(aws: FakeAws) -> None:
    capturing = capture(aws, InitialSamplingPercentage=25)
    for _ in range(2000):
        capturing.record(REQUEST, RESULT)
    capturing.close()
    assert 350 < len(written(aws)) < 650


def test_many_records_share_a_file_that_is_written_within_seconds(aws: FakeAws) -> None:
    capturing = capture(aws)
    for _ in range(100):
        capturing.record(REQUEST, RESULT)
    deadline = time.monotonic() + 5
    while len(written(aws)) < 100:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert len(aws.keys()) == 1
    capturing.close()


def test_a_role_that_may_not_write_does_not_fail_invocations(aws: FakeAws) -> None:
    capturing = capture(aws, role=DENIED_ROLE)
    capturing.record(REQUEST, RESULT)
    capturing.close()
    assert aws.keys() == []
