"""CloudWatch metrics of invocations: with two dimensions per variant, and with three per fleet.

Source: SageMaker Developer Guide, "Amazon SageMaker AI endpoint invocation metrics". Rollback alarms use the third
dimension, `EndpointConfigName`, to distinguish the new fleet from the old one ("Auto-Rollback Configuration and
Monitoring").
"""

from __future__ import annotations

import logging
import math
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from localcloud.sagemaker.context import Context

_NAMESPACE = "AWS/SageMaker"
_FLUSH_SECONDS = 5.0
_PERIOD = 60
_STEP = 1.1
_MAX_VALUES, _MAX_METRICS = 150, 500  # PutMetricData's limits
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InvocationRecord:
    """One request that reached a model.

    Attributes:
        status: HTTP status of the container; 0 where it did not answer.
        model_seconds: time until the container had answered.
        overhead_seconds: time that SageMaker added.
    """

    endpoint: str
    variant: str
    config: str
    status: int
    model_seconds: float
    overhead_seconds: float


class InvocationMetrics:
    """Counters of responses by fleet and minute, published from a thread of their own."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._lock = threading.Lock()
        self._publishing = threading.Lock()
        self._counted: dict[tuple[str, str, str, int], dict[str, Counter[float]]] = {}
        self._due = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None

    def record(self, answered: InvocationRecord) -> None:
        """Count one invocation."""
        minute = int(self._context.now()) // _PERIOD * _PERIOD
        failed_by_caller = 400 <= answered.status < 500
        ok = 200 <= answered.status < 400
        observed = {
            "Invocations": 1.0,
            "Invocation4XXErrors": float(failed_by_caller),
            "Invocation5XXErrors": float(not ok and not failed_by_caller),
            "ModelLatency": _microseconds(answered.model_seconds),
            "OverheadLatency": _microseconds(answered.overhead_seconds),
        }
        with self._lock:
            key = (answered.endpoint, answered.variant, answered.config, minute)
            counted = self._counted.setdefault(key, defaultdict(Counter))
            for metric, value in observed.items():
                counted[metric][value] += 1
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._publish_regularly, name="invocation metrics", daemon=True)
                self._thread.start()

    def flush(self) -> None:
        """Publish what has been counted so far."""
        with self._publishing:
            with self._lock:
                counted, self._counted = self._counted, {}
            data = [datum for key, metrics in counted.items() for datum in _data(key, metrics)]
            if not data:
                return
            client = self._context.cloud.client("cloudwatch")
            try:
                for start in range(0, len(data), _MAX_METRICS):
                    client.put_metric_data(Namespace=_NAMESPACE, MetricData=data[start : start + _MAX_METRICS])
            except (ClientError, BotoCoreError) as error:
                _log.error("invocation metrics could not be published and are lost: %s", error)

    def close(self) -> None:
        """Stop the thread and publish what is left."""
        with self._lock:
            self._closed = True
        self._due.set()
        if self._thread is not None:
            self._thread.join()
        self.flush()

    def _publish_regularly(self) -> None:
        while not self._due.wait(_FLUSH_SECONDS):
            self.flush()


def _microseconds(seconds: float) -> float:
    """Convert to microseconds, rounded to steps of 10 %.

    Each distinct value is stored for two weeks. Rounding keeps a minute of traffic to a few values, which is enough
    for percentiles.
    """
    return float(round(_STEP ** round(math.log(max(seconds * 1e6, 1.0), _STEP))))


def _data(key: tuple[str, str, str, int], metrics: dict[str, Counter[float]]) -> Iterator[dict[str, Any]]:
    endpoint, variant, config, minute = key
    of_variant = [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": variant}]
    of_fleet = [*of_variant, {"Name": "EndpointConfigName", "Value": config}]
    for name, values in metrics.items():
        remaining = iter(values.items())
        while chunk := list(islice(remaining, _MAX_VALUES)):
            datum = {
                "MetricName": name,
                "Timestamp": datetime.fromtimestamp(minute, UTC),
                "Values": [value for value, _ in chunk],
                "Counts": [float(count) for _, count in chunk],
                "Unit": "Microseconds" if name.endswith("Latency") else "None",
            }
            for dimensions in (of_variant, of_fleet):
                yield {**datum, "Dimensions": dimensions}
