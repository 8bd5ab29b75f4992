"""Evaluation of metric alarms as in CloudWatch; ministack ignores dimensions, missing data and M out of N.

Source: "Using Amazon CloudWatch alarms", sections on evaluating an alarm and on missing data. An alarm on metric math
is evaluated over whole periods, with the expressions that `metric_math` supports.
"""

from __future__ import annotations

import logging
import operator
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ministack.core import responses
from ministack.services import cloudwatch
from ministack.services.cloudformation import provisioners

from localcloud.ministack_adapter.environment import ACCOUNT, REGION
from localcloud.ministack_adapter.metric_math import Expression
from localcloud.ministack_adapter.patching import wrap
from localcloud.ministack_adapter.snapshots import Snapshots

_log = logging.getLogger(__name__)
_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanOrEqualToThreshold": operator.le,
    "LessThanThreshold": operator.lt,
}


_OF_ONE_METRIC = ("MetricName", "Namespace", "Dimensions", "Period", "Statistic", "ExtendedStatistic", "Unit")


def install() -> None:
    """Replace ministack's evaluation, and allow `Metrics` in a template's alarm."""
    wrap(cloudwatch, "_evaluate_alarm", lambda _: evaluate)
    wrap(provisioners, "_cw_metric_alarm_record", _with_metric_math)


def _with_metric_math(theirs: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Let a template's alarm have `Metrics`, which ministack's record of an alarm cannot hold."""

    def record(name: str, properties: Mapping[str, Any]) -> dict[str, Any]:
        metrics = properties.get("Metrics")
        if not metrics:
            return theirs(name, properties)
        both = sorted(key for key in _OF_ONE_METRIC if key in properties)
        if both:
            raise ValueError(f"an alarm has Metrics or {', '.join(both)}, not both")
        alarm = theirs(name, {**properties, "MetricName": "-", "Namespace": "-", "Metrics": None})
        for key in _OF_ONE_METRIC:
            alarm.pop(key, None)
        evaluated = {**alarm, "Metrics": metrics}
        _math(evaluated)  # refuse what is not supported now, not at the first evaluation
        return evaluated

    return record


def evaluate_all() -> None:
    """Evaluate every alarm. Call it regularly: missing data causes no request."""
    with responses.request_scope(ACCOUNT, REGION):
        for alarm in list(cloudwatch._alarms.values()):
            evaluate(alarm)


class Alarms:
    """Alarms as due events of an accelerated clock: without a request, data only leave their periods."""

    def next_due(self, now: float) -> float | None:
        """Return the next end of a period at which an alarm changes its state, if no data arrive."""
        with responses.request_scope(ACCOUNT, REGION):
            found = (_next_change(alarm, now) for alarm in list(cloudwatch._alarms.values()))
            return min((moment for moment in found if moment is not None), default=None)

    def run_due(self) -> None:
        """Evaluate every alarm."""
        evaluate_all()


class TrackingAlarms:
    """Alarms that a scaling policy makes, under CloudWatch's own records."""

    def __init__(self, snapshots: Snapshots) -> None:
        self._snapshots = snapshots

    def put(self, name: str, properties: Mapping[str, Any]) -> str:
        """Create or replace an alarm, with a template's properties; return its ARN."""
        with responses.request_scope(ACCOUNT, REGION):
            _, attributes = provisioners._cw_metric_alarm_put(name, properties)
        self._snapshots.mark("cloudwatch")
        return str(attributes["Arn"])

    def delete(self, name: str) -> None:
        """Delete an alarm, unless it is gone."""
        with responses.request_scope(ACCOUNT, REGION):
            if name in cloudwatch._alarms:
                provisioners._cw_metric_alarm_delete(name, {})
        self._snapshots.mark("cloudwatch")


def _next_change(alarm: Mapping[str, Any], now: float) -> float | None:
    """Return when an alarm changes next. No data arrive in between, and after its last period all data are gone."""
    if not _evaluable(alarm):
        return None
    period, count = _period(alarm), int(alarm.get("EvaluationPeriods") or 1)
    moment = now
    for _ in range(count + 3):
        new, _reason = judge(alarm, _values(alarm, moment))
        if new is not None and new != alarm["StateValue"]:
            return moment
        moment = (moment // period + 1) * period
    return None


def evaluate(alarm: dict[str, Any]) -> None:
    """Evaluate one alarm of the current account and region, and record its transition."""
    if not _evaluable(alarm):
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
    """Return the new state and its reason; None keeps the state.

    Args:
        alarm: The alarm's record.
        values: One value per period, oldest first, None where missing.
    """
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
        return None, ""  # all known values breach, but too few are known
    return "OK", f"Threshold Crossed: {counted} out of {len(values)} datapoints [{shown}] breached {threshold}"


def _evaluable(alarm: Mapping[str, Any]) -> bool:
    return bool(alarm.get("Metrics") or (alarm.get("Namespace") and alarm.get("MetricName")))


def _period(alarm: Mapping[str, Any]) -> int:
    """Return the seconds of a period: the alarm's own, or the longest of its metrics."""
    queries = [query["MetricStat"] for query in alarm.get("Metrics") or () if "MetricStat" in query]
    return max((int(one["Period"]) for one in queries), default=int(alarm.get("Period") or 60))


def _math(alarm: Mapping[str, Any]) -> Expression:
    """Return the expression of an alarm on metric math.

    Raises:
        ValueError: The alarm is not one expression over metrics of one period, or uses something unsupported.
    """
    queries = alarm["Metrics"]
    returned = [query for query in queries if query.get("ReturnData", True) not in (False, "false")]
    if len(returned) != 1 or "Expression" not in returned[0]:
        raise ValueError("an alarm with Metrics returns the data of exactly one expression")
    metrics = [query for query in queries if "MetricStat" in query]
    if len(metrics) != len(queries) - 1:
        raise ValueError("the local cloud does not support alarms on expressions of expressions")
    if len({int(query["MetricStat"]["Period"]) for query in metrics}) != 1:
        raise ValueError("the local cloud supports alarms on metric math over metrics of one Period")
    return Expression(returned[0]["Expression"], [query["Id"] for query in metrics])


def _values(alarm: Mapping[str, Any], now: float) -> list[float | None]:
    """Return the alarm's value in each evaluation period, with the running one once it holds data.

    For metric math the running period is left out: data that are still to come are not missing.
    """
    period, count = _period(alarm), int(alarm.get("EvaluationPeriods") or 1)
    last = int(now // period)
    if metrics := alarm.get("Metrics"):
        indices = range(last - count, last)
        series = {}
        for query in metrics:
            if stat := query.get("MetricStat"):
                buckets = _buckets(stat["Metric"], period)
                series[query["Id"]] = [_statistic(buckets.get(index), stat["Stat"]) for index in indices]
        return _math(alarm).values(series, count)
    buckets = _buckets(alarm, period)
    if last not in buckets:
        last -= 1  # the running period without data is not missing yet
    statistic = alarm.get("ExtendedStatistic") or alarm.get("Statistic") or "Average"
    return [_statistic(buckets.get(index), statistic) for index in range(last - count + 1, last + 1)]


def _buckets(metric: Mapping[str, Any], period: int) -> dict[int, list[Any]]:
    """Return the metric's points by period."""
    dimensions = cloudwatch._dims_key({pair["Name"]: pair["Value"] for pair in metric.get("Dimensions") or []})
    found: dict[int, list[Any]] = {}
    for point in cloudwatch._metrics.get((metric["Namespace"], metric["MetricName"], dimensions)) or []:
        found.setdefault(int(point["Timestamp"] // period), []).append(point)
    return found


def _statistic(points: list[Any] | None, statistic: str) -> float | None:
    return cloudwatch._stat_value(cloudwatch._calc_stats(points), statistic, points) if points else None
