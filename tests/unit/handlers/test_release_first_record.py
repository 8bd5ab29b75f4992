"""The custom resource that makes a release record: create-only, gone only after its stack, and never silent."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from moto import mock_aws

from release import first_record
from shared.clients import Clients

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext
    from mypy_boto3_cloudformation.type_defs import StackTypeDef
    from mypy_boto3_ssm import SSMClient

NAME = "/evergreen/churn/staging/release"
STACK = "evergreen-serving-churn-staging"
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
def clients(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clients]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        yield Clients()


@pytest.fixture
def ssm(clients: Clients) -> SSMClient:
    return clients.ssm


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
    properties = {} if name is None else {"Name": name, "ServingStack": STACK}
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


def test_a_record_is_made_where_there_is_none(clients: Clients, ssm: SSMClient) -> None:
    assert first_record.provide(clients, event("Create")) == NAME
    assert value(ssm) == NONE


@pytest.mark.parametrize("kind", ["Create", "Update", "Delete"])
def test_a_live_record_survives_every_deployment(clients: Clients, ssm: SSMClient, kind: str) -> None:
    stack: StackTypeDef = {"StackName": STACK, "StackStatus": "UPDATE_COMPLETE", "CreationTime": datetime.now(UTC)}
    with Stubber(clients.cloudformation) as stacks:
        stacks.add_response("describe_stacks", {"Stacks": [stack]}, {"StackName": STACK})
        ssm.put_parameter(Name=NAME, Value="v1-00000000|i|a|s", Type="String")
        assert first_record.provide(clients, event(kind, PhysicalResourceId=NAME)) == NAME
    assert value(ssm) == "v1-00000000|i|a|s"


def test_a_record_goes_after_the_stack_that_read_it(clients: Clients, ssm: SSMClient) -> None:
    ssm.put_parameter(Name=NAME, Value="v1-00000000|i|a|s", Type="String")
    with Stubber(clients.cloudformation) as stacks:
        for _ in range(2):  # CloudFormation may ask twice
            stacks.add_client_error("describe_stacks", "ValidationError", f"Stack with id {STACK} does not exist")
            assert first_record.provide(clients, event("Delete", PhysicalResourceId=NAME)) == NAME
    with pytest.raises(ssm.exceptions.ParameterNotFound):
        value(ssm)


def test_a_record_stays_when_nobody_can_say_whether_its_stack_is_gone(clients: Clients, ssm: SSMClient) -> None:
    ssm.put_parameter(Name=NAME, Value="v1-00000000|i|a|s", Type="String")
    with Stubber(clients.cloudformation) as stacks, pytest.raises(ClientError, match="AccessDenied"):
        stacks.add_client_error("describe_stacks", "AccessDenied", "no")
        first_record.provide(clients, event("Delete", PhysicalResourceId=NAME))
    assert value(ssm).startswith("v1-")


def test_a_failed_create_is_deleted_without_touching_anything(clients: Clients, ssm: SSMClient) -> None:
    ssm.put_parameter(Name=NAME, Value=NONE, Type="String")
    first_record.provide(clients, event("Delete", PhysicalResourceId="request-id"))
    assert value(ssm) == NONE


def test_a_new_name_makes_a_new_record(clients: Clients, ssm: SSMClient) -> None:
    first_record.provide(clients, event("Create"))
    other = NAME.replace("churn", "fraud")
    assert first_record.provide(clients, event("Update", other, PhysicalResourceId=NAME)) == other
    assert (value(ssm), value(ssm, other)) == (NONE, NONE)


@pytest.mark.parametrize(("name", "status"), [(NAME, "SUCCESS"), (None, "FAILED"), ("relative", "FAILED")])
def test_cloudformation_is_always_answered(
    clients: Clients,
    answers: tuple[str, list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
    name: str | None,
    status: str,
) -> None:
    url, received = answers
    monkeypatch.setattr(first_record, "_clients", lambda: clients)
    first_record.handler(event("Create", name, ResponseURL=url), CONTEXT)
    [answer] = received
    assert answer["Status"] == status
    assert answer["PhysicalResourceId"] == (NAME if status == "SUCCESS" else "request")
    assert (answer["StackId"], answer["RequestId"], answer["LogicalResourceId"]) == ("stack", "1", "Record")
    # The presigned URL is signed for no content type.
    assert not answer["type"]
    assert ("Reason" in answer) == (status == "FAILED")
