"""Monitoring schedules in the control plane: when they are due, what they refuse, what a transform job cuts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localcloud.sagemaker.batch import TooLargeError, assembled, payloads
from localcloud.sagemaker.errors import AwsError
from localcloud.sagemaker.monitoring.timetable import Timetable, offset

_START = datetime(2013, 3, 1, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("expression", "hours"),
    [
        ("cron(0 * ? * * *)", tuple(range(24))),
        ("cron(0 5 ? * * *)", (5,)),
        ("cron(0 1/6 ? * * *)", (1, 7, 13, 19)),
        ("cron(0 17/24 ? * * *)", (17,)),
    ],
)
def test_a_schedule_is_due_at_the_hours_of_its_expression(expression: str, hours: tuple[int, ...]) -> None:
    assert Timetable.parse(expression).hours == hours


@pytest.mark.parametrize(
    "expression", ["rate(1 hour)", "cron(30 * ? * * *)", "cron(0 24 ? * * *)", "cron(0 0/0 ? * * *)"]
)
def test_an_expression_that_model_monitor_does_not_take_is_refused(expression: str) -> None:
    with pytest.raises(AwsError, match="Invalid ScheduleExpression"):
        Timetable.parse(expression)


@given(st.floats(0, 400 * 86400), st.sampled_from(["cron(0 * ? * * *)", "cron(0 5 ? * * *)", "cron(0 1/6 ? * * *)"]))
def test_the_last_and_the_next_due_hour_enclose_every_moment(seconds: float, expression: str) -> None:
    timetable, moment = Timetable.parse(expression), _START + seconds
    assert timetable.latest(moment) <= moment < timetable.after(moment)
    assert timetable.after(timetable.latest(moment)) == timetable.after(moment)


def test_offsets_are_durations() -> None:
    assert offset("-PT3H") == -10800
    assert offset("P1DT1M") == 86460
    with pytest.raises(AwsError, match="ISO 8601 duration"):
        offset("3 hours")


def _transform(split: str, strategy: str, assemble: str = "None", megabytes: int = 6) -> dict[str, Any]:
    return {
        "TransformInput": {"SplitType": split},
        "TransformOutput": {"AssembleWith": assemble},
        "BatchStrategy": strategy,
        "MaxPayloadInMB": megabytes,
    }


@given(st.lists(st.text("ab,1", min_size=1, max_size=8), min_size=1))
def test_no_record_is_lost_or_cut_however_an_object_is_split(records: list[str]) -> None:
    body = "".join(record + "\n" for record in records).encode()
    single = list(payloads(_transform("Line", "SingleRecord"), body))
    assert [part.decode() for part in single] == [record + "\n" for record in records]
    assert b"".join(payloads(_transform("Line", "MultiRecord"), body)) == body
    assert list(payloads(_transform("None", "MultiRecord"), body)) == [body]
    assert assembled(_transform("Line", "SingleRecord", "Line"), [part.strip() for part in single]) == body


def test_requests_keep_within_their_size() -> None:
    line = b"x" * 400_000 + b"\n"
    parts = list(payloads(_transform("Line", "MultiRecord", megabytes=1), line * 5))
    assert [len(part) // len(line) for part in parts] == [2, 2, 1]
    with pytest.raises(TooLargeError, match="MaxPayloadInMB"):
        list(payloads(_transform("None", "MultiRecord", megabytes=1), line * 5))
