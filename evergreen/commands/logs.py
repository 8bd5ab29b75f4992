"""`evergreen logs`: what the platform's functions wrote."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evergreen.errors import UsageError
from evergreen.options import STATE, JsonOption, PortOption, StageOption, StateOption, Target, TargetOption
from evergreen.output import say, say_json
from evergreen.target import Place

if TYPE_CHECKING:
    from evergreen.deployed import Platform

_SPAN = re.compile(r"(\d+)([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_POLL_SECONDS = 2.0
# Lambda's own messages in its text format.
_PLATFORM = ("START RequestId", "END RequestId", "REPORT RequestId", "INIT_START")


def logs(
    function: Annotated[str, typer.Argument(help="release, retrain, archive, verify, monitor, capture, …")],
    since: Annotated[str, typer.Option(help="How far back: 90s, 10m, 1h, 2d.")] = "1h",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing until Ctrl-C.")] = False,
    contains: Annotated[str, typer.Option("--filter", help="A CloudWatch Logs filter pattern, such as ERROR.")] = "",
    stage: StageOption = None,
    target: TargetOption = Target.LOCAL,
    port: PortOption = None,
    state: StateOption = STATE,
    as_json: JsonOption = False,
) -> None:
    """Print what a function of the platform logged."""
    from evergreen.commands.stages import open_stage

    if follow and as_json:
        raise UsageError("--follow never ends, so it cannot print one JSON document; leave out one of the two.")
    span = parse_span(since)
    place = Place(target, port, state)
    platform = open_stage(place, stage)
    group = log_group(platform, function)
    start = int(1000 * (place.now() - span).timestamp())
    if as_json:
        say_json(list(_events(platform, group, start, contains)))
        return
    seen: set[tuple[str, int, str]] = set()
    printed = False
    while True:
        for event in _events(platform, group, start, contains):
            identity = (event["stream"], event["timestamp"], event["message"])
            if identity not in seen:
                seen.add(identity)
                if not _is_of_platform(event["message"]):
                    say(as_line(event))
                    printed = True
        if not follow:
            break
        time.sleep(_POLL_SECONDS)
    if not printed:
        say(f"{function} logged nothing in the last {since}")


def parse_span(text: str) -> timedelta:
    """Return the length of time that a text such as `90s`, `10m`, `1h` or `2d` means.

    Raises:
        UsageError: It has another form.
    """
    match = _SPAN.fullmatch(text)
    if match is None:
        raise UsageError(f"--since {text}: should be a number and a unit, such as 90s, 10m, 1h or 2d.")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def log_group(platform: Platform, function: str) -> str:
    """Return the log group of a function of the platform stack.

    Raises:
        UsageError: There is no such function.
    """
    return platform.resource("AWS::Logs::LogGroup", function, what="function")


def _is_of_platform(message: str) -> bool:
    """Say whether Lambda itself wrote a message, about the start and the end of an invocation."""
    return message.startswith(_PLATFORM) or '"type":"platform.' in message[:120]


def as_line(event: Mapping[str, Any]) -> str:
    """Return an event as one line: time, level, message; a traceback follows on lines of its own."""
    at = datetime.fromtimestamp(event["timestamp"] / 1000, UTC).isoformat(timespec="seconds")
    text = str(event["message"]).rstrip("\n")
    try:
        record = json.loads(text)
    except ValueError:
        return f"{at}  {text}"
    if not isinstance(record, dict) or "message" not in record:
        return f"{at}  {text}"
    head = f"{at}  {record.get('level', ''):<7} {record['message']}"
    return "\n".join([head, *([str(record["exception"])] if record.get("exception") else [])])


def _events(platform: Platform, group: str, start: int, contains: str) -> Iterator[dict[str, Any]]:
    pages = platform.session.client("logs").get_paginator("filter_log_events")
    for page in pages.paginate(logGroupName=group, startTime=start, filterPattern=contains):
        for event in page["events"]:
            yield {"timestamp": event["timestamp"], "stream": event["logStreamName"], "message": event["message"]}
