"""The environment that a Model Monitor job gives its container.

Source: AWS, "Container contract inputs" (Amazon SageMaker Developer Guide).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from drift_analyzer.capture_records import UnreadableRecordError, timestamp
from drift_analyzer.drift import Mode
from drift_analyzer.jsonio import loads

_FORMATS = ("csv", "json", "parquet", "sagemakerCaptureJson", "sagemakerMergeJson")
_UNSUPPORTED = ("record_preprocessor_script", "post_analytics_processor_script")
_DRIFT_METHODS = ("LInfinity", "ChiSquared")


@dataclass(frozen=True)
class ContainerEnvironment:
    """The published variables, parsed.

    Attributes:
        dataset_format: csv, json, parquet, sagemakerCaptureJson or sagemakerMergeJson.
        header: For CSV, whether the first row holds the column names.
        start: First inference time of the window, epoch seconds; None: unbounded.
        end: End of the window, exclusive, epoch seconds; None: unbounded.
        metric_time: Epoch seconds at which metrics are recorded.
        publish: Whether CloudWatch metrics are written.
        analysis_type: DATA_QUALITY, MODEL_QUALITY, MODEL_BIAS or MODEL_EXPLAINABILITY.
        mode: An addition to the contract: `monitor_mode`, `model-monitor` by default.
        values: All variables, for those that only one analysis type reads.
    """

    dataset_format: str
    header: bool
    dataset_source: Path
    output_path: Path
    start: float | None
    end: float | None
    metric_time: float
    baseline_constraints: Path | None
    baseline_statistics: Path | None
    publish: bool
    endpoint: str | None
    schedule: str | None
    analysis_type: str
    mode: Mode
    values: Mapping[str, str]

    @classmethod
    def read(cls, values: Mapping[str, str]) -> "ContainerEnvironment":
        """Parse the variables.

        Raises:
            ValueError: A variable is malformed or names what this analyzer does not support.
        """
        for name in _UNSUPPORTED:
            if values.get(name):
                raise ValueError(f"{name} is not supported by the built-in analyzer; prepare the data before capture")
        dataset_format, header = _dataset_format(values.get("dataset_format", '{"sagemakerCaptureJson":{}}'))
        end = _time(values, "end_time")
        drift_method = values.get("categorical_drift_method")
        if drift_method and drift_method not in _DRIFT_METHODS:
            raise ValueError(f"categorical_drift_method is LInfinity or ChiSquared, got {drift_method!r}")
        mode: Mode = "calibrated" if values.get("monitor_mode") == "calibrated" else "model-monitor"
        return cls(
            dataset_format=dataset_format,
            header=header,
            dataset_source=Path(values.get("dataset_source") or "/opt/ml/processing/input/endpoint"),
            output_path=Path(values.get("output_path") or "/opt/ml/processing/output"),
            start=_time(values, "start_time"),
            end=end,
            metric_time=_time(values, "metric_time") or end or datetime.now(UTC).timestamp(),
            baseline_constraints=_optional_path(values, "baseline_constraints"),
            baseline_statistics=_optional_path(values, "baseline_statistics"),
            publish=values.get("publish_cloudwatch_metrics", "Enabled").lower() == "enabled",
            endpoint=values.get("sagemaker_endpoint_name"),
            schedule=values.get("sagemaker_monitoring_schedule_name"),
            analysis_type=values.get("analysis_type", "DATA_QUALITY").upper(),
            mode=mode,
            values=dict(values),
        )


def _dataset_format(text: str) -> tuple[str, bool]:
    """Parse JSON such as `{"csv": {"header": true}}`; in practice it may be just a name."""
    try:
        body = loads(text)
    except ValueError:
        body = text
    if isinstance(body, dict) and len(body) == 1:
        name, options = next(iter(body.items()))
        header = (options or {}).get("header", False) if isinstance(options, dict) else False
        return _known_format(str(name)), str(header).lower() == "true"
    return _known_format(str(body)), True


def _known_format(name: str) -> str:
    known = {known.lower(): known for known in _FORMATS}
    if name.lower() not in known:
        raise ValueError(f"dataset_format is one of {', '.join(_FORMATS)}, got {name!r}")
    return known[name.lower()]


def _time(values: Mapping[str, str], name: str) -> float | None:
    text = values.get(name)
    try:
        return timestamp(text) if text else None
    except UnreadableRecordError:
        raise ValueError(f"{name} is not an ISO 8601 time: {text!r}") from None


def _optional_path(values: Mapping[str, str], name: str) -> Path | None:
    return Path(values[name]) if values.get(name) else None
