"""Code that the jobs for model quality, bias and explainability share: labels, configuration, and the files written."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from drift_analyzer.capture_reader import MAX_KEPT, BadRecord, read_records
from drift_analyzer.capture_records import Row, UnreadableRecordError
from drift_analyzer.cells import number
from drift_analyzer.cloudwatch_metrics import Metric
from drift_analyzer.columns import row_cells
from drift_analyzer.container_environment import ContainerEnvironment
from drift_analyzer.drift import Status
from drift_analyzer.ground_truth import LabelledData, LabelledRow, Labels, attribute, join, read_merged
from drift_analyzer.input_files import list_files, open_files, read_json
from drift_analyzer.jsonio import dumps
from drift_analyzer.reference_data import read_rows


@dataclass(frozen=True)
class JobResult:
    """The number of violations, and the metrics with their namespace."""

    violations: int
    metrics: list[Metric]
    namespace: str


@dataclass(frozen=True)
class JobVerdict:
    """The verdict on a window.

    Attributes:
        metric: The value that was judged; None where none was.
        labels: Number of labelled rows.
        coverage: Labelled rows ÷ predicted rows.
        bad: Records that could not be read or paired.
    """

    status: Status
    reason: str
    violations: Sequence[Mapping[str, str]] = ()
    metric: float | None = None
    labels: int = 0
    coverage: float = 0.0
    bad: Sequence[BadRecord] = ()

    @property
    def bad_reasons(self) -> dict[str, int]:
        """The number of bad records by reason."""
        return dict(Counter(record.reason for record in self.bad))


def write_verdict(job: ContainerEnvironment, verdict: JobVerdict, bodies: Mapping[str, object], page: str) -> None:
    """Write Model Monitor's files, `verdict.json`, `report.html` and, where there are any, `bad_records.jsonl`.

    Args:
        job: The job; the files go to its output path.
        verdict: The verdict.
        bodies: Further JSON files by name.
        page: The report.
    """
    body = {
        "status": verdict.status,
        "reason": verdict.reason,
        "mode": job.mode,
        "metric": verdict.metric,
        "labels": verdict.labels,
        "label_coverage": verdict.coverage,
        "bad_records": len(verdict.bad),
        "bad_reasons": verdict.bad_reasons,
    }
    violations = {"violations": list(verdict.violations)}
    write_json(job.output_path, {**bodies, "constraint_violations.json": violations, "verdict.json": body})
    (job.output_path / "report.html").write_text(page, encoding="utf-8")
    if verdict.bad:
        lines = [dumps(asdict(record)) for record in verdict.bad[:MAX_KEPT]]
        (job.output_path / "bad_records.jsonl").write_bytes(b"\n".join(lines) + b"\n")


def write_json(folder: Path, bodies: Mapping[str, object]) -> None:
    """Write JSON files by name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, body in bodies.items():
        (folder / name).write_bytes(dumps(body, indent=True))


def read_analysis_config(job: ContainerEnvironment, opt: Path) -> Mapping[str, Any]:
    """Read Clarify's `analysis_config.json`.

    Raises:
        ValueError: The file is not a JSON object.
    """
    path = Path(job.values.get("analysis_config") or opt / "processing" / "input" / "config" / "analysis_config.json")
    if path.is_dir():
        # A CDK asset is named after its hash.
        (path,) = path.glob("*.json")
    config = read_json(path)
    if not isinstance(config, dict):
        raise ValueError(f"{path} is not an object")
    return config


def read_labelled_data(job: ContainerEnvironment) -> LabelledData:
    """Read the predictions of the job's time range with their labels.

    `sagemakerMergeJson` is already joined. `sagemakerCaptureJson` is joined here with `ground_truth_source`.

    Raises:
        ValueError: The job names no labels.
    """
    if job.dataset_format == "sagemakerMergeJson":
        return read_merged(open_files(list_files(job.dataset_source)), job.start, job.end)
    if job.dataset_format != "sagemakerCaptureJson" or not job.values.get("ground_truth_source"):
        raise ValueError("labels are missing: set dataset_format to sagemakerMergeJson, or set ground_truth_source")
    labels = Labels()
    for source, stream in open_files(list_files(Path(job.values["ground_truth_source"]), "*.jsonl")):
        labels.read(stream, source)
    return join(read_records(open_files(list_files(job.dataset_source, "*.jsonl"))), labels, job.start, job.end)


LabelledPrediction = tuple[Any, Any, float | None]
"""Label, prediction (None: derive it from the score), score (None: there is none)."""


def labelled_prediction(job: ContainerEnvironment, row: LabelledRow) -> LabelledPrediction:
    """Return a row's label, prediction and score.

    Raises:
        UnreadableRecordError: The row lacks an attribute, or the score is not a probability.
    """
    values = job.values
    inference, probability = values.get("inference_attribute"), values.get("probability_attribute")
    prediction = attribute(row.output, inference) if inference is not None or probability is None else None
    score = number(attribute(row.output, probability)) if probability is not None else None
    if score is not None and not 0 <= score <= 1:
        raise UnreadableRecordError("the score is not a probability")
    return attribute(row.label, values.get("ground_truth_attribute")), prediction, score


def read_reference_predictions(job: ContainerEnvironment) -> list[LabelledPrediction]:
    """Read labels, predictions and scores from a table with named columns, to build a baseline.

    Raises:
        ValueError: The job does not name the label's column.
    """
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
        for row in read_rows(job.dataset_source, job.dataset_format, header=job.header)
    ]


def input_cells(row: Row | None, features: Sequence[str]) -> Sequence[Any]:
    """Return the features of a captured request's row.

    Raises:
        UnreadableRecordError: The row has another width, or the request was not captured.
    """
    if row is None:
        raise UnreadableRecordError("endpointInput is missing")
    return row_cells(row, features)
