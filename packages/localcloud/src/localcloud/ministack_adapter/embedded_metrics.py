"""Metrics in the embedded metric format, stored in CloudWatch; ministack keeps only the log lines.

Source: "Embedded metric format specification" (CloudWatch User Guide). A line that names a metric that it does not
hold, or whose value is neither a number nor a list of numbers, is a log line only, as on AWS. So is one whose time
CloudWatch does not accept.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ministack.services import cloudwatch, cloudwatch_logs

from localcloud.metric_times import is_accepted
from localcloud.ministack_adapter.patching import wrap

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Embedded:
    """One metric of a line with one of its dimension sets; `time` in epoch seconds."""

    namespace: str
    name: str
    dimensions: Mapping[str, str]
    unit: str
    values: Sequence[float]
    time: float


def install() -> None:
    """Publish the metrics of each log line that is written."""
    wrap(cloudwatch_logs, "_append_log_events", _publishing)


def _publishing(theirs: Callable[[Any, Sequence[Mapping[str, Any]]], None]) -> Callable[..., None]:
    def append(stream: Any, events: Sequence[Mapping[str, Any]]) -> None:
        theirs(stream, events)
        for event in events:
            for found in embedded(str(event["message"])):
                if not is_accepted(found.time, datetime.now(UTC)):
                    _log.warning("%s %s is dropped: its time is not within two weeks", found.namespace, found.name)
                    continue
                cloudwatch._store_datum(
                    found.namespace, found.name, dict(found.dimensions), found.time, found.unit, None, found.values,
                    None, None,
                )  # fmt: skip

    return append


def embedded(line: str) -> list[Embedded]:
    """Return the metrics in a log line; none if it has none or is invalid."""
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
