"""The Baseline step of a training pipeline: `python -m drift_analyzer.baseline_step`.

Build the baselines of all monitors from a trained model and its data. Data quality comes from the training rows and
the model's predictions on the holdout; the other monitors from the holdout with those predictions. The raw files are
CSV with a header. Rows without a label are left out, as in training.
The output has a folder for each monitor: `data-quality`, `model-quality`, `bias`, `explainability`.
"""

import csv
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from drift_analyzer import container, explainability
from drift_analyzer.baseline_builder import ReferenceColumn, build_baseline, infer_column, with_weights
from drift_analyzer.cells import category
from drift_analyzer.container_environment import ContainerEnvironment
from drift_analyzer.input_files import DatasetError, read_json
from drift_analyzer.jsonio import dumps
from drift_analyzer.model_process import ModelOutput, ModelProcess

_PREDICTION = "prediction"
_MESSAGE = Path("/opt/ml/output/message")


@dataclass(frozen=True)
class BaselineSettings:
    """The step's settings, one JSON file under `settings/`.

    Attributes:
        columns: Type by name: string, boolean, integer or number.
        target: Name of the label's column.
        problem_type: BinaryClassification, MulticlassClassification or Regression.
        threshold: Probability above which a binary prediction is positive.
        kinds: Monitors that get a baseline: data_quality, model_quality, bias, explainability.
        critical: Features whose drift alone is drift of the data set.
        bias: Clarify's `analysis_config.json`; None where `bias` is not among the kinds.
        window_share: The rows of a monitor's window, as a share of the holdout's. 0 where that is not known: then the
            constraints of model quality have the margin of the smallest window that gets a verdict.
    """

    columns: Mapping[str, str]
    target: str
    problem_type: str
    threshold: str
    kinds: tuple[str, ...]
    critical: tuple[str, ...]
    bias: Mapping[str, Any] | None
    window_share: float = 0.0

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> "BaselineSettings":
        """Parse the settings. Raises KeyError where an entry is missing."""
        return cls(
            columns={column["name"]: column["type"] for column in body["columns"]},
            target=body["target"],
            problem_type=body["problem_type"],
            threshold=str(body["threshold"]),
            kinds=tuple(body["kinds"]),
            critical=tuple(body["critical"]),
            bias=body["bias"],
            window_share=float(body.get("window_share", 0.0)),
        )


Rows = Sequence[Mapping[str, str]]


def _labelled_rows(folder: Path, settings: BaselineSettings) -> list[dict[str, str]]:
    """Read the labelled rows of all CSV files under a folder, in the order of their names, which begin with the date.

    Raises:
        DatasetError: A column is missing, or no row has a label.
    """
    wanted = [*settings.columns, settings.target]
    found: list[dict[str, str]] = []
    for path in sorted(folder.rglob("*.csv")):
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            if missing := [name for name in wanted if name not in (reader.fieldnames or ())]:
                raise DatasetError(f"{path.name} lacks the columns {', '.join(missing)}")
            found += [{name: row[name] for name in wanted} for row in reader if row[settings.target]]
    if not found:
        raise DatasetError(f"no row under {folder.name} has a label")
    return found


def _typed_columns(rows: Rows, settings: BaselineSettings) -> list[ReferenceColumn]:
    """Return the features with the types of the settings; text that looks like a number stays text."""
    found = []
    for name, kind in settings.columns.items():
        cells = [row[name] for row in rows]
        if kind in ("string", "boolean"):
            found.append(ReferenceColumn(name, strings=[category(cell) for cell in cells]))
        else:
            found.append(replace(infer_column(name, cells), fractional=kind == "number"))
    return found


def write_baselines(inputs: Path, output: Path, settings: BaselineSettings) -> None:
    """Write the baseline of every monitor.

    Args:
        inputs: Folder with `train/`, `holdout/` and `model/model.tar.gz`.
        output: Folder to write to.
        settings: The step's settings.

    Raises:
        ValueError: The data or the model's own code do not fit the settings.
    """
    if _PREDICTION in (*settings.columns, settings.target):
        raise DatasetError(
            f"a column is named {_PREDICTION}, which baselines use for the model's answer: rename the column"
        )
    trained, holdout, model_output = _read_and_predict(inputs, settings)
    importances: Mapping[str, float] = {}
    if "explainability" in settings.kinds:
        # They weigh the features in the verdict on data drift, too.
        importances = explainability.mean_absolute(model_output.contributions, list(settings.columns))
        _write_json(output / "explainability", {"analysis.json": explainability.analysis(importances)})
    with tempfile.TemporaryDirectory() as name:
        table = Path(name) / "holdout.csv"
        _write_table(table, holdout, model_output.predictions)
        if "model_quality" in settings.kinds:
            window_rows = str(int(settings.window_share * len(holdout)))
            values = {"analysis_type": "MODEL_QUALITY", "monitor_window_rows": window_rows}
            _run(table, output / "model-quality", settings, values)
        if "bias" in settings.kinds and settings.bias is not None:
            config = Path(name) / "analysis_config.json"
            config.write_bytes(dumps(settings.bias))
            values = {"analysis_type": "MODEL_BIAS", "analysis_config": str(config)}
            _run(table, output / "bias", settings, values)
    if "data_quality" in settings.kinds:
        # Model Monitor puts the prediction before the features, so the baseline holds it. Its drift is reported and
        # has no weight: predictions are judged by model quality.
        prediction = infer_column(_PREDICTION, model_output.predictions, source="output")
        weights = {**importances, _PREDICTION: 0.0}
        statistics, constraints = build_baseline(with_weights([prediction, *trained], weights, settings.critical))
        _write_json(output / "data-quality", {"statistics.json": statistics, "constraints.json": constraints})


def _read_and_predict(inputs: Path, settings: BaselineSettings) -> tuple[Sequence[ReferenceColumn], Rows, ModelOutput]:
    """Return the training columns, the holdout rows, and the model's output on the holdout.

    The model predicts in its own process while the training rows are read.
    """
    explained = "explainability" in settings.kinds
    with ModelProcess(inputs / "model" / "model.tar.gz") as model, ThreadPoolExecutor(1) as executor:
        holdout = _labelled_rows(inputs / "holdout", settings)
        features = [[row[name] for name in settings.columns] for row in holdout]
        prediction = executor.submit(model.run, features, explain=features if explained else ())
        trained: Sequence[ReferenceColumn] = ()
        if "data_quality" in settings.kinds:
            trained = _typed_columns(_labelled_rows(inputs / "train", settings), settings)
        model_output = prediction.result()
    if len(model_output.predictions) != len(holdout):
        raise DatasetError(f"the model gave {len(model_output.predictions)} answers to {len(holdout)} rows")
    return trained, holdout, model_output


def _write_table(path: Path, rows: Rows, predictions: Sequence[str]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow([*rows[0], _PREDICTION])
        writer.writerows([*row.values(), prediction] for row, prediction in zip(rows, predictions, strict=True))


def _run(table: Path, output: Path, settings: BaselineSettings, values: Mapping[str, str]) -> None:
    """Run the container's baseline job over the holdout with its predictions."""
    attribute = "probability_attribute" if settings.problem_type == "BinaryClassification" else "inference_attribute"
    environment = {
        "dataset_format": '{"csv":{"header":true}}',
        "dataset_source": str(table),
        "output_path": str(output),
        "problem_type": settings.problem_type,
        "ground_truth_attribute": settings.target,
        "probability_threshold_attribute": settings.threshold,
        attribute: _PREDICTION,
        **values,
    }
    container.run(ContainerEnvironment.read(environment), output)


def _write_json(folder: Path, bodies: Mapping[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, body in bodies.items():
        (folder / name).write_bytes(dumps(body))


def main(root: Path = Path("/opt/ml/processing"), message: Path = _MESSAGE) -> int:
    """Run the step in a processing container; a failure's reason becomes the exit message."""
    try:
        (path,) = (root / "input" / "settings").glob("*.json")
        write_baselines(root / "input", root / "output" / "baselines", BaselineSettings.read(read_json(path)))
    except (ValueError, KeyError, OSError) as error:
        message.parent.mkdir(parents=True, exist_ok=True)
        message.write_text(f"no baseline: {error}"[: container.MAX_MESSAGE], encoding="utf-8")
        sys.stderr.write(f"drift_analyzer.baseline_step: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
