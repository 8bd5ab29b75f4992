"""The times that CloudWatch accepts for metrics; ministack accepts any.

Source: PutMetricData (CloudWatch API Reference). A request with another time is refused as a whole. In the embedded
metric format such a metric is dropped, and the log line stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from ministack.services import cloudwatch

from localcloud.metric_times import is_accepted
from localcloud.ministack_adapter.patching import wrap

_PAST = "The parameter MetricData.member.{}.Timestamp must specify a time within the past two weeks."
_FUTURE = "The parameter MetricData.member.{}.Timestamp must specify a time no more than two hours in the future."


def install() -> None:
    """Refuse requests with times that CloudWatch refuses."""
    wrap(cloudwatch, "_put_metric_data", _checking)


def _checking(theirs: Callable[..., Any]) -> Callable[..., Any]:
    def put(params: Mapping[str, Any], document: Mapping[str, Any], is_cbor: bool, is_json: bool = False) -> Any:
        given = _times(document) if is_cbor or is_json else _query_times(params)
        now = datetime.now(UTC)
        problems = [
            (_PAST if time < now.timestamp() else _FUTURE).format(number)
            for number, time in given.items()
            if not is_accepted(time, now)
        ]
        if problems:
            return cloudwatch._error(
                "InvalidParameterValue", "\n".join(problems), 400, use_json=is_json, use_cbor=is_cbor
            )
        return theirs(params, document, is_cbor, is_json)

    return put


def _times(document: Mapping[str, Any]) -> dict[int, float]:
    """Return the time of each metric that has one, by its number from 1."""
    parsed = {
        number: cloudwatch._parse_ts(metric.get("Timestamp"))
        for number, metric in enumerate(document.get("MetricData", []), start=1)
    }
    return {number: time for number, time in parsed.items() if time}


def _query_times(params: Mapping[str, Any]) -> dict[int, float]:
    found, number = {}, 1
    while cloudwatch._p(params, f"MetricData.member.{number}.MetricName"):
        time = cloudwatch._parse_ts(cloudwatch._p(params, f"MetricData.member.{number}.Timestamp"))
        if time:
            found[number] = time
        number += 1
    return found
