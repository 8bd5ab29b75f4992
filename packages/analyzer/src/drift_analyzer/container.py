"""The container entry: what a Model Monitor job gives its image, and what it wants back.

`python -m drift_analyzer.container` reads the published environment and the inputs under /opt/ml/processing. It writes
the JSON files and the report to `output_path`, metrics to /opt/ml/output/metrics/cloudwatch and the exit message to
/opt/ml/output/message. Source: AWS "Container contract inputs", "Container contract outputs".
The kind is `analysis_type`; bias and explainability also read an `analysis_config.json`, as Clarify does.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from drift_analyzer import kinds, metrics
from drift_analyzer.analysis import judge_all, read, write
from drift_analyzer.baseline import build
from drift_analyzer.dataset import BadDataset, files, read_json, reference
from drift_analyzer.drift import Mode, Rules
from drift_analyzer.jsonio import dumps, loads
from drift_analyzer.records import BadRecord, timestamp
from drift_analyzer.report.drift import render
from drift_analyzer.report.page import period
from drift_analyzer.schema import BadBaseline, read_baseline
from drift_analyzer.times import Windows

MESSAGE_LIMIT = 1024
_REFUSED = ("record_preprocessor_script", "post_analytics_processor_script")


@dataclass(frozen=True)
class Environment:
    """The published environment, read once. `mode` is our addition: `monitor_mode`, by default `model-monitor`."""

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
    analysis: str
    mode: Mode
    values: Mapping[str, str]

    @classmethod
    def read(cls, values: Mapping[str, str]) -> "Environment":
        """Raises ValueError naming what is missing or not supported."""
        for name in _REFUSED:
            if values.get(name):
                raise ValueError(f"{name} is not supported by the built-in analyzer; prepare the data before capture")
        kind, header = _format(values.get("dataset_format", '{"sagemakerCaptureJson":{}}'))
        end = _time(values, "end_time")
        drift_method = values.get("categorical_drift_method")
        if drift_method and drift_method not in ("LInfinity", "ChiSquared"):
            raise ValueError(f"categorical_drift_method is LInfinity or ChiSquared, got {drift_method!r}")
        mode: Mode = "calibrated" if values.get("monitor_mode") == "calibrated" else "model-monitor"
        return cls(
            dataset_format=kind,
            header=header,
            dataset_source=_path(values, "dataset_source", "/opt/ml/processing/input/endpoint"),
            output_path=_path(values, "output_path", "/opt/ml/processing/output"),
            start=_time(values, "start_time"),
            end=end,
            metric_time=_time(values, "metric_time") or end or datetime.now(UTC).timestamp(),
            baseline_constraints=_optional(values, "baseline_constraints"),
            baseline_statistics=_optional(values, "baseline_statistics"),
            publish=values.get("publish_cloudwatch_metrics", "Enabled").lower() == "enabled",
            endpoint=values.get("sagemaker_endpoint_name"),
            schedule=values.get("sagemaker_monitoring_schedule_name"),
            analysis=values.get("analysis_type", "DATA_QUALITY").upper(),
            mode=mode,
            values=dict(values),
        )


def _format(text: str) -> tuple[str, bool]:
    """`dataset_format` is JSON such as `{"csv": {"header": true}}`, or in practice just a name."""
    try:
        body = loads(text)
    except ValueError:
        body = text
    if isinstance(body, dict) and len(body) == 1:
        name, options = next(iter(body.items()))
        header = (options or {}).get("header", False) if isinstance(options, dict) else False
        return _named(str(name)), str(header).lower() == "true"
    return _named(str(body)), True


def _named(name: str) -> str:
    known = {kind.lower(): kind for kind in ("csv", "json", "parquet", "sagemakerCaptureJson", "sagemakerMergeJson")}
    if name.lower() not in known:
        raise ValueError(f"dataset_format is one of {', '.join(known.values())}, got {name!r}")
    return known[name.lower()]


def _time(values: Mapping[str, str], name: str) -> float | None:
    text = values.get(name)
    try:
        return timestamp(text) if text else None
    except BadRecord:
        raise ValueError(f"{name} is not an ISO 8601 time: {text!r}") from None


def _path(values: Mapping[str, str], name: str, default: str) -> Path:
    return Path(values.get(name) or default)


def _optional(values: Mapping[str, str], name: str) -> Path | None:
    return Path(values[name]) if values.get(name) else None


def run(environment: Environment, opt: Path, workers: int = 1) -> str:
    """Do the job; give back the exit message.

    Args:
        opt: /opt/ml.
        workers: Processes that read captured files; one in a Lambda function, which has no shared memory for a pool.
    """
    if environment.analysis == "DATA_QUALITY":
        count, found = _data_quality(environment, workers)
        namespace = metrics.DATA if environment.endpoint else metrics.BATCH_DATA
    else:
        outcome = kinds.run(environment.analysis, environment, opt)
        count, found, namespace = outcome.violations, outcome.metrics, outcome.namespace
    if environment.publish and found:
        folder = opt / "output" / "metrics" / "cloudwatch"
        folder.mkdir(parents=True, exist_ok=True)
        where = metrics.target(namespace, environment.endpoint, environment.schedule)
        (folder / "cloudwatch_metrics.jsonl").write_bytes(metrics.json_lines(found, where))
    if count:
        return f"CompletedWithViolations: Job completed successfully with {count} violations."
    return "Completed: Job completed successfully with no violations."


def _data_quality(environment: Environment, workers: int) -> tuple[int, list[metrics.Metric]]:
    if environment.baseline_statistics is None:
        return _suggest(environment)
    statistics = read_json(environment.baseline_statistics)
    constraints = read_json(environment.baseline_constraints) if environment.baseline_constraints else {}
    if method := environment.values.get("categorical_drift_method"):
        rules = constraints.setdefault("monitoring_config", {}).setdefault("distribution_constraints", {})
        rules["categorical_drift_method"] = method
    baseline = read_baseline(statistics, constraints)
    if environment.dataset_format != "sagemakerCaptureJson":
        raise ValueError(
            f"with a baseline, dataset_format is sagemakerCaptureJson, got {environment.dataset_format}: "
            "the built-in analyzer watches endpoints"
        )
    times = Windows(None, environment.start, environment.end)
    paths = files(environment.dataset_source, "*.jsonl")
    reading = read(baseline, paths, times, workers)
    windows = judge_all(baseline, reading, Rules(mode=environment.mode))
    write(environment.output_path, baseline, windows, reading)
    (environment.output_path / "report.html").write_text(
        render(baseline, windows, reading, period(environment.start, environment.end)), encoding="utf-8"
    )
    last = windows[-1]
    found = metrics.of_verdict(baseline, last.state, last.verdict, environment.metric_time)
    return len(last.verdict.violations), found


def _suggest(environment: Environment) -> tuple[int, list[metrics.Metric]]:
    """Without a baseline the job *is* the baseline job."""
    columns = reference(environment.dataset_source, environment.dataset_format, header=environment.header)
    statistics, constraints = build(columns)
    environment.output_path.mkdir(parents=True, exist_ok=True)
    (environment.output_path / "statistics.json").write_bytes(dumps(statistics))
    (environment.output_path / "constraints.json").write_bytes(dumps(constraints, indent=True))
    return 0, []


def main(values: Mapping[str, str] | None = None, opt: Path = Path("/opt/ml")) -> int:
    """Run under the container contract: 0 with or without violations, 1 with the reason in the message."""
    code = 0
    try:
        message = run(Environment.read(os.environ if values is None else values), opt, os.cpu_count() or 1)
    except (BadDataset, BadBaseline, BadRecord, ValueError, KeyError, OSError) as error:
        code, message = 1, f"Error: {error}"
    path = opt / "output" / "message"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(message.encode()[:MESSAGE_LIMIT])
    (sys.stderr if code else sys.stdout).write(message + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
