"""Write river's streams with drift at a known row, in river's own environment: `python river_streams.py FOLDER`."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from river.datasets import synth  # type: ignore[import-not-found]

REFERENCE, BEFORE, AFTER = 20_000, 20_000, 20_000
CHANGE = REFERENCE + BEFORE
SEEDS = range(5)


def streams(seed: int) -> Iterator[tuple[str, Iterable[Any]]]:
    """Yield names and streams that change at row CHANGE, abruptly or over 4,000 rows."""
    sea, agrawal, rbf = synth.SEA, synth.Agrawal, synth.RandomRBF
    yield "sea-abrupt", _then(sea(variant=0, seed=seed), sea(variant=3, seed=seed + 50, noise=0.1))
    for name, join in (("abrupt", _then), ("gradual", _drift)):
        one = agrawal(classification_function=0, seed=seed)
        yield f"agrawal-{name}", join(one, agrawal(classification_function=3, seed=seed + 50))
        one = rbf(seed_model=seed, seed_sample=seed, n_features=10)
        yield f"rbf-{name}", join(one, rbf(seed_model=seed + 9, seed_sample=seed, n_features=10))
    still = synth.Hyperplane(seed=seed, n_features=10, n_drift_features=0, mag_change=0.0)
    moving = synth.Hyperplane(seed=seed, n_features=10, n_drift_features=5, mag_change=0.001)
    yield "hyperplane-incremental", _then(still, moving)


def _drift(one: Any, other: Any) -> Iterable[Any]:
    return synth.ConceptDriftStream(one, other, seed=1, position=CHANGE, width=4000).take(CHANGE + AFTER)  # type: ignore[no-any-return]


def _then(one: Any, other: Any) -> Iterator[Any]:
    """Yield the first stream until CHANGE, then the second from its start."""
    yield from one.take(CHANGE)
    yield from other.take(AFTER)


def main(folder: Path) -> None:
    """Write every stream as a numpy file."""
    for seed in SEEDS:
        for name, stream in streams(seed):
            rows = list(stream)
            names = list(rows[0][0])
            features = np.array([[float(x[key]) for key in names] for x, _ in rows], dtype=np.float64)
            labels = np.array([int(y) for _, y in rows], dtype=np.int64)
            np.savez_compressed(folder / f"{name}-{seed}.npz", features=features, labels=labels)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
