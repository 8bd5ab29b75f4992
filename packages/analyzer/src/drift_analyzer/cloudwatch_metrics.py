"""CloudWatch metrics with Model Monitor's names.

A container writes them as JSON lines, as Model Monitor's image does. A Lambda function prints them in the embedded
metric format, which needs no call, no permission and no retry. A custom metric costs 0.30 $ a month, so only aggregates
and the top features are emitted.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from drift_analyzer.baseline_files import Baseline
from drift_analyzer.drift import DriftVerdict
from drift_analyzer.jsonio import loads
from drift_analyzer.window_state import NumericState, WindowState

DATA = "aws/sagemaker/Endpoints/data-metrics"
BATCH_DATA = "aws/sagemaker/ModelMonitoring/data-metrics"
MODEL = "aws/sagemaker/Endpoints/model-metrics"
BATCH_MODEL = "aws/sagemaker/ModelMonitoring/model-metrics"
BIAS = "aws/sagemaker/Endpoints/bias-metrics"
EXPLAIN = "aws/sagemaker/Endpoints/explainability-metrics"
_TOP = 10
_MAX_EMBEDDED = 100
# CloudWatch drops metrics that are older than two weeks when they arrive. A log line takes a moment to get there.
_OLDEST_SECONDS = 14 * 24 * 3600 - 3600


@dataclass(frozen=True)
class Metric:
    """One value, or a statistic set (`Max`, `Min`, `Sum`, `SampleCount`), at a time in epoch seconds."""

    name: str
    value: float | Mapping[str, float]
    time: float


@dataclass(frozen=True)
class MetricTarget:
    """The namespace and dimensions that all metrics of a run share."""

    namespace: str
    dimensions: Mapping[str, str]


def target(namespace: str, endpoint: str | None, schedule: str | None) -> MetricTarget:
    """Return the target of an endpoint's or a schedule's metrics."""
    named = {"Endpoint": endpoint, "MonitoringSchedule": schedule}
    return MetricTarget(namespace, {name: value for name, value in named.items() if value})


def verdict_metrics(
    baseline: Baseline, state: WindowState, verdict: DriftVerdict, time: float, top: int | None = _TOP
) -> list[Metric]:
    """Return the aggregates, and drift, data and completeness of the `top` most drifted features (None: all)."""
    found = [
        Metric("data_drift", float(verdict.data_drifted), time),
        Metric("drifted_share", verdict.share, time),
        Metric("broken_features", float(len(verdict.broken_names)), time),
        Metric("judgeable", float(verdict.judgeable), time),
        Metric("unreadable_share", verdict.bad / max(verdict.bad + state.records, 1), time),
        Metric("rows", float(verdict.rows), time),
        Metric("bad_records", float(verdict.bad), time),
        Metric("schema_violations", float(len(verdict.schema_violations)), time),
        Metric("violations", float(len(verdict.violations)), time),
    ]
    if not verdict.judgeable:
        found = found[2:]
    emitting = {feature.name for feature in baseline.features if baseline.config.of(feature).emit_metrics}
    ranked = sorted(verdict.features, key=lambda item: -item.distance / (item.threshold or 1.0))
    for item in [item for item in ranked if item.name in emitting][:top]:
        if item.judged:
            found.append(Metric(f"feature_baseline_drift_{item.name}", item.distance, time))
        found.append(Metric(f"feature_non_null_{item.name}", float(state.features[item.name].present), time))
        current = state.features[item.name]
        if isinstance(current, NumericState) and current.present:
            feature = next(feature for feature in baseline.features if feature.name == item.name)
            statistic = {
                "Max": current.high,
                "Min": current.low,
                "Sum": current.mean(feature) * current.present,
                "SampleCount": float(current.present),
            }
            found.append(Metric(f"feature_data_{item.name}", statistic, time))
    return found


def recent(metrics: Iterable[Metric], now: float) -> list[Metric]:
    """Return the metrics with times that CloudWatch keeps: those of a window that is too old get the present time.

    Args:
        metrics: The metrics, usually with their window's time.
        now: The present, in epoch seconds.
    """
    return [replace(metric, time=now) if metric.time < now - _OLDEST_SECONDS else metric for metric in metrics]


def json_lines(metrics: Iterable[Metric], target: MetricTarget) -> bytes:
    """Return the file for `/opt/ml/output/metrics/cloudwatch/`, one metric in each line."""
    lines = []
    for metric in metrics:
        body: dict[str, Any] = {
            "MetricName": metric.name,
            "Timestamp": metric.time,
            "Dimensions": [{"Name": name, "Value": value} for name, value in target.dimensions.items()],
            "Namespace": target.namespace,
        }
        if isinstance(metric.value, Mapping):
            body["StatisticValues"] = dict(metric.value)
        else:
            body["Value"] = metric.value
        lines.append(json.dumps(body, sort_keys=True))
    return ("\n".join(lines) + "\n").encode() if lines else b""


def read_json_lines(data: bytes) -> list[Metric]:
    """Read the metrics of a file that `json_lines` wrote."""
    bodies = [loads(line) for line in data.splitlines()]
    return [
        Metric(b["MetricName"], b["StatisticValues"] if "StatisticValues" in b else b["Value"], b["Timestamp"])
        for b in bodies
    ]


def embedded(metrics: Iterable[Metric], target: MetricTarget) -> list[str]:
    """Return lines in the embedded metric format, at most 100 metrics each; a statistic set becomes two extremes."""
    by_time: dict[float, list[tuple[str, float | list[float]]]] = {}
    for metric in metrics:
        value = metric.value
        flat = [value["Min"], value["Max"]] if isinstance(value, Mapping) else value
        by_time.setdefault(metric.time, []).append((metric.name, flat))
    lines = []
    for time, values in by_time.items():
        for start in range(0, len(values), _MAX_EMBEDDED):
            part = values[start : start + _MAX_EMBEDDED]
            directive = {
                "Namespace": target.namespace,
                "Dimensions": [list(target.dimensions)],
                "Metrics": [{"Name": name} for name, _ in part],
            }
            head = {"_aws": {"Timestamp": int(time * 1000), "CloudWatchMetrics": [directive]}}
            lines.append(json.dumps(head | dict(target.dimensions) | dict(part)))
    return lines
