"""Captured data: events that are repeated or out of order give the same verdicts."""

import io
import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from drift_analyzer.baseline_builder import ReferenceColumn, build_baseline
from monitor import handler as lambda_handler
from monitor.captured import CapturedObject, captured_objects
from monitor.environment import CaptureEnvironment

RNG = np.random.default_rng(8)
KEY = "flight-delays/capture/evergreen-flight-delays-prod/AllTraffic/2026/02/14/17/{}.jsonl"
RELEASE = "releases/flight-delays/v3-0badcafe/baselines/data-quality"


class Bucket:
    """S3 in memory, with the operations that the handler uses."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:
        return {"Body": io.BytesIO(self.objects[Key]), "ETag": f'"{hash(self.objects[Key])}"'}

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, ContentType: str) -> None:
        self.objects[Key] = Body

    def get_paginator(self, name: str) -> "Bucket":
        assert name == "list_objects_v2"
        return self

    def paginate(self, *, Bucket: str, Prefix: str) -> list[dict[str, Any]]:
        return [{"Contents": [{"Key": key} for key in sorted(self.objects) if key.startswith(Prefix)]}]


class Parameters:
    def __init__(self) -> None:
        self.values = {"/evergreen/flight-delays/prod/release": "v3-0badcafe|image|arn|sha"}

    def get_parameters(self, *, Names: list[str]) -> dict[str, Any]:
        found = [{"Name": name, "Value": self.values[name]} for name in Names if name in self.values]
        return {"Parameters": found}


@pytest.fixture
def parameters() -> Parameters:
    return Parameters()


def captured(shift: float, hour: int, rows: int = 300) -> bytes:
    lines = []
    for index, value in enumerate(RNG.normal(shift, 1, rows)):
        side = {"observedContentType": "text/csv", "mode": "INPUT", "data": f"{value:.4f}", "encoding": "CSV"}
        meta = {"eventId": str(index), "inferenceTime": f"2026-02-14T{hour:02}:{index % 60:02}:00Z"}
        lines.append(json.dumps({"captureData": {"endpointInput": side}, "eventMetadata": meta, "eventVersion": "0"}))
    return "\n".join(lines).encode() + b"\n"


def message(key: str, number: int) -> dict[str, Any]:
    detail = {"bucket": {"name": "data"}, "object": {"key": key, "etag": "e"}}
    event = {"detail-type": "Object Created", "source": "aws.s3", "detail": detail}
    return {"messageId": str(number), "body": json.dumps(event)}


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, ledger: Any, parameters: Parameters) -> Bucket:
    statistics, constraints = build_baseline([ReferenceColumn("x", RNG.normal(size=4000))])
    objects = {
        f"{RELEASE}/statistics.json": json.dumps(statistics).encode(),
        f"{RELEASE}/constraints.json": json.dumps(constraints).encode(),
        KEY.format("a"): captured(0, 17),
        KEY.format("b"): captured(2, 18),
        KEY.format("c"): captured(2, 18) + b"{broken\n",
        KEY.format("d"): captured(2, 19),
    }
    found = Bucket(objects)
    variables = {"APP": "evergreen", "STAGE": "prod", "LEDGER_TABLE": "ledger", "ARTIFACT_BUCKET": "artifacts"}
    environment = CaptureEnvironment.read(variables)
    clients = SimpleNamespace(s3=found, ssm=parameters, dynamodb=ledger)
    monkeypatch.setattr(lambda_handler, "_environment", lambda: environment)
    monkeypatch.setattr(lambda_handler, "_clients", lambda: clients)
    return found


def verdicts(bucket: Bucket) -> dict[str, Any]:
    return {key: json.loads(body) for key, body in bucket.objects.items() if key.endswith("/verdict.json")}


def test_events_that_repeat_and_overtake_give_the_same_verdicts(bucket: Bucket, ledger: Any) -> None:
    before = dict(bucket.objects)
    in_order = [message(KEY.format(name), place) for place, name in enumerate("abcd")]
    for one in in_order:
        assert lambda_handler.handler({"Records": [one]}, None) == {"batchItemFailures": []}
    expected = verdicts(bucket)
    assert [body["status"] for body in expected.values()] == ["Ok", "Drift", "Drift"]
    assert [body["alarm"] for body in expected.values()] == [False, False, True]
    assert [body["rows"] for body in expected.values()] == [300, 600, 300]
    rows = ledger.rows.values()
    assert [row["status"]["S"] for row in rows] == ["OK", "Drift", "Drift"]
    assert {row["pk"]["S"] for row in rows} == {"flight-delays#prod"}
    assert {row["release_id"]["S"] for row in rows} == {"v3-0badcafe"}
    assert next(row["window_end"]["S"] for row in rows) == "2026-02-14T18:00:00+00:00"
    assert all(row["report"]["S"].endswith("/report.html") for row in rows)
    written = dict(ledger.rows)
    bucket.objects.clear()
    bucket.objects.update(before)
    lambda_handler.handler({"Records": [in_order[2], in_order[0], in_order[2]]}, None)
    lambda_handler.handler({"Records": [in_order[1], in_order[0]]}, None)
    lambda_handler.handler({"Records": [in_order[3], in_order[1]]}, None)
    assert verdicts(bucket) == expected
    assert ledger.rows == written
    assert sum(key.endswith("report.html") for key in bucket.objects) == 3


def test_a_report_shows_earlier_verdicts_and_recent_decisions(bucket: Bucket, ledger: Any) -> None:
    for number, (at, step, reason) in enumerate(
        [
            ("2026-02-14T18:05:00+00:00", "Start", "drift in 3 of the last 6 verdicts"),
            ("2026-02-14T18:15:00+00:00", "Nothing", "the cooldown lasts"),
        ]
    ):
        row = {"step": {"S": step}, "reason": {"S": reason}, "sk": {"S": f"retrain-decision#{at}#{number}"}}
        ledger.rows[row["sk"]["S"]] = row
    for place, name in enumerate("abd"):
        lambda_handler.handler({"Records": [message(KEY.format(name), place)]}, None)
    (page,) = [body.decode() for key, body in bucket.objects.items() if key.endswith("1771095600/report.html")]
    assert "drift in 3 of the last 6 verdicts" in page
    assert "the cooldown lasts" not in page, "idle decisions are shown only if there is no other"
    assert page.count("<title>2026-02-14 ") == 3, "one block for each window"
    assert "<script" not in page
    assert "http" not in page, "the page needs nothing from elsewhere"


def test_a_models_window_is_the_one_of_its_policy(bucket: Bucket, ledger: Any, parameters: Parameters) -> None:
    policy = json.dumps({"captured_window_seconds": 6 * 3600})
    parameters.values["/evergreen/flight-delays/prod/monitoring"] = policy
    lambda_handler.handler({"Records": [message(KEY.format(name), 1) for name in "abd"]}, None)
    rows = sorted((row["window_start"]["S"], row["window_end"]["S"]) for row in ledger.rows.values())
    day = "2026-02-14T{}:00:00+00:00"
    assert rows == [
        (day.format("12"), day.format("18")),
        (day.format("18"), "2026-02-15T00:00:00+00:00"),
    ]


def test_a_message_that_fails_goes_back_alone(bucket: Bucket) -> None:
    batch = [message(KEY.format("gone"), 1), message(KEY.format("a"), 2)]
    assert lambda_handler.handler({"Records": batch}, None) == {"batchItemFailures": [{"itemIdentifier": "1"}]}
    assert len(verdicts(bucket)) == 1


def test_metrics_go_out_in_the_embedded_format(bucket: Bucket, capfd: pytest.CaptureFixture[str]) -> None:
    lambda_handler.handler({"Records": [message(KEY.format("b"), 1)]}, None)
    lines = [json.loads(text) for text in capfd.readouterr().out.splitlines() if "_aws" in text]
    directive = lines[0]["_aws"]["CloudWatchMetrics"][0]
    assert directive["Namespace"] == "aws/sagemaker/Endpoints/data-metrics"
    assert lines[0]["data_drift"] == 1.0
    assert lines[0]["Endpoint"] == "evergreen-flight-delays-prod"


def test_only_captured_objects_are_taken_and_keys_of_notifications_are_decoded() -> None:
    other = {"bucket": {"name": "b"}, "object": {"key": "flight-delays/raw/dt=2026-01/x.csv", "etag": "e"}}
    assert captured_objects({"detail": other}) == []
    key = "m/capture/ep/AllTraffic/2026/01/01/00/a%2Bb.jsonl"
    notification = {"Records": [{"s3": {"bucket": {"name": "b"}, "object": {"key": key, "eTag": "e"}}}]}
    assert captured_objects(notification) == [CapturedObject("b", "m/capture/ep/AllTraffic/2026/01/01/00/a+b.jsonl")]
