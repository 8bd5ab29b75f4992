"""Publication of the metrics that a container writes to `/opt/ml/output/metrics/cloudwatch/`.

Source: "Container contract outputs" (SageMaker Developer Guide, Model Monitor). The files hold JSON lines, one metric
each, with the members of `PutMetricData`. Metrics whose time CloudWatch does not accept are dropped.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

from localcloud.cloud import Cloud
from localcloud.metric_times import is_accepted
from localcloud.runtime.program import UnsupportedRequest
from localcloud.runtime.sandbox import Sandbox

_log = logging.getLogger(__name__)
_FOLDER = "/opt/ml/output/metrics/cloudwatch"
_DEFAULT_NAMESPACE = "aws/sagemaker/Endpoints/data-metrics"
_MAX_METRICS = 500
_STATISTICS = {"Max": "Maximum", "Min": "Minimum"}  # analyzers write both spellings


def publish(cloud: Cloud, sandbox: Sandbox, role_arn: str) -> None:
    """Publish all metrics in a container's files, with the rights of its role.

    Raises:
        UnsupportedRequest: a line is not a metric; the message is the job's failure reason.
        ClientError: the role may not publish in the metrics' namespace.
    """
    by_namespace: dict[str, list[dict[str, Any]]] = defaultdict(list)
    folder = sandbox.host_path(_FOLDER)
    names = [path.name for suffix in ("jsonl", "json") for path in sorted(folder.glob(f"*.{suffix}"))]
    for path in filter(None, (sandbox.written_file(f"{_FOLDER}/{name}") for name in names)):
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            if line.strip():
                namespace, metric = _metric(line, f"{path.name} line {number}")
                if "Timestamp" not in metric or is_accepted(metric["Timestamp"].timestamp(), cloud.clock.now()):
                    by_namespace[namespace].append(metric)
                else:
                    _log.warning("%s %s is dropped: its time is not within two weeks", namespace, metric["MetricName"])
    for namespace, metrics in by_namespace.items():
        client = cloud.client("cloudwatch", role_arn=role_arn)
        for start in range(0, len(metrics), _MAX_METRICS):
            client.put_metric_data(Namespace=namespace, MetricData=metrics[start : start + _MAX_METRICS])


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
            raise ValueError("a metric needs a MetricName, and a Value or StatisticValues")
        return namespace, {name: value for name, value in metric.items() if name in wanted}
    except (ValueError, TypeError) as error:
        raise UnsupportedRequest(f"AlgorithmError: metrics/cloudwatch/{where} is not a metric: {error}") from error
