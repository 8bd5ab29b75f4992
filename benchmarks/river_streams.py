"""Runs in river's own environment: writes streams with a change where we put it. `python river_streams.py FOLDER`."""

import sys
from pathlib import Path

import numpy as np
from river.datasets import synth

REFERENCE, BEFORE, AFTER = 20_000, 20_000, 20_000
CHANGE = REFERENCE + BEFORE
SEEDS = range(5)


def streams(seed):
    """Name to a river stream that changes at row CHANGE, abruptly or over `width` rows."""
    sea, agrawal = synth.SEA, synth.Agrawal
    yield "sea-abrupt", _drift(sea(variant=0, seed=seed), sea(variant=3, seed=seed + 50, noise=0.1), 1, seed)
    yield "agrawal-abrupt", _drift(
        agrawal(classification_function=0, seed=seed), agrawal(classification_function=3, seed=seed + 50), 1, seed
    )
    yield "agrawal-gradual", _drift(
        agrawal(classification_function=0, seed=seed), agrawal(classification_function=6, seed=seed + 50), 4000, seed
    )
    yield "rbf-abrupt", _drift(
        synth.RandomRBF(seed_model=seed, seed_sample=seed, n_features=10),
        synth.RandomRBF(seed_model=seed + 9, seed_sample=seed, n_features=10),
        1,
        seed,
    )
    yield "rbf-gradual", _drift(
        synth.RandomRBF(seed_model=seed, seed_sample=seed, n_features=10),
        synth.RandomRBF(seed_model=seed + 9, seed_sample=seed, n_features=10),
        4000,
        seed,
    )
    yield "hyperplane-incremental", _then(
        synth.Hyperplane(seed=seed, n_features=10, n_drift_features=0, mag_change=0.0),
        synth.Hyperplane(seed=seed, n_features=10, n_drift_features=5, mag_change=0.001),
    )


def _drift(one, other, width, seed):
    return synth.ConceptDriftStream(one, other, seed=seed, position=CHANGE, width=width)


def _then(one, other):
    """The first until CHANGE, then the second from its start: its concept moves a little with every row."""
    yield from one.take(CHANGE)
    yield from other.take(AFTER)


def main(folder):
    for seed in SEEDS:
        for name, stream in streams(seed):
            rows = list(stream.take(CHANGE + AFTER)) if hasattr(stream, "take") else list(stream)
            names = list(rows[0][0])
            features = np.array([[float(x[key]) for key in names] for x, _ in rows], dtype=np.float64)
            labels = np.array([int(y) for _, y in rows], dtype=np.int64)
            np.savez_compressed(folder / f"{name}-{seed}.npz", features=features, labels=labels)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
