"""The custom resource that makes a release record: create-only, and never silent."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import boto3
import pytest
from moto import mock_aws

from release import first_record

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext
    from mypy_boto3_ssm import SSMClient

NAME = "/evergreen/churn/staging/release"
NONE = "none|none|none|none"
CONTEXT = cast(
    "LambdaContext",
    SimpleNamespace(
        aws_request_id="request",
        function_name="first-record",
        memory_limit_in_mb=128,
        invoked_function_arn="arn:aws:lambda:us-east-1:123456789012:function:first-record",
    ),
)


@pytest.fixture
def ssm() -> Iterator[SSMClient]:
    with mock_aws():
        yield boto3.client("ssm", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")


class Answers(BaseHTTPRequestHandler):
    """CloudFormation's side of the presigned URL."""

    received: list[dict[str, Any]]

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.received.append({"type": self.headers["Content-Type"], **json.loads(body)})
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


@pytest.fixture
def answers() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    received: list[dict[str, Any]] = []
    server = HTTPServer(("127.0.0.1", 0), type("Server", (Answers,), {"received": received}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/answer", received
    server.shutdown()
    thread.join()
    server.server_close()


def event(kind: str, name: str | None = NAME, **more: Any) -> dict[str, Any]:
    properties = {} if name is None else {"Name": name}
    return {
        "RequestType": kind,
        "StackId": "stack",
        "RequestId": "1",
        "LogicalResourceId": "Record",
        "ResourceProperties": properties,
        **more,
    }


def value(ssm: SSMClient, name: str = NAME) -> str:
    return ssm.get_parameter(Name=name)["Parameter"]["Value"]


def test_a_record_is_made_where_there_is_none(ssm: SSMClient) -> None:
    assert first_record.provide(ssm, event("Create")) == NAME
    assert value(ssm) == NONE


@pytest.mark.parametrize("kind", ["Create", "Update", "Delete"])
def test_a_live_record_survives_every_deployment(ssm: SSMClient, kind: str) -> None:
    ssm.put_parameter(Name=NAME, Value="v1-00000000|i|a|s", Type="String")
    assert first_record.provide(ssm, event(kind, PhysicalResourceId=NAME)) == NAME
    assert value(ssm) == "v1-00000000|i|a|s"


def test_a_new_name_makes_a_new_record(ssm: SSMClient) -> None:
    first_record.provide(ssm, event("Create"))
    other = NAME.replace("churn", "fraud")
    assert first_record.provide(ssm, event("Update", other, PhysicalResourceId=NAME)) == other
    assert (value(ssm), value(ssm, other)) == (NONE, NONE)


@pytest.mark.parametrize(("name", "status"), [(NAME, "SUCCESS"), (None, "FAILED"), ("relative", "FAILED")])
def test_cloudformation_is_always_answered(
    ssm: SSMClient,
    answers: tuple[str, list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
    name: str | None,
    status: str,
) -> None:
    url, received = answers
    monkeypatch.setattr(first_record, "_clients", lambda: SimpleNamespace(ssm=ssm))
    first_record.handler(event("Create", name, ResponseURL=url), CONTEXT)
    [answer] = received
    assert answer["Status"] == status
    assert answer["PhysicalResourceId"] == (NAME if status == "SUCCESS" else "request")
    assert (answer["StackId"], answer["RequestId"], answer["LogicalResourceId"]) == ("stack", "1", "Record")
    # The presigned URL is signed for no content type.
    assert not answer["type"]
    assert ("Reason" in answer) == (status == "FAILED")
