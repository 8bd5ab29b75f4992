"""Score the new model and the champion on the same raw holdout, and compare their metrics.

Runs as a SageMaker processing job: `evaluate.py --metric auc --champion <package ARN | none>`. Each candidate scores in
a process of its own, by the code in its own archive (score.py). Both are measured against the labels as they are made
today, flight by flight, so a champion that labelled otherwise, or left rows out, cannot flatter itself.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

PROCESSING = Path("/opt/ml/processing")
NO_CHAMPION = "none"
CLIP = 1e-15
"""The log loss of a wrong probability of exactly 0 or 1 would be infinite (scikit-learn clips likewise)."""

Labels = NDArray[np.int64]
Scores = NDArray[np.float64]


def auc(labels: Labels, scores: Scores) -> float:
    """Return the area under the ROC curve by the Mann-Whitney statistic; ties count half.

    Raises:
        ValueError: All labels are equal: the area is not defined.
    """
    positives = int(labels.sum())
    negatives = labels.size - positives
    if not positives or not negatives:
        raise ValueError(f"AUC is not defined: {positives} of {labels.size} holdout rows are positive")
    _, group, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[group]
    return float((ranks[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def accuracy(labels: Labels, scores: Scores) -> float:
    """Return the share of rows on the right side of one half."""
    return float(np.mean((scores > 0.5) == (labels == 1)))


def log_loss(labels: Labels, scores: Scores) -> float:
    """Return the mean negative log likelihood, in nats."""
    clipped = np.clip(scores, CLIP, 1 - CLIP)
    return float(-np.mean(np.where(labels == 1, np.log(clipped), np.log1p(-clipped))))


def precision(labels: Labels, scores: Scores) -> float:
    """Return the share of positive rows among the predicted ones; 0 if none is predicted."""
    predicted = scores > 0.5
    return float(labels[predicted].mean()) if predicted.any() else 0.0


def recall(labels: Labels, scores: Scores) -> float:
    """Return the share of predicted rows among the positive ones; 0 if none is positive."""
    positive = labels == 1
    return float((scores[positive] > 0.5).mean()) if positive.any() else 0.0


def f1(labels: Labels, scores: Scores) -> float:
    """Return the harmonic mean of precision and recall; 0 if both are 0."""
    total = precision(labels, scores) + recall(labels, scores)
    return 2 * precision(labels, scores) * recall(labels, scores) / total if total else 0.0


METRICS: dict[str, tuple[Callable[[Labels, Scores], float], int]] = {
    "auc": (auc, 1),
    "accuracy": (accuracy, 1),
    "precision": (precision, 1),
    "recall": (recall, 1),
    "f1": (f1, 1),
    "log_loss": (log_loss, -1),
}
"""Each metric with its direction: 1 if higher is better."""


def measure(labels: Labels, scores: Scores) -> dict[str, float]:
    """Return all metrics of one candidate."""
    return {name: function(labels, scores) for name, (function, _) in METRICS.items()}


def unpack(archive: Path, folder: Path) -> Path:
    """Extract a model.tar.gz and return its score.py; unsafe members are refused (filter "data").

    Raises:
        ValueError: The archive is damaged, or has no score.py.
    """
    try:
        with tarfile.open(archive, "r:gz") as tar:
            tar.extractall(folder, filter="data")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ValueError(f"{archive.parent.name}/{archive.name} cannot be unpacked: {error}") from error
    script = folder / "code" / "score.py"
    if not script.is_file():
        raise ValueError(f"{archive.parent.name}/{archive.name} lacks code/score.py, so it cannot be scored")
    return script


class Answers(NamedTuple):
    """The scores from a candidate's own code.

    Attributes:
        flights: Label and score by flight.
        payload: Score of each row of the sample payload, in order; empty if it was not scored.
    """

    flights: dict[str, tuple[int, float]]
    payload: list[float]


def scored(archive: Path, holdout: Path, payload: Path | None = None) -> Answers:
    """Score the holdout and, if given, the sample payload with the archive's own code.

    Raises:
        RuntimeError: Its code failed; the message ends with its last line of error output.
    """
    with tempfile.TemporaryDirectory() as folder:
        script = unpack(archive, Path(folder) / "model")
        output = Path(folder) / "scores.csv"
        command = [sys.executable, str(script), str(holdout), str(output), *([str(payload)] if payload else [])]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode:
            reason = (run.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise RuntimeError(f"{archive.parent.name}/{archive.name} could not score the holdout: {reason}")
        with output.open(newline="", encoding="utf-8") as file:
            flights = {identifier: (int(label), float(score)) for identifier, label, score in csv.reader(file)}
        lines = (Path(folder) / "payload_scores.csv").read_text(encoding="utf-8").split() if payload else []
        return Answers(flights, [float(line) for line in lines])


def evaluate(folder: Path, metric: str, champion: str) -> dict[str, object]:
    """Return the evaluation of `folder/model` and, if there is one, `folder/champion` on `folder/holdout`.

    The challenger also scores the sample payload, `folder/payload/payload.csv`.

    Raises:
        ValueError: An unknown metric, a champion without archive, or one that leaves holdout rows without a score.
    """
    if metric not in METRICS:
        raise ValueError(f"metric {metric!r} is not known, this model measures {', '.join(METRICS)}")
    holdout, payload = folder / "holdout", folder / "payload" / "payload.csv"
    with ThreadPoolExecutor() as pool:
        ours_scored = pool.submit(scored, folder / "model" / "model.tar.gz", holdout, payload)
        theirs_scored = (
            None if champion == NO_CHAMPION else pool.submit(scored, folder / "champion" / "model.tar.gz", holdout)
        )
        challenger, payload_scores = ours_scored.result()
        incumbent = theirs_scored.result().flights if theirs_scored else None
    labels = np.array([label for label, _ in challenger.values()], dtype=np.int64)
    ours = measure(labels, np.array([score for _, score in challenger.values()]))
    result: dict[str, object] = {
        "rows": len(challenger),
        "champion": champion,
        "metrics": ours,
        # The answers to the sample payload that a stage's endpoint must give before the next stage may serve the model.
        "payload_scores": payload_scores,
    }
    if incumbent is None:
        verdict = f"{metric} {ours[metric]:.4f} on {len(challenger)} rows; there is no champion yet"
        return {**result, "champion_metrics": None, "improvement": 0.0, "verdict": verdict}
    missing = challenger.keys() - incumbent.keys()
    if missing:
        raise ValueError(f"the champion leaves {len(missing)} of {len(challenger)} holdout rows without a score")
    theirs = measure(labels, np.array([incumbent[identifier][1] for identifier in challenger]))
    improvement = METRICS[metric][1] * (ours[metric] - theirs[metric])
    against = f"{metric} {ours[metric]:.4f} on {len(challenger)} rows against the champion's {theirs[metric]:.4f}"
    verdict = (
        f"{against}: {abs(improvement):.4f} {'better' if improvement > 0 else 'worse'}" if improvement else against
    )
    return {**result, "champion_metrics": theirs, "improvement": improvement, "verdict": verdict}


def main() -> None:
    """Evaluate, and write evaluation.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--metric", default="auc", help="the metric that the gate looks at")
    parser.add_argument("--champion", default=NO_CHAMPION, help="ARN of the champion's model package, or none")
    options = parser.parse_args()
    evaluation = evaluate(PROCESSING / "input", options.metric, options.champion)
    path = PROCESSING / "output" / "evaluation" / "evaluation.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(evaluation, indent=2, sort_keys=True), encoding="utf-8")
    print(evaluation["verdict"], flush=True)


if __name__ == "__main__":
    main()
