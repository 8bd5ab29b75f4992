"""Metric alarms judged as CloudWatch does; ministack's ignore dimensions, missing data and M out of N.

Source: "Using Amazon CloudWatch alarms", sections on evaluating an alarm and on missing data. Alarms on metric math are
not judged: they keep their state until someone sets it.
"""

from __future__ import annotations

import logging
import operator
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ministack.core import responses
from ministack.services import cloudwatch

from localcloud.ministack_adapter.environment import ACCOUNT, REGION
from localcloud.ministack_adapter.patching import wrap

_log = logging.getLogger(__name__)
_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanOrEqualToThreshold": operator.le,
    "LessThanThreshold": operator.lt,
}


def install() -> None:
    wrap(cloudwatch, "_evaluate_alarm", lambda _: evaluate)


def evaluate_all() -> None:
    """Judge every alarm; call it now and then, because data that goes missing makes no request."""
    with responses.request_scope(ACCOUNT, REGION):
        for alarm in list(cloudwatch._alarms.values()):
            evaluate(alarm)


class Alarms:
    """Alarms as events on an accelerated clock: what happens without a request is that data leaves their periods."""

    def next_due(self, now: float) -> float | None:
        """The next end of a period at which an alarm changes its state, as things are now."""
        with responses.request_scope(ACCOUNT, REGION):
            found = (_next_change(alarm, now) for alarm in list(cloudwatch._alarms.values()))
            return min((moment for moment in found if moment is not None), default=None)

    def run_due(self) -> None:
        evaluate_all()


def _next_change(alarm: Mapping[str, Any], now: float) -> float | None:
    """No request comes between, so each end of a period to come can be judged today; after them all data is gone."""
    if not alarm.get("Namespace") or not alarm.get("MetricName"):
        return None
    period, count = int(alarm.get("Period") or 60), int(alarm.get("EvaluationPeriods") or 1)
    moment = now
    for _ in range(count + 3):
        new, _reason = judge(alarm, _values(alarm, moment))
        if new is not None and new != alarm["StateValue"]:
            return moment
        moment = (moment // period + 1) * period
    return None


def evaluate(alarm: dict[str, Any]) -> None:
    """Judge one alarm of the current account and region, and record its transition."""
    if not alarm.get("Namespace") or not alarm.get("MetricName"):
        return
    new, reason = judge(alarm, _values(alarm, time.time()))
    old = alarm["StateValue"]
    if new is None or new == old:
        return
    alarm.update(StateValue=new, StateReason=reason, StateUpdatedTimestamp=int(time.time()))
    cloudwatch._record_history(alarm["AlarmName"], old, new, reason)
    cloudwatch._dispatch_alarm_actions(alarm, old, new, reason)
    cloudwatch._evaluate_parent_alarms(alarm)


def judge(alarm: Mapping[str, Any], values: Sequence[float | None]) -> tuple[str | None, str]:
    """The state that one value per period (oldest first, None where missing) calls for; None keeps the state."""
    compare = _COMPARISONS[alarm["ComparisonOperator"]]
    threshold = float(alarm["Threshold"])
    needed = int(alarm.get("DatapointsToAlarm") or alarm["EvaluationPeriods"])
    treatment = alarm.get("TreatMissingData") or "missing"
    present = [value for value in values if value is not None]
    if not present and treatment in ("missing", "ignore"):
        return (
            ("INSUFFICIENT_DATA", "Insufficient Data: no datapoints were received")
            if treatment == "missing"
            else (
                None,
                "",
            )
        )
    breaching = sum(compare(value, threshold) for value in present)
    missing = len(values) - len(present)
    counted = breaching + (missing if treatment == "breaching" else 0)
    shown = ", ".join(str(value) for value in present)
    if counted >= needed:
        return "ALARM", f"Threshold Crossed: {counted} out of {len(values)} datapoints [{shown}] breached {threshold}"
    if treatment == "missing" and breaching and breaching == len(present) and missing:
        return None, ""  # all that is known breaches, but too little is known
    return "OK", f"Threshold Crossed: {counted} out of {len(values)} datapoints [{shown}] breached {threshold}"


def _values(alarm: Mapping[str, Any], now: float) -> list[float | None]:
    """The alarm's statistic in each of its evaluation periods, the running one included once it holds data."""
    period, count = int(alarm.get("Period") or 60), int(alarm.get("EvaluationPeriods") or 1)
    dimensions = cloudwatch._dims_key({pair["Name"]: pair["Value"] for pair in alarm.get("Dimensions") or []})
    points = cloudwatch._metrics.get((alarm["Namespace"], alarm["MetricName"], dimensions)) or []
    statistic = alarm.get("ExtendedStatistic") or alarm.get("Statistic") or "Average"
    buckets: dict[int, list[Any]] = {}
    for point in points:
        buckets.setdefault(int(point["Timestamp"] // period), []).append(point)
    last = int(now // period)
    if last not in buckets:
        last -= 1  # the running period without data is not missing yet
    values = []
    for index in range(last - count + 1, last + 1):
        held = buckets.get(index)
        values.append(cloudwatch._stat_value(cloudwatch._calc_stats(held), statistic, held) if held else None)
    return values
