"""`evergreen alarms`, `evergreen queues` and `evergreen reconcile`: the runbook's other commands."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Any

import typer

from evergreen.errors import FailedError
from evergreen.options import STATE, JsonOption, PortOption, StageOption, StateOption, Target, TargetOption
from evergreen.output import say, say_json
from evergreen.target import Place

queues = typer.Typer(
    no_args_is_help=True, help="Queues of the platform: what could not be handled.", rich_markup_mode=None
)

# A controller answers when it has reconciled every model.
_ANSWER_SECONDS = 330

QueueArgument = Annotated[str, typer.Argument(help="undelivered, failures, capture, capture-unread")]


class Controller(StrEnum):
    """Functions that reconcile."""

    RELEASE = "release"
    RETRAIN = "retrain"


def alarms(
    history: Annotated[bool, typer.Option("--history", help="The last changes of state instead.")] = False,
    stage: StageOption = None,
    target: TargetOption = Target.LOCAL,
    port: PortOption = None,
    state: StateOption = STATE,
    as_json: JsonOption = False,
) -> None:
    """Print the alarms that are in ALARM, and why."""
    from evergreen.commands.stages import open_stage

    platform = open_stage(Place(target, port, state), stage)
    cloudwatch = platform.session.client("cloudwatch")
    prefix = f"{platform.application.name}-"
    found: list[dict[str, Any]] = []
    if history:
        changes = cloudwatch.describe_alarm_history(HistoryItemType="StateUpdate", MaxRecords=50)["AlarmHistoryItems"]
        for change in reversed(changes):
            if change["AlarmName"].startswith(prefix):
                found.append(
                    {"at": change["Timestamp"], "alarm": change["AlarmName"], "text": change["HistorySummary"]}
                )
    else:
        pages = cloudwatch.get_paginator("describe_alarms").paginate(StateValue="ALARM")
        for alarm in (alarm for page in pages for alarm in page["MetricAlarms"]):
            if not alarm["AlarmName"].startswith(prefix):
                continue
            at, text = alarm["StateUpdatedTimestamp"], alarm["StateReason"]
            found.append({"at": at, "alarm": alarm["AlarmName"], "text": text})
    if as_json:
        say_json(found)
        return
    for one in found:
        say(f"{one['at'].isoformat(timespec='seconds')}  {one['alarm']}  {one['text']}")
    if not found:
        say("No alarm has changed its state" if history else "No alarm is in ALARM")


@queues.command("list")
def list_queues(
    stage: StageOption = None,
    target: TargetOption = Target.LOCAL,
    port: PortOption = None,
    state: StateOption = STATE,
    as_json: JsonOption = False,
) -> None:
    """Print how many messages wait in each queue."""
    from evergreen.commands.stages import open_stage
    from evergreen.deployed import short_name

    platform = open_stage(Place(target, port, state), stage)
    sqs = platform.session.client("sqs")
    found = []
    for logical, url in sorted(platform.resources("AWS::SQS::Queue").items()):
        counts = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        waiting = int(counts.get("ApproximateNumberOfMessages", 0))
        handled = int(counts.get("ApproximateNumberOfMessagesNotVisible", 0))
        found.append({"queue": short_name(logical), "waiting": waiting, "being_handled": handled})
    if as_json:
        say_json(found)
        return
    for one in found:
        say(f"{one['queue']:<16} {one['waiting']} waiting, {one['being_handled']} being handled")


@queues.command("show")
def show_queue(
    queue: QueueArgument,
    stage: StageOption = None,
    target: TargetOption = Target.LOCAL,
    port: PortOption = None,
    state: StateOption = STATE,
    as_json: JsonOption = False,
) -> None:
    """Print up to ten messages of a queue, and leave them in it."""
    from evergreen.commands.stages import open_stage

    platform = open_stage(Place(target, port, state), stage)
    url = platform.resource("AWS::SQS::Queue", queue, what="queue")
    received = platform.session.client("sqs").receive_message(
        QueueUrl=url,
        VisibilityTimeout=0,
        MaxNumberOfMessages=10,
        MessageAttributeNames=["All"],
    )
    messages = received.get("Messages", [])
    attributes = [
        {name: value.get("StringValue", "") for name, value in message.get("MessageAttributes", {}).items()}
        for message in messages
    ]
    if as_json:
        pairs = zip(messages, attributes, strict=True)
        say_json([{"body": message["Body"], "attributes": given} for message, given in pairs])
        return
    for message, given in zip(messages, attributes, strict=True):
        say("  ".join([*(f"{name}={value}" for name, value in given.items()), message["Body"]]))
    if not messages:
        say(f"{queue} is empty")


@queues.command("purge")
def purge_queue(
    queue: QueueArgument,
    stage: StageOption = None,
    target: TargetOption = Target.LOCAL,
    port: PortOption = None,
    state: StateOption = STATE,
) -> None:
    """Delete every message of a queue. Its alarm ends with them."""
    from evergreen.commands.stages import open_stage

    platform = open_stage(Place(target, port, state), stage)
    platform.session.client("sqs").purge_queue(QueueUrl=platform.resource("AWS::SQS::Queue", queue, what="queue"))
    say(f"{queue} is purged")


def reconcile(
    controller: Annotated[Controller, typer.Argument(help="Which controller to run.")],
    stage: StageOption = None,
    target: TargetOption = Target.LOCAL,
    port: PortOption = None,
    state: StateOption = STATE,
    as_json: JsonOption = False,
) -> None:
    """Run a controller now, without waiting for its next tick.

    It is safe at any time: a controller compares what is desired with what is there, and takes one step.
    """
    from botocore.config import Config

    from evergreen.commands.stages import open_stage

    platform = open_stage(Place(target, port, state), stage)
    name = platform.resource("AWS::Lambda::Function", controller.value, what="function")
    config = Config(read_timeout=_ANSWER_SECONDS, retries={"mode": "standard", "total_max_attempts": 1})
    answer = platform.session.client("lambda", config=config).invoke(FunctionName=name, Payload=b"{}")
    result = json.loads(answer["Payload"].read() or b"null")
    if "FunctionError" in answer:
        raise FailedError(f"The {controller.value} function failed: {result.get('errorMessage', result)}")
    if as_json:
        say_json(result)
        return
    for model, step in (result or {}).items():
        say(f"{model}: {step}")
