"""What a container leaves in `/opt/ml/output/metrics/cloudwatch/`, brought to CloudWatch.

Source: "Container contract outputs" (SageMaker Developer Guide, Model Monitor): files of JSON lines, one metric
each, in the members of `PutMetricData`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from localcloud.cloud import Cloud
from localcloud.runtime.program import Refused

_DEFAULT_NAMESPACE = "aws/sagemaker/Endpoints/data-metrics"
_AT_ONCE = 500
_STATISTICS = {"Max": "Maximum", "Min": "Minimum"}  # both spellings are found in analyzers' files


def publish(cloud: Cloud, folder: Path) -> None:
    """Put every metric that the files hold.

    Raises:
        Refused: a line is no metric; the text is the job's failure reason.
    """
    by_namespace: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for path in sorted(folder.glob("*.jsonl")) + sorted(folder.glob("*.json")):
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            if line.strip():
                namespace, metric = _metric(line, f"{path.name} line {number}")
                by_namespace[namespace].append(metric)
    for namespace, metrics in by_namespace.items():
        client = cloud.client("cloudwatch")
        for start in range(0, len(metrics), _AT_ONCE):
            client.put_metric_data(Namespace=namespace, MetricData=metrics[start : start + _AT_ONCE])


def _metric(line: str, where: str) -> tuple[str, dict[str, Any]]:
    try:
        metric = dict(json.loads(line))
        when = metric.get("Timestamp")
        if isinstance(when, int | float):
            metric["Timestamp"] = datetime.fromtimestamp(when, UTC)
        elif when is not None:
            metric["Timestamp"] = datetime.fromisoformat(str(when))
        if "StatisticValues" in metric:
            given = dict(metric["StatisticValues"])
            metric["StatisticValues"] = {_STATISTICS.get(name, name): float(value) for name, value in given.items()}
        namespace = str(metric.pop("Namespace", _DEFAULT_NAMESPACE))
        wanted = {"MetricName", "Timestamp", "Dimensions", "Value", "StatisticValues", "Unit"}
        if not metric.get("MetricName") or not {"Value", "StatisticValues"} & set(metric):
            raise ValueError("a metric has a MetricName, and a Value or StatisticValues")
        return namespace, {name: value for name, value in metric.items() if name in wanted}
    except (ValueError, TypeError) as error:
        raise Refused(f"AlgorithmError: metrics/cloudwatch/{where} is no metric: {error}") from error
