"""Metrics that log lines carry, brought to CloudWatch; ministack keeps the lines and no more.

Source: "Embedded metric format specification" (CloudWatch User Guide). A line that names a metric it does not hold, or
holds it as something else than a number or a list of numbers, is a log line only, as on AWS.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ministack.services import cloudwatch, cloudwatch_logs

from localcloud.ministack_adapter.patching import wrap

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Embedded:
    """One metric of a line under one of its sets of dimensions; `time` in epoch seconds."""

    namespace: str
    name: str
    dimensions: Mapping[str, str]
    unit: str
    values: Sequence[float]
    time: float


def install() -> None:
    wrap(cloudwatch_logs, "_append_log_events", _publishing)


def _publishing(theirs: Callable[[Any, Sequence[Mapping[str, Any]]], None]) -> Callable[..., None]:
    def append(stream: Any, events: Sequence[Mapping[str, Any]]) -> None:
        theirs(stream, events)
        for event in events:
            for found in embedded(str(event["message"])):
                cloudwatch._store_datum(
                    found.namespace, found.name, dict(found.dimensions), found.time, found.unit, None, found.values,
                    None, None,
                )  # fmt: skip

    return append


def embedded(line: str) -> list[Embedded]:
    """The metrics that a log line carries; none where it is no such line, or not a valid one."""
    if not line.startswith("{") or '"_aws"' not in line:
        return []
    try:
        return list(_read(json.loads(line)))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        _log.warning("a log line in the embedded metric format is not valid (%r): %.200s", error, line)
        return []


def _read(root: Mapping[str, Any]) -> Iterator[Embedded]:
    for directive in root["_aws"]["CloudWatchMetrics"]:
        for metric in directive["Metrics"]:
            value = root[metric["Name"]]
            values = [float(one) for one in (value if isinstance(value, list) else [value])]
            for names in directive["Dimensions"]:
                yield Embedded(
                    namespace=directive["Namespace"],
                    name=metric["Name"],
                    dimensions={name: str(root[name]) for name in names},
                    unit=metric.get("Unit", "None"),
                    values=values,
                    time=root["_aws"]["Timestamp"] / 1000,
                )
