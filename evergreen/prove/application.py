"""The application that a proof deploys: the example model, with times as short as the configuration allows."""

from __future__ import annotations

import io
import os
import random
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from evergreen import ROOT
from evergreen.prove.state import MODEL, STAGE
from evergreen.prove.waiting import StepError

EXAMPLE = ROOT / "examples" / "flight_delays"
WINTER = (date(2013, 1, 1), date(2013, 2, 28))
"""The days that the model is trained on."""
# Weather differs so much from day to day that a season can hide in it; the mix of routes hardly differs at all.
CRITICAL = "distance"
"""The feature whose drift alone is drift of the data set."""
_LONG_MILES = 1000
_WINTER_ROWS, _DRIFTED_ROWS = 2000, 4000
_SEED = 20130101

# A wind of 359.5 degrees does not occur in the data, whose directions are tens, and is a direction all the same.
MARKED = ("wind_dir", "359.5")
"""The value on which the bad version fails, and which is nothing to a good one."""
_FAULT = f'''

_predict = predict_fn


def predict_fn(rows, model):  # noqa: F811
    """Fail on some requests, as code does that passes every evaluation."""
    if isinstance(rows, list) and any("{MARKED[1]}" in row for row in rows):
        raise RuntimeError("this version fails on purpose, to be rolled back")
    return _predict(rows, model)
'''


def write(folder: Path, name: str, region: str, engine: str) -> str:
    """Write the application's configuration and its model.

    Args:
        folder: The proof's folder.
        name: The application's name.
        region: The region of its one stage.
        engine: `available` for Model Monitor, `closed` for the built-in analyzer.

    Returns:
        The arguments of app.py that select it.
    """
    models = folder / "models" / EXAMPLE.name
    shutil.rmtree(folder / "models", ignore_errors=True)
    shutil.copytree(EXAMPLE, models, ignore=shutil.ignore_patterns("__pycache__"))
    settings = yaml.safe_load((models / "model.yaml").read_text(encoding="utf-8"))
    (models / "model.yaml").write_text(yaml.safe_dump(model(settings), sort_keys=False), encoding="utf-8")
    application = {
        "name": name,
        "stages": [{"name": STAGE, "account": None, "region": region, "model_monitor": engine}],
        "log_retention_days": 7,
    }
    (folder / "evergreen.yaml").write_text(yaml.safe_dump(application, sort_keys=False), encoding="utf-8")
    return " ".join(os.path.relpath(path, ROOT) for path in (folder / "evergreen.yaml", folder / "models"))


def model(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the example's settings with short bakes and windows, and a retraining after one drifted window."""
    serving = settings["serving"][STAGE]
    serving["deployment"] = {"strategy": "canary", "canary_percent": 50, "bake_minutes": 5}
    # CloudWatch has a minute's requests a minute later, so two of the five minutes are no more than delay.
    serving["alarms"] = {"error_percent": 2, "latency_ms": 10_000, "period_seconds": 60, "evaluation_periods": 1}
    serving["instances"] = {"min": 2, "max": 3}
    monitoring = {
        "schedule_hours": 1,
        "window_hours": 24,
        "instance_type": settings["monitoring"]["instance_type"],
        "volume_gb": 20,
        "max_runtime_minutes": 30,
        "data_quality": {"critical": [CRITICAL]},
        # A job an hour would be paid for; this one is started by the proof.
        "explainability": {"weekly": True},
    }
    retraining = {"cooldown_hours": 1, "cooldown_cap_hours": 1, "drifted": 1, "of_last": 1, "min_labels": 0}
    gate = {"metric": "auc", "minimum": 0.5}
    return {**settings, "gate": gate, "monitoring": monitoring, "retraining": retraining}


def bad_code() -> bytes:
    """Return the model's code as a zip archive, with a fault that no evaluation finds."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(EXAMPLE.glob("*.py")):
            text = path.read_text(encoding="utf-8")
            file.writestr(path.name, text + _FAULT if path.name == "inference.py" else text)
    return archive.getvalue()


def raw_files(folder: Path) -> dict[str, Path]:
    """Return the training data, written where missing, by their keys below the model's folder in the data bucket."""
    if not (folder / "raw" / f"dt={WINTER[1].isoformat()}").exists():
        _data("--out", str(folder), days=WINTER)
    return {path.relative_to(folder).as_posix(): path for path in sorted((folder / "raw").rglob("*.csv"))}


def winter_rows(files: Sequence[Path]) -> list[str]:
    """Return a sample of the training data as request rows."""
    return _sample(list(_requests(files)), _WINTER_ROWS)


def drifted_rows(files: Sequence[Path]) -> list[str]:
    """Return request rows that are drift: of the same days, but every other flight is a long one.

    With long flights only, destinations vanish, which is a break of the data and no drift.
    """
    place, rows = _columns().index(CRITICAL), list(_requests(files))
    long = [row for row in rows if float(row.split(",")[place]) >= _LONG_MILES]
    half = _DRIFTED_ROWS // 2
    return [row for pair in zip(_sample(long, half), _sample(rows, half), strict=True) for row in pair]


def marked(row: str) -> str:
    """Return a request row on which the bad version fails."""
    fields = row.split(",")
    fields[_columns().index(MARKED[0])] = MARKED[1]
    return ",".join(fields)


def header() -> str:
    """Return the names of the request's columns, as a client sends them by mistake."""
    return ",".join(_columns())


def batches(rows: Sequence[str], size: int) -> Iterator[bytes]:
    """Yield requests of so many rows."""
    for start in range(0, len(rows), size):
        yield "".join(f"{row}\n" for row in rows[start : start + size]).encode()


@cache
def _columns() -> list[str]:
    settings = yaml.safe_load((EXAMPLE / "model.yaml").read_text(encoding="utf-8"))
    return [str(column["name"]) for column in settings["data"]["columns"]]


def _requests(files: Sequence[Path]) -> Iterator[str]:
    """Yield the raw rows without identifier, time and label."""
    for path in files:
        for line in path.read_text(encoding="utf-8").splitlines()[1:]:
            yield line.split(",", 2)[2].rpartition(",")[0]


def _sample(rows: list[str], count: int) -> list[str]:
    return random.Random(_SEED).sample(rows, count)  # noqa: S311 (a sample, not a secret)


def _data(*arguments: str, days: tuple[date, date]) -> None:
    period = ["--start", days[0].isoformat(), "--end", days[1].isoformat()]
    command = [sys.executable, str(EXAMPLE / "data.py"), *arguments, *period]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (no user's words)
    if done.returncode:
        raise StepError(f"the sample data of {MODEL} cannot be made: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
