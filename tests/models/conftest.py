"""The sample model as SageMaker's containers run it, on a few days of real flights."""

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

SCRIPTS = Path(__file__).resolve().parents[2] / "models" / "flight_delays"
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
def archives(processing: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """model.tar.gz of three trainings in fresh processes, at once: two that differ in hash seed only, one in depth."""
    root = tmp_path_factory.mktemp("training")
    runs = []
    for name, hash_seed, depth in (("first", "1", "4"), ("second", "2", "4"), ("other", "3", "2")):
        (root / name / "model").mkdir(parents=True)
        environment = {
            **os.environ,
            "PYTHONHASHSEED": hash_seed,
            "SM_CHANNEL_TRAIN": str(processing / "output" / "train"),
            "SM_MODEL_DIR": str(root / name / "model"),
        }
        arguments = ["--num_boost_round", "30", "--max_depth", depth, "--seed", "7"]
        runs.append(subprocess.Popen([sys.executable, str(SCRIPTS / "train.py"), *arguments], env=environment))
    assert [run.wait() for run in runs] == [0, 0, 0]
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
