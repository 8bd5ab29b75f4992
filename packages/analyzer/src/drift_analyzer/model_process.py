"""Run a model's own code in a separate process: predictions and SHAP values.

A framework takes seconds to import, so the process starts before the rows are read, and gets them in one request.
"""

import csv
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAX_EXPLAINED_ROWS = 2000
"""Rows that are explained, evenly spaced. More rows take minutes and do not change the ranking."""


@dataclass(frozen=True)
class ModelOutput:
    """A model's predictions and explanations.

    Attributes:
        predictions: First column of the response, row by row.
        contributions: SHAP values, shape (rows explained, [classes,] features + 1); the last is the expected value.
    """

    predictions: list[str]
    contributions: NDArray[np.float64]


class ModelProcess:
    """The code of a `model.tar.gz`; entering the context starts to load it.

    Its inference.py defines `model_fn`, `input_fn`, `predict_fn` and `output_fn`, as for SageMaker's serving.
    To explain rows it also defines `explain_fn(data, model)`, which returns contributions.
    """

    def __init__(self, archive: Path) -> None:
        self._archive = archive

    def __enter__(self) -> "ModelProcess":
        with ExitStack() as stack:
            self._home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            model = self._home / "model"
            with tarfile.open(self._archive, "r:gz") as tar:
                tar.extractall(model, filter="data")
            paths = [str(model / "code"), *filter(None, [os.environ.get("PYTHONPATH")])]
            self._process = stack.enter_context(
                subprocess.Popen(  # noqa: S603 (fixed arguments, no shell)
                    [sys.executable, "-c", _PROGRAM, model, self._home],
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(self._process.kill)
            self._resources = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._resources.close()

    def run(self, predict: Iterable[Sequence[Any]] = (), explain: Sequence[Sequence[Any]] = ()) -> ModelOutput:
        """Predict rows and explain others. Can be called once.

        Args:
            predict: Rows to predict.
            explain: Rows to explain; of more than `_MAX_EXPLAINED_ROWS`, evenly spaced ones are taken.

        Raises:
            ValueError: The code lacks a function, or it failed; the message ends with its last line of output.
        """
        request = {"predict": _csv(predict), "explain": _csv(_evenly_spaced(explain))}
        _, errors = self._process.communicate(json.dumps(request))
        if self._process.returncode:
            reason = (errors.strip().splitlines() or ["no reason given"])[-1]
            raise ValueError(f"the model's own code failed: {reason}")
        text = (self._home / "predictions.csv").read_text(encoding="utf-8")
        contributions = np.load(self._home / "contributions.npy", allow_pickle=False)
        return ModelOutput([line.split(",")[0] for line in text.splitlines() if line], contributions)


def _evenly_spaced(rows: Sequence[Any]) -> Sequence[Any]:
    """Return at most `_MAX_EXPLAINED_ROWS` of the rows, evenly spaced."""
    if len(rows) <= _MAX_EXPLAINED_ROWS:
        return rows
    return [rows[index * len(rows) // _MAX_EXPLAINED_ROWS] for index in range(_MAX_EXPLAINED_ROWS)]


def rows_of(columns: Mapping[str, Sequence[Any]]) -> list[Sequence[Any]]:
    """Convert columns to rows."""
    return list(zip(*columns.values(), strict=True))


def _csv(rows: Iterable[Sequence[Any]]) -> str:
    body = io.StringIO()
    csv.writer(body, lineterminator="\n").writerows(["" if cell is None else cell for cell in row] for row in rows)
    return body.getvalue()


_PROGRAM = """
import json, sys
folder, output = sys.argv[1:]
import inference, numpy
model = inference.model_fn(folder)
request = json.load(sys.stdin)
text, contributions = "", numpy.zeros((0, 1))
if request["predict"]:
    data = inference.input_fn(request["predict"], "text/csv")
    response = inference.output_fn(inference.predict_fn(data, model), "text/csv")
    text = response[0] if isinstance(response, tuple) else response
    if not isinstance(text, (str, bytes)):
        sys.exit("its inference.py refuses the rows: " + str(getattr(response, "response", response)))
if request["explain"]:
    if not hasattr(inference, "explain_fn"):
        sys.exit("its inference.py has no explain_fn")
    data = inference.input_fn(request["explain"], "text/csv")
    contributions = numpy.asarray(inference.explain_fn(data, model), dtype=float)
with open(output + "/predictions.csv", "w", encoding="utf-8") as file:
    file.write(text.decode("utf-8") if isinstance(text, bytes) else text)
numpy.save(output + "/contributions.npy", contributions, allow_pickle=False)
"""
