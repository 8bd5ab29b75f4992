"""The kinds that need labels or the model, as container jobs: model quality, bias, explainability."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from monitor import bias, explain, metrics, quality
from monitor.analysis import window_name
from monitor.capture import Bad, read_records
from monitor.cells import number
from monitor.dataset import BadDataset, files, opened, read_json, table_rows
from monitor.drift import Mode, Status
from monitor.ground_truth import Joined, Labels, attribute, join, merged_lines
from monitor.jsonio import dumps
from monitor.metrics import Metric
from monitor.records import Record, Row
from monitor.report import Quality, QualityPoint, render_quality
from monitor.times import Windows


class Job(Protocol):
    """What a job knows of its surroundings."""

    @property
    def dataset_format(self) -> str: ...
    @property
    def header(self) -> bool: ...
    @property
    def dataset_source(self) -> Path: ...
    @property
    def output_path(self) -> Path: ...
    @property
    def start(self) -> float | None: ...
    @property
    def end(self) -> float | None: ...
    @property
    def metric_time(self) -> float: ...
    @property
    def baseline_constraints(self) -> Path | None: ...
    @property
    def mode(self) -> Mode: ...
    @property
    def values(self) -> Mapping[str, str]: ...


@dataclass(frozen=True)
class Outcome:
    """How many violations, and the metrics with their namespace."""

    violations: int
    metrics: list[Metric]
    namespace: str


def run(analysis: str, job: Job, opt: Path) -> Outcome:
    """Run one kind. Raises ValueError on one that is not known."""
    if analysis == "MODEL_QUALITY":
        return _model_quality(job)
    if analysis in ("MODEL_BIAS", "BIAS"):
        return _bias(job, _config(job, opt))
    if analysis in ("MODEL_EXPLAINABILITY", "EXPLAINABILITY"):
        return _explainability(job, _config(job, opt))
    raise ValueError(
        f"analysis_type is DATA_QUALITY, MODEL_QUALITY, MODEL_BIAS or MODEL_EXPLAINABILITY, got {analysis!r}"
    )


def _config(job: Job, opt: Path) -> Mapping[str, Any]:
    path = Path(job.values.get("analysis_config") or opt / "processing" / "input" / "config" / "analysis_config.json")
    if path.is_dir():
        # A CDK asset keeps its hash for a name.
        (path,) = path.glob("*.json")
    config = read_json(path)
    if not isinstance(config, dict):
        raise ValueError(f"{path} is not an object")
    return config


def _write(job: Job, bodies: Mapping[str, object]) -> None:
    job.output_path.mkdir(parents=True, exist_ok=True)
    for name, body in bodies.items():
        (job.output_path / name).write_bytes(dumps(body, indent=True))


def joined_of(job: Job) -> Joined:
    """Records with labels in the job's time range.

    `sagemakerMergeJson` is data already joined; `sagemakerCaptureJson` is joined here with `ground_truth_source`.
    """
    if job.dataset_format == "sagemakerMergeJson":
        found: list[tuple[Record, Row]] = []
        for source, stream in opened(files(job.dataset_source)):
            found += merged_lines(stream, source)
        found = [(record, label) for record, label in found if _inside(record, job)]
        found.sort(key=lambda pair: pair[0].time or 0.0)
        return Joined(tuple(found), tuple(record.time or 0.0 for record, _ in found))
    if job.dataset_format != "sagemakerCaptureJson" or not job.values.get("ground_truth_source"):
        raise ValueError("labels come by dataset_format sagemakerMergeJson, or by ground_truth_source beside capture")
    labels = Labels()
    for source, stream in opened(files(Path(job.values["ground_truth_source"]), "*.jsonl")):
        labels.read(stream, source)
    return join(read_records(opened(files(job.dataset_source, "*.jsonl"))), labels, job.start, job.end)


def _inside(record: Record, job: Job) -> bool:
    if record.time is None:
        return job.start is None and job.end is None
    return (job.start is None or record.time >= job.start) and (job.end is None or record.time < job.end)


def _triples(job: Job, pairs: Sequence[tuple[Record, Row]]) -> list[tuple[Any, Any, float | None]]:
    values = job.values
    inference, probability = values.get("inference_attribute"), values.get("probability_attribute")
    found = []
    for record, label in pairs:
        row = (record.outputs or ((),))[0]
        said = attribute(row, inference) if inference is not None or probability is None else None
        score = number(attribute(row, probability)) if probability is not None else None
        found.append((attribute(label, values.get("ground_truth_attribute")), said, score))
    return found


def _rows_as_triples(job: Job) -> list[tuple[Any, Any, float | None]]:
    """Rows of a table with named columns: what a quality baseline is made from."""
    values = job.values
    inference, probability = values.get("inference_attribute"), values.get("probability_attribute")
    truth = values.get("ground_truth_attribute")
    if truth is None:
        raise ValueError("ground_truth_attribute names the label's column")
    return [
        (
            attribute(row, truth),
            attribute(row, inference) if inference else None,
            number(attribute(row, probability)) if probability else None,
        )
        for row in table_rows(job.dataset_source, job.dataset_format, header=job.header)
    ]


def problem_of(values: Mapping[str, str]) -> quality.Problem:
    """`problem_type`. Raises ValueError."""
    for problem in quality.PROBLEMS:
        if values.get("problem_type") == problem:
            return problem
    raise ValueError(f"problem_type is one of {', '.join(quality.PROBLEMS)}, got {values.get('problem_type')!r}")


def _model_quality(job: Job) -> Outcome:
    problem = problem_of(job.values)
    threshold = float(job.values.get("probability_threshold_attribute") or 0.5)
    namespace = metrics.MODEL if job.values.get("sagemaker_endpoint_name") else metrics.BATCH_MODEL
    if job.baseline_constraints is None:
        scored = quality.scored_of(problem, _rows_as_triples(job), threshold)
        _write(
            job,
            {
                "statistics.json": quality.statistics(problem, scored),
                "constraints.json": quality.constraints(problem, scored),
            },
        )
        return Outcome(0, [], namespace)
    joined = joined_of(job)
    scored = quality.scored_of(problem, _triples(job, joined.pairs), threshold)
    coverage, predictions = joined.coverage, len(joined.times)
    about = {"predictions": predictions, "label_coverage": coverage}
    statistics = quality.statistics(problem, scored, about)
    enough = len(scored) >= quality.MIN_LABELS
    constraints = read_json(job.baseline_constraints)
    found = quality.violations(problem, statistics, constraints, job.mode) if enough else []
    status: Status = ("Drift" if found else "Ok") if enough else "InsufficientData"
    reason = f"{len(scored)} labels of {predictions} predictions ({coverage:.0%})"
    _write(
        job,
        {
            "statistics.json": statistics,
            "constraints.json": constraints,
            "constraint_violations.json": {"violations": found},
            "verdict.json": {
                "status": status,
                "reason": reason,
                "mode": job.mode,
                "labels": len(scored),
                "label_coverage": coverage,
            },
        },
    )
    over_time = _over_time(problem, joined, scored, constraints)
    page = render_quality(over_time, status, reason, found)
    (job.output_path / "report.html").write_text(page, encoding="utf-8")
    emitted = [Metric("label_coverage", coverage, job.metric_time), Metric("labels", len(scored), job.metric_time)]
    if enough:
        emitted.append(Metric("quality_drift", float(bool(found)), job.metric_time))
        for name, measured in statistics[f"{quality.SECTION[problem]}_metrics"].items():
            if "value" in measured:
                emitted.append(Metric(name, measured["value"], job.metric_time))
    return Outcome(len(found), emitted, namespace)


_HEADLINE: dict[quality.Problem, tuple[str, ...]] = {
    "BinaryClassification": ("auc", "accuracy"),
    "MulticlassClassification": ("accuracy",),
    "Regression": ("rmse",),
}


def _over_time(
    problem: quality.Problem, joined: Joined, scored: quality.Scored, constraints: Mapping[str, Any]
) -> Quality:
    """The headline metric by hour of inference, by day where the data spans more than two."""
    rules = constraints.get(f"{quality.SECTION[problem]}_constraints", {})
    metric = next(name for name in _HEADLINE[problem] if name != "auc" or scored.scores is not None)
    spans = max(joined.times, default=0.0) - min(joined.times, default=0.0)
    times = Windows(3600 if spans <= 2 * 86400 else 86400)
    predicted = times.of(np.array(joined.times))
    labelled = times.of(np.array([record.time or 0.0 for record, _ in joined.pairs]))
    points = []
    for window in np.unique(predicted).tolist():
        chosen = labelled == window
        enough = chosen.sum() >= quality.MIN_LABELS
        value = quality.COMPUTE[problem](scored.part(chosen))[metric] if enough else None
        points.append(QualityPoint(window_name(window), value, float(chosen.sum() / (predicted == window).sum())))
    threshold = rules.get(metric, {}).get("threshold")
    return Quality(metric, None if threshold is None else float(threshold), tuple(points))


def _bias(job: Job, config: Mapping[str, Any]) -> Outcome:
    """Facets out of `analysis_config.json`: headers, label, facet, group_variable, as Clarify spells them."""
    headers, label = list(config["headers"]), str(config["label"])
    positive = {str(value) for value in config.get("label_values_or_threshold", [1])}
    columns, labels, said = _table_for_bias(job, headers, label)
    threshold = float(config.get("probability_threshold", job.values.get("probability_threshold_attribute") or 0.5))
    group_name = config.get("group_variable")
    group = np.array([str(cell) for cell in columns[str(group_name)]]) if group_name else None
    truth = np.array([_is_positive(cell, positive, threshold) for cell in labels])
    predicted = np.array([_is_positive(cell, positive, threshold) for cell in said])
    baseline = read_json(job.baseline_constraints) if job.baseline_constraints else None
    pre: dict[tuple[str, str], dict[str, float]] = {}
    post: dict[tuple[str, str], dict[str, float]] = {}
    found: list[dict[str, str]] = []
    for facet in config["facet"]:
        name = str(facet["name_or_index"])
        if name not in columns:
            raise ValueError(f"facet {name!r} is not a feature")
        named = facet.get("value_or_threshold", [1])
        value = ",".join(str(item) for item in named)
        sample = bias.Sample(truth, predicted, bias.facet_of(columns[name], named), group)
        pre[name, value], post[name, value] = bias.pre_training(sample), bias.post_training(sample)
        if baseline is not None:
            for key, compute in (
                ("pre_training_bias_metrics", bias.pre_training),
                ("post_training_bias_metrics", bias.post_training),
            ):
                before = bias.baseline_metrics(baseline, key, name, value)
                found += bias.violations(sample, name, value, before, compute)
    analysis: dict[str, Any] = {"version": "1.0"}
    analysis |= bias.section("pre_training_bias_metrics", label, pre)
    analysis |= bias.section("post_training_bias_metrics", label, post)
    _write(job, {"analysis.json": analysis, "constraint_violations.json": {"violations": found}})
    emitted = [Metric("bias_drift", float(bool(found)), job.metric_time)]
    for (name, value), values in post.items():
        for metric in ("DPPL", "DI", "AD"):
            if np.isfinite(values[metric]):
                emitted.append(Metric(f"bias_metric_{metric}_{name}_{value}", values[metric], job.metric_time))
    return Outcome(len(found), emitted, metrics.BIAS)


def _is_positive(cell: Any, positive: set[str], threshold: float) -> bool:
    """A label or prediction as given, or a probability against the threshold."""
    text = str(cell).strip()
    if text in positive:
        return True
    value = number(text)
    if str(int(value)) in positive if np.isfinite(value) and value == int(value) else False:
        return True
    return bool(np.isfinite(value) and 0 < value < 1 and value > threshold)


def _table_for_bias(job: Job, headers: Sequence[str], label: str) -> tuple[dict[str, list[Any]], list[Any], list[Any]]:
    if job.dataset_format in ("csv", "json", "parquet"):
        predicted = str(job.values.get("inference_attribute") or "prediction")
        rows = list(table_rows(job.dataset_source, job.dataset_format, header=job.header))
        columns = {name: [row[name] for row in rows] for name in headers if name not in (label, predicted)}
        return columns, [row[label] for row in rows], [row[predicted] for row in rows]
    pairs = joined_of(job).pairs
    if not pairs:
        raise BadDataset("no prediction has a label yet")
    features = [name for name in headers if name != label]
    triples = _triples(job, pairs)
    said = [score if prediction is None else prediction for _, prediction, score in triples]
    return _feature_columns((record for record, _ in pairs), features), [truth for truth, _, _ in triples], said


def _feature_columns(records: Iterator[Record], features: Sequence[str]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {name: [] for name in features}
    for row in (row for record in records for row in record.inputs or ((),)):
        if isinstance(row, Mapping):
            cells = [row.get(name) for name in features]
        elif len(row) == len(features):
            cells = list(row)
        else:
            raise ValueError(f"a captured row has {len(row)} columns, headers name {len(features)}")
        for name, cell in zip(features, cells, strict=True):
            columns[name].append(cell)
    return columns


def _matrix(columns: Mapping[str, Sequence[Any]]) -> Any:
    matrix = np.array([[number(cell) for cell in cells] for cells in columns.values()]).T
    if np.isinf(matrix).any():
        broken = [name for name, column in zip(columns, matrix.T, strict=True) if np.isinf(column).any()]
        raise ValueError(f"not numbers, so XGBoost cannot explain them as they are: {', '.join(broken)}")
    return matrix


def _explainability(job: Job, config: Mapping[str, Any]) -> Outcome:
    """SHAP of the model over the rows, against the baseline's ranking.

    `model_archive` (ours) is a model.tar.gz whose own code encodes the rows; `methods.shap.model_file` an XGBoost model
    that takes them as they are, numbers.
    """
    headers = [str(name) for name in config["headers"] if name != config.get("label")]
    shap = (config.get("methods") or {}).get("shap") or {}
    if job.dataset_format == "sagemakerCaptureJson":
        records = read_records(opened(files(job.dataset_source, "*.jsonl")))
        kept = (item for item in records if not isinstance(item, Bad) and item.inputs and _inside(item, job))
        columns = _feature_columns(kept, headers)
    else:
        rows = list(table_rows(job.dataset_source, job.dataset_format, header=job.header))
        columns = {name: [row[name] for row in rows] for name in headers}
    if not columns[headers[0]]:
        raise BadDataset("no rows to explain")
    if archive := job.values.get("model_archive"):
        current = explain.by_archive(Path(archive), columns)
    elif "model_file" in shap:
        current = explain.attributions(Path(shap["model_file"]), _matrix(columns), headers)
    else:
        raise ValueError("the model is named by model_archive, or in analysis_config.json by methods.shap.model_file")
    found: list[dict[str, str]] = []
    emitted: list[Metric] = []
    label = "label0"
    if job.baseline_constraints is not None:
        label, before = explain.read_analysis(read_json(job.baseline_constraints))
        found = explain.violations(before, current, label)
        emitted.append(Metric("ndcg", explain.ndcg(before, current), job.metric_time))
    bodies = {"analysis.json": explain.analysis(current, label), "constraint_violations.json": {"violations": found}}
    _write(job, bodies)
    return Outcome(len(found), emitted, metrics.EXPLAIN)
