"""The baselines that a package carries: `python -m drift_analyzer.baselines`, a step of the training pipeline.

Data quality from the rows that were trained on, and the answers to the holdout; the other kinds from the holdout with
the challenger's own answers. Raw objects are CSV with a header; rows without a label are left out, as in training.
Each kind has a folder of the output: `{data-quality,model-quality,bias,explainability}/…`.
"""

import csv
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from drift_analyzer import container, explain
from drift_analyzer.baseline import Column, build, infer, with_weights
from drift_analyzer.cells import category
from drift_analyzer.dataset import BadDataset, read_json
from drift_analyzer.jsonio import dumps
from drift_analyzer.model_process import ModelProcess, Said

PREDICTION = "prediction"
_MESSAGE = Path("/opt/ml/output/message")


@dataclass(frozen=True)
class Settings:
    """What the model's specification says (docs/reference/contracts.md, "Baselines")."""

    columns: Mapping[str, str]
    target: str
    problem_type: str
    threshold: str
    kinds: tuple[str, ...]
    critical: tuple[str, ...]
    bias: Mapping[str, Any] | None

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> "Settings":
        return cls(
            columns={column["name"]: column["type"] for column in body["columns"]},
            target=body["target"],
            problem_type=body["problem_type"],
            threshold=str(body["threshold"]),
            kinds=tuple(body["kinds"]),
            critical=tuple(body["critical"]),
            bias=body["bias"],
        )


Rows = Sequence[Mapping[str, str]]


def labelled(folder: Path, settings: Settings) -> list[dict[str, str]]:
    """Rows of all raw objects under a folder, in the order of their keys, which begin with the date.

    Raises:
        BadDataset: A column is missing, or no row has a label.
    """
    wanted = [*settings.columns, settings.target]
    found: list[dict[str, str]] = []
    for path in sorted(folder.rglob("*.csv")):
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            if missing := [name for name in wanted if name not in (reader.fieldnames or ())]:
                raise BadDataset(f"{path.name} lacks the columns {', '.join(missing)}")
            found += [{name: row[name] for name in wanted} for row in reader if row[settings.target]]
    if not found:
        raise BadDataset(f"no row under {folder.name} has a label")
    return found


def columns_of(rows: Rows, settings: Settings) -> list[Column]:
    """The features as the specification types them; text that looks like a number stays text."""
    found = []
    for name, kind in settings.columns.items():
        cells = [row[name] for row in rows]
        if kind in ("string", "boolean"):
            found.append(Column(name, strings=[category(cell) for cell in cells]))
        else:
            found.append(replace(infer(name, cells), fractional=kind == "number"))
    return found


def write(inputs: Path, output: Path, settings: Settings) -> None:
    """Write every kind's baseline below `output`.

    Args:
        inputs: Holds `train/`, `holdout/` and `model/model.tar.gz`.
    """
    if PREDICTION in (*settings.columns, settings.target):
        raise BadDataset(f"a column is named {PREDICTION}, which is the answer's name in baselines: rename it")
    trained, holdout, said = _read_and_ask(inputs, settings)
    importances: Mapping[str, float] = {}
    if "explainability" in settings.kinds:
        # What each feature counts in the verdict on drift, too.
        importances = explain.mean_absolute(said.contributions, list(settings.columns))
        _put(output / "explainability", {"analysis.json": explain.analysis(importances)})
    with tempfile.TemporaryDirectory() as name:
        table = Path(name) / "holdout.csv"
        _write_table(table, holdout, said.answers)
        if "model_quality" in settings.kinds:
            _run(table, output / "model-quality", settings, {"analysis_type": "MODEL_QUALITY"})
        if "bias" in settings.kinds and settings.bias is not None:
            config = Path(name) / "analysis_config.json"
            config.write_bytes(dumps(settings.bias))
            values = {"analysis_type": "MODEL_BIAS", "analysis_config": str(config)}
            _run(table, output / "bias", settings, values)
    if "data_quality" in settings.kinds:
        # Model Monitor lays the answer before the features, so it is a column of the baseline. It is told of, and
        # never decides: what it does is model quality's to judge.
        prediction = infer(PREDICTION, said.answers, source="output")
        weights = {**importances, PREDICTION: 0.0}
        statistics, constraints = build(with_weights([prediction, *trained], weights, settings.critical))
        _put(output / "data-quality", {"statistics.json": statistics, "constraints.json": constraints})


def _read_and_ask(inputs: Path, settings: Settings) -> tuple[Sequence[Column], Rows, Said]:
    """The columns trained on, the holdout, and what the model says of it while the columns are read."""
    explained = "explainability" in settings.kinds
    with ModelProcess(inputs / "model" / "model.tar.gz") as model, ThreadPoolExecutor(1) as meanwhile:
        holdout = labelled(inputs / "holdout", settings)
        asked = [[row[name] for name in settings.columns] for row in holdout]
        answer = meanwhile.submit(model.ask, asked, explain=asked if explained else ())
        trained: Sequence[Column] = ()
        if "data_quality" in settings.kinds:
            trained = columns_of(labelled(inputs / "train", settings), settings)
        said = answer.result()
    if len(said.answers) != len(holdout):
        raise BadDataset(f"the model gave {len(said.answers)} answers to {len(holdout)} rows")
    return trained, holdout, said


def _write_table(path: Path, rows: Rows, answers: Sequence[str]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow([*rows[0], PREDICTION])
        writer.writerows([*row.values(), answer] for row, answer in zip(rows, answers, strict=True))


def _run(table: Path, output: Path, settings: Settings, values: Mapping[str, str]) -> None:
    """The container's own baseline job over the scored holdout."""
    answered = "probability_attribute" if settings.problem_type == "BinaryClassification" else "inference_attribute"
    environment = {
        "dataset_format": '{"csv":{"header":true}}',
        "dataset_source": str(table),
        "output_path": str(output),
        "problem_type": settings.problem_type,
        "ground_truth_attribute": settings.target,
        "probability_threshold_attribute": settings.threshold,
        answered: PREDICTION,
        **values,
    }
    container.run(container.Environment.read(environment), output)


def _put(folder: Path, bodies: Mapping[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, body in bodies.items():
        (folder / name).write_bytes(dumps(body))


def main(root: Path = Path("/opt/ml/processing"), message: Path = _MESSAGE) -> int:
    """Run in the container; a mistake becomes the job's exit message."""
    try:
        (path,) = (root / "input" / "settings").glob("*.json")
        write(root / "input", root / "output" / "baselines", Settings.read(read_json(path)))
    except (BadDataset, ValueError, KeyError, OSError) as error:
        message.parent.mkdir(parents=True, exist_ok=True)
        message.write_text(f"no baseline: {error}"[: container.MESSAGE_LIMIT], encoding="utf-8")
        sys.stderr.write(f"drift_analyzer.baselines: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
