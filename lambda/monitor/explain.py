"""Which features the model leans on, by SHAP, and whether their ranking has drifted, by NDCG.

Source: AWS "Monitor feature attribution drift". SHAP comes out of XGBoost itself (`pred_contribs`): exact, no sampling,
and no network, so that the job may stay isolated.
"""

import csv
import io
import math
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

LEAST_NDCG = 0.9


def attributions(model: Path, rows: "np.ndarray[Any, Any]", names: list[str]) -> dict[str, float]:
    """Mean |SHAP| by feature of a saved XGBoost model over `rows`, shape (rows, features). Needs xgboost."""
    import xgboost

    booster = xgboost.Booster(model_file=str(model))
    contributions = booster.predict(xgboost.DMatrix(rows, feature_names=booster.feature_names), pred_contribs=True)
    return mean_absolute(np.asarray(contributions), names)


MOST_ROWS = 2000
"""Rows that are explained, evenly spread: the mean over more moves no ranking, and takes minutes."""


def by_archive(archive: Path, columns: Mapping[str, Sequence[Any]]) -> dict[str, float]:
    """Mean |SHAP| by feature, as the model's own `explain_fn(data, model)` in its inference.py gives it.

    It takes what `input_fn` and `model_fn` return, and gives contributions of shape (rows, features + 1). The archive's
    code runs in a process of its own, under the image's Python.

    Raises:
        ValueError: The archive has no such function, or it failed; with the last line that it said.
    """
    rows = list(zip(*columns.values(), strict=True))
    kept = [rows[index * len(rows) // MOST_ROWS] for index in range(MOST_ROWS)] if len(rows) > MOST_ROWS else rows
    with tempfile.TemporaryDirectory() as name:
        output = Path(name) / "contributions.npy"
        _ask(archive, kept, _EXPLAIN, output)
        return mean_absolute(np.load(output, allow_pickle=False), list(columns))


def answers(archive: Path, rows: Iterable[Sequence[Any]]) -> list[str]:
    """The first column of what the model answers, row by row, through its own serving functions.

    Raises:
        ValueError: It failed; with the last line that it said.
    """
    with tempfile.TemporaryDirectory() as name:
        output = Path(name) / "answers.csv"
        _ask(archive, rows, _ANSWER, output)
        return [line.split(",")[0] for line in output.read_text(encoding="utf-8").splitlines() if line]


def _ask(archive: Path, rows: Iterable[Sequence[Any]], program: str, output: Path) -> None:
    """Run a program beside the unpacked model, with the rows as CSV on its standard input."""
    body = io.StringIO()
    csv.writer(body, lineterminator="\n").writerows(["" if cell is None else cell for cell in row] for row in rows)
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(archive, "r:gz") as tar:
            tar.extractall(folder, filter="data")
        command = [sys.executable, "-c", program, folder, str(output)]
        paths = [f"{folder}/code", *filter(None, [os.environ.get("PYTHONPATH")])]
        done = subprocess.run(  # noqa: S603 (fixed arguments, no shell)
            command,
            input=body.getvalue(),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise ValueError(f"the model's own code failed: {reason}")


_ANSWER = """
import sys
folder, output = sys.argv[1:]
import inference
model = inference.model_fn(folder)
data = inference.input_fn(sys.stdin.read(), "text/csv")
answer = inference.output_fn(inference.predict_fn(data, model), "text/csv")
text = answer[0] if isinstance(answer, tuple) else answer
with open(output, "w", encoding="utf-8") as file:
    file.write(text.decode("utf-8") if isinstance(text, bytes) else text)
"""

_EXPLAIN = """
import sys
folder, output = sys.argv[1:]
import inference, numpy
if not hasattr(inference, "explain_fn"):
    sys.exit("its inference.py has no explain_fn")
model = inference.model_fn(folder)
data = inference.input_fn(sys.stdin.read(), "text/csv")
numpy.save(output, numpy.asarray(inference.explain_fn(data, model), dtype=float), allow_pickle=False)
"""


def mean_absolute(contributions: "np.ndarray[Any, Any]", names: list[str]) -> dict[str, float]:
    """Of contributions (rows, [classes,] features + 1), the last being the expected value, summed over classes."""
    if contributions.shape[-1] != len(names) + 1:
        raise ValueError(f"the model has {contributions.shape[-1] - 1} features, {len(names)} names were given")
    mean = np.abs(contributions[..., :-1]).mean(axis=0)
    totals = mean.sum(axis=0) if mean.ndim > 1 else mean
    return {name: float(value) for name, value in zip(names, totals, strict=True)}


def ndcg(baseline: Mapping[str, float], current: Mapping[str, float]) -> float:
    """How well the current ranking keeps the baseline's: 1 the same, below 0.9 is drift.

    Gains are the baseline's attributions, in the order of the current ones, discounted by log2 of the rank.
    """
    if baseline.keys() != current.keys():
        raise ValueError("baseline and current attributions are of different features")

    def gain(order: Mapping[str, float]) -> float:
        ranked = sorted(order, key=lambda name: (-order[name], name))
        return sum(baseline[name] / math.log2(rank + 2) for rank, name in enumerate(ranked))

    ideal = gain(baseline)
    return gain(current) / ideal if ideal else 1.0


def analysis(shap: Mapping[str, float], label: str = "label0") -> dict[str, Any]:
    """Clarify's `analysis.json` of explanations."""
    return {"version": "1.0", "explanations": {"kernel_shap": {label: {"global_shap_values": dict(shap)}}}}


def read_analysis(body: Mapping[str, Any]) -> tuple[str, dict[str, float]]:
    """Label and attributions out of an `analysis.json`. Raises ValueError."""
    labels = (body.get("explanations") or {}).get("kernel_shap") or {}
    for label, values in labels.items():
        if "global_shap_values" in values:
            return label, {name: float(value) for name, value in values["global_shap_values"].items()}
    raise ValueError("the baseline has no explanations.kernel_shap.<label>.global_shap_values")


def violations(baseline: Mapping[str, float], current: Mapping[str, float], label: str) -> list[dict[str, str]]:
    """One violation where the ranking has drifted."""
    score = ndcg(baseline, current)
    if score >= LEAST_NDCG:
        return []
    return [
        {
            "label": label,
            "metric_name": "shap",
            "constraint_check_type": "feature_attribution_drift_check",
            "description": f"Feature attribution drift {score:.6g} exceeds threshold {LEAST_NDCG}",
        }
    ]
