"""Data quality: captured traffic against a baseline, or the baseline itself."""

from drift_analyzer import cloudwatch_metrics
from drift_analyzer.baseline_builder import build_baseline
from drift_analyzer.baseline_files import read_baseline, write_baseline
from drift_analyzer.container_environment import ContainerEnvironment
from drift_analyzer.data_quality import judge_windows, read_captured, write_files
from drift_analyzer.drift import Rules
from drift_analyzer.inference_time import TimeWindows
from drift_analyzer.input_files import list_files, read_json
from drift_analyzer.jobs.job import JobResult
from drift_analyzer.reference_data import read_reference
from drift_analyzer.report.data_quality import render
from drift_analyzer.report.page import period


def run(job: ContainerEnvironment, workers: int) -> JobResult:
    """Judge the captured window; without `baseline_statistics`, build a baseline from the dataset instead."""
    namespace = cloudwatch_metrics.DATA if job.endpoint else cloudwatch_metrics.BATCH_DATA
    if job.baseline_statistics is None:
        columns = read_reference(job.dataset_source, job.dataset_format, header=job.header)
        write_baseline(job.output_path, *build_baseline(columns))
        return JobResult(0, [], namespace)
    statistics = read_json(job.baseline_statistics)
    constraints = read_json(job.baseline_constraints) if job.baseline_constraints else {}
    if method := job.values.get("categorical_drift_method"):
        rules = constraints.setdefault("monitoring_config", {}).setdefault("distribution_constraints", {})
        rules["categorical_drift_method"] = method
    baseline = read_baseline(statistics, constraints)
    if job.dataset_format != "sagemakerCaptureJson":
        raise ValueError(
            f"with a baseline, dataset_format is sagemakerCaptureJson, got {job.dataset_format}: "
            "batch data are not supported"
        )
    times = TimeWindows(None, job.start, job.end)
    captured = read_captured(baseline, list_files(job.dataset_source, "*.jsonl"), times, workers)
    windows = judge_windows(baseline, captured, Rules(mode=job.mode))
    write_files(job.output_path, baseline, windows, captured)
    page = render(baseline, windows, captured, period(job.start, job.end))
    (job.output_path / "report.html").write_text(page, encoding="utf-8")
    last = windows[-1]
    metrics = cloudwatch_metrics.verdict_metrics(baseline, last.state, last.verdict, job.metric_time)
    return JobResult(len(last.verdict.violations), metrics, namespace)
