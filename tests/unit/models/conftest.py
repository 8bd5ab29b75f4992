"""The example model, run as in SageMaker's containers on a few days of real flights."""

from __future__ import annotations

import gzip
import importlib
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).resolve().parents[3] / "examples" / "flight_delays"
FIRST_HOLDOUT_DAY = "dt=2013-01-21"

Script = Callable[[str], ModuleType]


@pytest.fixture(scope="session")
def script() -> Iterator[Script]:
    """Import one of the model's scripts as its neighbours do: from its own folder, under its own name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        yield importlib.import_module
    for name, module in list(sys.modules.items()):
        if Path(getattr(module, "__file__", None) or "").parent == SCRIPTS:
            del sys.modules[name]


@pytest.fixture(scope="session")
def processing(tmp_path_factory: pytest.TempPathFactory, script: Script) -> Path:
    """`/opt/ml/processing` after preprocess.py: real flights of 1 to 24 January, the last four days held out."""
    root = tmp_path_factory.mktemp("processing")
    script("data").main(["--out", str(root), "--start", "2013-01-01", "--end", "2013-01-24"])
    for day in sorted((root / "raw").iterdir()):
        split = "holdout" if day.name >= FIRST_HOLDOUT_DAY else "train"
        (root / "input" / split).mkdir(parents=True, exist_ok=True)
        day.rename(root / "input" / split / day.name)
    preprocess = script("preprocess")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preprocess, "PROCESSING", root)
        preprocess.main()
    return root


@pytest.fixture(scope="session")
def archives(processing: Path, script: Script, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """model.tar.gz of three trainings: two in fresh processes that differ in their hash seed only, one shallower."""
    root = tmp_path_factory.mktemp("training")
    hyperparameters = ["--num_boost_round", "30", "--seed", "7", "--max_depth"]

    def variables(name: str) -> dict[str, str]:
        model_dir = root / name / "model"
        model_dir.mkdir(parents=True)
        return {"SM_CHANNEL_TRAIN": str(processing / "output" / "train"), "SM_MODEL_DIR": str(model_dir)}

    command = [sys.executable, str(SCRIPTS / "train.py"), *hyperparameters, "4"]
    runs = [
        subprocess.Popen(command, env={**os.environ, **variables(name), "PYTHONHASHSEED": hash_seed})
        for name, hash_seed in (("first", "1"), ("second", "2"))
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train.py", *hyperparameters, "2"])
        for variable, value in variables("other").items():
            patch.setenv(variable, value)
        script("train").main()
    assert [run.wait() for run in runs] == [0, 0]
    return [_packed(root / name / "model") for name in ("first", "second", "other")]


def _packed(model_dir: Path) -> Path:
    """Pack SM_MODEL_DIR: times and modes as they are, owner and compression header as any builder would fix them."""
    archive = model_dir.parent / "model.tar.gz"

    def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    plain = archive.with_suffix("")
    with tarfile.open(plain, "w") as tar:
        for path in sorted(model_dir.rglob("*")):
            tar.add(path, path.relative_to(model_dir), recursive=False, filter=anonymous)
    archive.write_bytes(gzip.compress(plain.read_bytes(), mtime=0))
    return archive
