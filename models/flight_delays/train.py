"""Train the model: gradient boosted trees on flights labelled by preprocess.py.

Runs in script mode of SageMaker's XGBoost container. The same rows, hyperparameters and seed give the same files, byte
for byte.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import xgboost
from features import COLUMNS, FEATURE_TYPES, LABEL, encode, vocabulary

SERVING_CODE = ("inference.py", "score.py", "preprocess.py", "features.py")
THREADS = 1
"""One thread: floating point sums depend on the number of threads, and this data is too small to gain from more."""
EPOCH = 0
"""Modification time of every file in the archive, so that the archive does not depend on the time of training."""


def arguments() -> argparse.Namespace:
    """Read hyperparameters from the arguments, folders from SM_* variables (SageMaker training toolkit)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num_boost_round", type=int, default=150)
    parser.add_argument("--max_depth", type=int, default=5)
    parser.add_argument("--learning_rate", type=float, default=0.1)
    parser.add_argument("--subsample", type=float, default=0.8)
    parser.add_argument("--colsample_bytree", type=float, default=0.8)
    parser.add_argument("--min_child_weight", type=float, default=10)
    parser.add_argument("--seed", type=int, default=20130101)
    parser.add_argument("--train", type=Path, default=os.environ.get("SM_CHANNEL_TRAIN"))
    parser.add_argument("--model-dir", type=Path, default=os.environ.get("SM_MODEL_DIR"))
    return parser.parse_args()


def read(folder: Path) -> tuple[list[list[str]], list[int]]:
    """Return request rows and labels of all CSV files in the channel.

    Raises:
        ValueError: A file has other columns than preprocess.py writes, or there are no rows.
    """
    rows, labels = [], []
    for path in sorted(folder.rglob("*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            if header != [LABEL, *COLUMNS]:
                raise ValueError(f"{path.name} has the columns {header}, expected {[LABEL, *COLUMNS]}")
            for label, *row in reader:
                labels.append(int(label))
                rows.append(row)
    if not rows:
        raise ValueError("the channel train holds no rows")
    return rows, labels


def save(model_dir: Path, booster: xgboost.Booster, known: dict[str, list[str]]) -> None:
    """Write the model, its vocabulary and the code that serves it."""
    code = model_dir / "code"
    code.mkdir(parents=True, exist_ok=True)
    booster.save_model(model_dir / "model.ubj")
    (model_dir / "vocabulary.json").write_text(json.dumps(known, sort_keys=True), encoding="utf-8")
    for name in SERVING_CODE:
        shutil.copyfile(Path(__file__).parent / name, code / name)
    for path in [*model_dir.rglob("*"), model_dir]:
        os.utime(path, (EPOCH, EPOCH))


def main() -> None:
    """Read, encode, train, save."""
    options = arguments()
    rows, labels = read(options.train)
    known = vocabulary(rows)
    data = xgboost.DMatrix(
        encode(rows, known),
        label=np.array(labels, dtype=np.float32),
        feature_names=list(COLUMNS),
        feature_types=FEATURE_TYPES,
        enable_categorical=True,
        nthread=THREADS,
    )
    parameters = {
        "objective": "binary:logistic",
        "tree_method": "hist",
        "max_depth": options.max_depth,
        "learning_rate": options.learning_rate,
        "subsample": options.subsample,
        "colsample_bytree": options.colsample_bytree,
        "min_child_weight": options.min_child_weight,
        "seed": options.seed,
        "nthread": THREADS,
    }
    booster = xgboost.train(parameters, data, num_boost_round=options.num_boost_round)
    save(options.model_dir, booster, known)
    print(f"trained {options.num_boost_round} trees of depth {options.max_depth} on {len(rows)} flights", flush=True)


if __name__ == "__main__":
    main()
