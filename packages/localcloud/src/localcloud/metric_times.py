"""The times that CloudWatch accepts for metrics (PutMetricData, CloudWatch API Reference)."""

from __future__ import annotations

from datetime import datetime, timedelta

_OLDEST, _NEWEST = timedelta(weeks=2), timedelta(hours=2)


def is_accepted(time: float, now: datetime) -> bool:
    """Return whether a metric may have this time, in epoch seconds: two weeks back, two hours ahead."""
    return (now - _OLDEST).timestamp() <= time <= (now + _NEWEST).timestamp()
