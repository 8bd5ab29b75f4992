"""CloudWatch metrics in Model Monitor's names.

In a container they are JSON lines that the platform ships, as the managed image writes them. The Lambda prints them in
the embedded metric format: no call, no permission, no throttle, and a retry that prints twice within the period of a
statistic `Maximum` changes nothing. A custom metric costs 0.30 $ a month, so there are aggregates and the top features.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from drift_analyzer.drift import Verdict
from drift_analyzer.schema import Baseline
from drift_analyzer.state import NumericState, WindowState

DATA = "aws/sagemaker/Endpoints/data-metrics"
BATCH_DATA = "aws/sagemaker/ModelMonitoring/data-metrics"
MODEL = "aws/sagemaker/Endpoints/model-metrics"
BATCH_MODEL = "aws/sagemaker/ModelMonitoring/model-metrics"
BIAS = "aws/sagemaker/Endpoints/bias-metrics"
EXPLAIN = "aws/sagemaker/Endpoints/explainability-metrics"
TOP = 10
_EMF_MOST = 100


@dataclass(frozen=True)
class Metric:
    """One value, or a statistic set (`Max, Min, Sum, SampleCount`), at an epoch second."""

    name: str
    value: float | Mapping[str, float]
    time: float


@dataclass(frozen=True)
class Target:
    """Namespace and dimensions that all metrics of a run share."""

    namespace: str
    dimensions: Mapping[str, str]


def target(namespace: str, endpoint: str | None, schedule: str | None) -> Target:
    named = {"Endpoint": endpoint, "MonitoringSchedule": schedule}
    return Target(namespace, {name: value for name, value in named.items() if value})


def of_verdict(
    baseline: Baseline, state: WindowState, verdict: Verdict, time: float, top: int | None = TOP
) -> list[Metric]:
    """Aggregates and, of the `top` features that moved most (None: all), drift, data and completeness."""
    found = [
        Metric("data_drift", float(verdict.status == "Drift"), time),
        Metric("drifted_share", verdict.share, time),
        Metric("rows", float(verdict.rows), time),
        Metric("bad_records", float(verdict.bad), time),
        Metric("schema_violations", float(len(verdict.schema_violations)), time),
        Metric("violations", float(len(verdict.violations)), time),
    ]
    if verdict.status == "InsufficientData":
        found = found[2:]
    emitting = {feature.name for feature in baseline.features if baseline.config.of(feature).emit_metrics}
    moved = sorted(verdict.features, key=lambda item: -item.distance / (item.threshold or 1.0))
    for item in [item for item in moved if item.name in emitting][:top]:
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


def json_lines(metrics: Iterable[Metric], where: Target) -> bytes:
    """The file for `/opt/ml/output/metrics/cloudwatch/`: one metric a line."""
    lines = []
    for metric in metrics:
        body: dict[str, Any] = {
            "MetricName": metric.name,
            "Timestamp": metric.time,
            "Dimensions": [{"Name": name, "Value": value} for name, value in where.dimensions.items()],
            "Namespace": where.namespace,
        }
        if isinstance(metric.value, Mapping):
            body["StatisticValues"] = dict(metric.value)
        else:
            body["Value"] = metric.value
        lines.append(json.dumps(body, sort_keys=True))
    return ("\n".join(lines) + "\n").encode() if lines else b""


def embedded(metrics: Iterable[Metric], where: Target) -> list[str]:
    """Lines in the embedded metric format, at most 100 metrics each; of a statistic set its two ends."""
    by_time: dict[float, list[tuple[str, float | list[float]]]] = {}
    for metric in metrics:
        value = metric.value
        flat = [value["Min"], value["Max"]] if isinstance(value, Mapping) else value
        by_time.setdefault(metric.time, []).append((metric.name, flat))
    lines = []
    for time, values in by_time.items():
        for start in range(0, len(values), _EMF_MOST):
            part = values[start : start + _EMF_MOST]
            directive = {
                "Namespace": where.namespace,
                "Dimensions": [list(where.dimensions)],
                "Metrics": [{"Name": name} for name, _ in part],
            }
            head = {"_aws": {"Timestamp": int(time * 1000), "CloudWatchMetrics": [directive]}}
            lines.append(json.dumps(head | dict(where.dimensions) | dict(part)))
    return lines
