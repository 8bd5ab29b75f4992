"""One message a model: events become messages, and messages are handled one model at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from shared.clients import Clients
from shared.dispatch import NotSentError, dispatch, handle_batch, is_batch, is_event, model_of

EVENTS = Path(__file__).parent / "events"
STACK = "arn:aws:cloudformation:eu-west-1:111122223333:stack/{name}/0f1e2d3c"


@pytest.mark.parametrize(
    ("detail", "model"),
    [
        ({"ModelPackageGroupName": "evergreen-flight-delays"}, "flight-delays"),
        ({"EndpointName": "evergreen-flight-delays-prod"}, "flight-delays"),
        ({"alarmName": "evergreen-churn-prod-v2-0badcafe-5xx"}, "churn"),
        ({"alarmName": "evergreen-churn-prod-data-quality-drift"}, "churn"),
        ({"stack-id": STACK.format(name="evergreen-serving-churn-prod")}, "churn"),
        ({"stack-id": STACK.format(name="evergreen-monitoring-a-prod-b-prod")}, "a-prod-b"),
        ({"pipelineArn": "arn:aws:sagemaker:eu-west-1:111122223333:pipeline/evergreen-churn"}, "churn"),
        ({"bucket": {"name": "b"}, "object": {"key": "releases/churn/v2-0badcafe/verified.json"}}, "churn"),
        ({"EndpointName": "evergreen-churn-staging"}, None),
        ({"EndpointName": "other-churn-prod"}, None),
        ({"object": "nonsense"} | {"object": {}}, None),
        ({"EndpointName": 3}, None),
        ({}, None),
    ],
)
def test_the_model_is_told_from_the_event_alone(detail: dict[str, Any], model: str | None) -> None:
    assert model_of({"source": "aws.any", "detail": detail}, "evergreen", "prod") == model


def test_a_tick_is_about_every_model() -> None:
    assert (
        model_of({"source": "evergreen.tick", "detail": {"EndpointName": "evergreen-x-prod"}}, "evergreen", "prod")
        is None
    )


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        yield boto3.client("sqs").create_queue(
            QueueName="models.fifo", Attributes={"FifoQueue": "true", "DeduplicationScope": "messageGroup"}
        )["QueueUrl"]


def messages(queue: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    while True:
        received = (
            boto3.client("sqs")
            .receive_message(QueueUrl=queue, MaxNumberOfMessages=10, AttributeNames=["MessageGroupId"])
            .get("Messages", [])
        )
        if not received:
            return found
        for message in received:
            boto3.client("sqs").delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
            found.append((message["Attributes"]["MessageGroupId"], json.loads(message["Body"])["model"]))


def send(queue: str, event: dict[str, Any], models: list[str], invocation: str = "i1") -> dict[str, str]:
    return dispatch(
        Clients().sqs, queue, event, app="evergreen", stage="prod", models=lambda: models, invocation=invocation
    )


def test_a_tick_sends_one_message_for_each_of_many_models(queue: str) -> None:
    models = [f"m{n:03d}" for n in range(203)]
    assert set(send(queue, {"source": "evergreen.tick"}, models)) == set(models)
    assert sorted(messages(queue)) == [(model, model) for model in models]


def test_an_event_that_names_its_model_lists_none(queue: str) -> None:
    def listed() -> list[str]:
        raise AssertionError("the event names its model")

    event = {"source": "aws.sagemaker", "detail": {"EndpointName": "evergreen-churn-prod"}}
    dispatch(Clients().sqs, queue, event, app="evergreen", stage="prod", models=listed, invocation="i1")
    assert messages(queue) == [("churn", "churn")]


def test_a_retried_invocation_sends_nothing_twice_and_another_event_sends_again(queue: str) -> None:
    for invocation in ("i1", "i1", "i2"):
        send(queue, {"source": "evergreen.tick"}, ["churn", "fraud"], invocation)
    assert sorted(messages(queue)) == [("churn", "churn"), ("churn", "churn"), ("fraud", "fraud"), ("fraud", "fraud")]


def test_a_message_that_is_not_accepted_fails_the_event(queue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sqs = Clients().sqs
    monkeypatch.setattr(
        sqs, "send_message_batch", lambda **_: {"Failed": [{"Id": "1", "Message": "no key"}]}, raising=False
    )
    with pytest.raises(NotSentError, match="messages of fraud: no key"):
        dispatch(
            sqs,
            queue,
            {"source": "evergreen.tick"},
            app="evergreen",
            stage="prod",
            models=lambda: ["churn", "fraud"],
            invocation="i1",
        )


def record(message: str, model: str) -> dict[str, Any]:
    return {
        "messageId": message,
        "body": json.dumps({"model": model}),
        "attributes": {"MessageGroupId": model},
        "eventSource": "aws:sqs",
    }


def test_a_model_that_fails_is_received_again_with_what_follows_it_and_no_other() -> None:
    done: list[str] = []

    def reconcile(model: str) -> None:
        if model == "slow" and "slow" not in done:
            done.append(model)
            raise TimeoutError
        done.append(model)

    batch = {"Records": [record("1", "slow"), record("2", "churn"), record("3", "slow"), record("4", "fraud")]}
    assert is_batch(batch)
    assert handle_batch(batch, reconcile) == {"batchItemFailures": [{"itemIdentifier": "1"}, {"itemIdentifier": "3"}]}
    assert done == ["slow", "churn", "fraud"]


@pytest.mark.parametrize("event", [{}, {"retrain": "churn"}, {"Records": [{"eventSource": "aws:s3"}]}, {"Records": 3}])
def test_a_direct_invocation_is_neither_an_event_nor_a_batch(event: dict[str, Any]) -> None:
    assert not is_batch(event)
    assert not is_event(event)
