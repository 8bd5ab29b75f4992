"""What the kinds share: what a job knows, how its labels are joined, and what it leaves behind."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from drift_analyzer.capture import KEPT, Bad, read_records
from drift_analyzer.cells import number
from drift_analyzer.dataset import files, opened, read_json, table_rows
from drift_analyzer.drift import Mode, Status
from drift_analyzer.ground_truth import Joined, Labelled, Labels, attribute, join, merged
from drift_analyzer.jsonio import dumps
from drift_analyzer.metrics import Metric
from drift_analyzer.records import BadRecord, Row
from drift_analyzer.table import row_cells


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


@dataclass(frozen=True)
class Finding:
    """What a run says of its window.

    Attributes:
        metric: the value that was judged, None where none was.
        labels: labelled rows; coverage: their part of the rows that were answered.
    """

    status: Status
    reason: str
    violations: Sequence[Mapping[str, str]] = ()
    metric: float | None = None
    labels: int = 0
    coverage: float = 0.0
    bad: Sequence[Bad] = ()

    @property
    def reasons(self) -> dict[str, int]:
        return dict(Counter(bad.reason for bad in self.bad))


def leave(job: Job, finding: Finding, bodies: Mapping[str, object], page: str) -> None:
    """Write a run's files: Model Monitor's, our verdict, the report, and what could not be read beside them."""
    verdict = {
        "status": finding.status,
        "reason": finding.reason,
        "mode": job.mode,
        "metric": finding.metric,
        "labels": finding.labels,
        "label_coverage": finding.coverage,
        "bad_records": len(finding.bad),
        "bad_reasons": finding.reasons,
    }
    violations = {"violations": list(finding.violations)}
    put(job, {**bodies, "constraint_violations.json": violations, "verdict.json": verdict})
    (job.output_path / "report.html").write_text(page, encoding="utf-8")
    if finding.bad:
        lines = [dumps(asdict(bad)) for bad in finding.bad[:KEPT]]
        (job.output_path / "bad_records.jsonl").write_bytes(b"\n".join(lines) + b"\n")


def put(job: Job, bodies: Mapping[str, object]) -> None:
    """Write JSON files to the job's output."""
    job.output_path.mkdir(parents=True, exist_ok=True)
    for name, body in bodies.items():
        (job.output_path / name).write_bytes(dumps(body, indent=True))


def config_of(job: Job, opt: Path) -> Mapping[str, Any]:
    """`analysis_config.json`, as Clarify spells it. Raises ValueError where it is no object."""
    path = Path(job.values.get("analysis_config") or opt / "processing" / "input" / "config" / "analysis_config.json")
    if path.is_dir():
        # A CDK asset keeps its hash for a name.
        (path,) = path.glob("*.json")
    config = read_json(path)
    if not isinstance(config, dict):
        raise ValueError(f"{path} is not an object")
    return config


def joined_of(job: Job) -> Joined:
    """Rows with labels in the job's time range.

    `sagemakerMergeJson` is data already joined; `sagemakerCaptureJson` is joined here with `ground_truth_source`.
    """
    if job.dataset_format == "sagemakerMergeJson":
        return merged(opened(files(job.dataset_source)), job.start, job.end)
    if job.dataset_format != "sagemakerCaptureJson" or not job.values.get("ground_truth_source"):
        raise ValueError("labels come by dataset_format sagemakerMergeJson, or by ground_truth_source beside capture")
    labels = Labels()
    for source, stream in opened(files(Path(job.values["ground_truth_source"]), "*.jsonl")):
        labels.read(stream, source)
    return join(read_records(opened(files(job.dataset_source, "*.jsonl"))), labels, job.start, job.end)


Triple = tuple[Any, Any, float | None]
"""Label, prediction (None: it follows from the score), score (None: there is none)."""


def triple(job: Job, row: Labelled) -> Triple:
    """What was true, and what the model said. Raises BadRecord where an attribute is not there."""
    values = job.values
    inference, probability = values.get("inference_attribute"), values.get("probability_attribute")
    said = attribute(row.said, inference) if inference is not None or probability is None else None
    score = number(attribute(row.said, probability)) if probability is not None else None
    if score is not None and not 0 <= score <= 1:
        raise BadRecord("the answer's probability is not one")
    return attribute(row.label, values.get("ground_truth_attribute")), said, score


def table_triples(job: Job) -> list[Triple]:
    """Rows of a table with named columns: what a baseline is made from."""
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


def asked_cells(row: Row | None, features: Sequence[str]) -> Sequence[Any]:
    """The features of a captured row. Raises BadRecord where it has another width, or was not captured."""
    if row is None:
        raise BadRecord("endpointInput is missing")
    return row_cells(row, features)
