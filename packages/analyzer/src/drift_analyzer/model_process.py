"""A model's own code, in a process of its own under the image's Python: what it answers, and why.

A framework takes seconds to import, so the process starts before the rows are read and is asked once, when they are.
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

MOST_EXPLAINED = 2000
"""Rows that are explained, evenly spread: the mean over more moves no ranking, and takes minutes."""


@dataclass(frozen=True)
class Said:
    """What a model said.

    Attributes:
        answers: the first column of its answer, row by row.
        contributions: shape (rows explained, [classes,] features + 1), the last of each the expected value.
    """

    answers: list[str]
    contributions: NDArray[np.float64]


class ModelProcess:
    """The code in a `model.tar.gz`, loading from the moment that the context is entered.

    It takes `model_fn`, `input_fn`, `predict_fn` and `output_fn` of its inference.py, as SageMaker's serving does, and
    its `explain_fn(data, model)`, which takes what `input_fn` and `model_fn` return and gives contributions.
    """

    def __init__(self, archive: Path) -> None:
        self._archive = archive

    def __enter__(self) -> "ModelProcess":
        with ExitStack() as held:
            self._home = Path(held.enter_context(tempfile.TemporaryDirectory()))
            model = self._home / "model"
            with tarfile.open(self._archive, "r:gz") as tar:
                tar.extractall(model, filter="data")
            paths = [str(model / "code"), *filter(None, [os.environ.get("PYTHONPATH")])]
            self._process = held.enter_context(
                subprocess.Popen(  # noqa: S603 (fixed arguments, no shell)
                    [sys.executable, "-c", _PROGRAM, model, self._home],
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            held.callback(self._process.kill)
            self._held = held.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def ask(self, answer: Iterable[Sequence[Any]] = (), explain: Sequence[Sequence[Any]] = ()) -> Said:
        """Have rows answered, and others explained, of which a spread of `MOST_EXPLAINED` is taken. Once.

        Raises:
            ValueError: The code has no such function, or it failed; with the last line that it said.
        """
        request = {"answer": _csv(answer), "explain": _csv(spread(explain))}
        _, complaint = self._process.communicate(json.dumps(request))
        if self._process.returncode:
            reason = (complaint.strip().splitlines() or ["no reason given"])[-1]
            raise ValueError(f"the model's own code failed: {reason}")
        text = (self._home / "answers.csv").read_text(encoding="utf-8")
        contributions = np.load(self._home / "contributions.npy", allow_pickle=False)
        return Said([line.split(",")[0] for line in text.splitlines() if line], contributions)


def spread(rows: Sequence[Any]) -> Sequence[Any]:
    """At most `MOST_EXPLAINED` of the rows, evenly spread."""
    if len(rows) <= MOST_EXPLAINED:
        return rows
    return [rows[index * len(rows) // MOST_EXPLAINED] for index in range(MOST_EXPLAINED)]


def rows_of(columns: Mapping[str, Sequence[Any]]) -> list[Sequence[Any]]:
    """Columns as rows."""
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
asked = json.load(sys.stdin)
text, contributions = "", numpy.zeros((0, 1))
if asked["answer"]:
    data = inference.input_fn(asked["answer"], "text/csv")
    answer = inference.output_fn(inference.predict_fn(data, model), "text/csv")
    text = answer[0] if isinstance(answer, tuple) else answer
if asked["explain"]:
    if not hasattr(inference, "explain_fn"):
        sys.exit("its inference.py has no explain_fn")
    data = inference.input_fn(asked["explain"], "text/csv")
    contributions = numpy.asarray(inference.explain_fn(data, model), dtype=float)
with open(output + "/answers.csv", "w", encoding="utf-8") as file:
    file.write(text.decode("utf-8") if isinstance(text, bytes) else text)
numpy.save(output + "/contributions.npy", contributions, allow_pickle=False)
"""
