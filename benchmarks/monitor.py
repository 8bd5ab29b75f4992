"""Our analyzer from raw capture JSONL against Evidently and scipy from Parquet. `python -m benchmarks.monitor`

The same rows for all: 25 features, 50,000 rows of reference, 10,000 and 1,000,000 rows of traffic. Whole processes are
measured: wall, CPU, and the peak of any one process. Ours writes its files and its report; Evidently computes only.
Also what the Lambda costs: its layer unpacked for arm64, and the import of its handler. Ends with one JSON line.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import peers

ROOT = peers.ROOT
LAMBDA = ROOT / "lambda"
FEATURES, REFERENCE, PER_FILE = 25, 50_000, 50_000
SMALL, LARGE = 10_000, 1_000_000
LINE = (
    b'{"captureData":{"endpointInput":{"observedContentType":"text/csv","mode":"INPUT","data":"%s\\n","encoding":"CSV"}'
    b',"endpointOutput":{"observedContentType":"text/csv; charset=utf-8","mode":"OUTPUT","data":"0.%04d",'
    b'"encoding":"CSV"}},"eventMetadata":{"eventId":"5a8c2f6c-5f6c-4d7c-9a0d-%012d",'
    b'"inferenceTime":"2026-02-14T17:%02d:%02dZ"},"eventVersion":"0"}\n'
)


@dataclass(frozen=True)
class Run:
    """One program: seconds of wall and CPU with its children, and the peak of any one process in MB."""

    name: str
    rows: int
    wall: float
    cpu: float
    peak: float

    def __str__(self) -> str:
        return f"{self.name:28} {self.rows:>9,} rows {self.wall:8.2f} s wall {self.cpu:8.2f} s CPU {self.peak:7.0f} MB"


@cache
def _environment() -> dict[str, str]:
    """Programs keep their bytecode, as installed ones have it: only a first run compiles."""
    found = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return found | {"PYTHONPYCACHEPREFIX": str(peers.CACHE.parent / "bytecode")}


def measured(name: str, rows: int, command: Sequence[str | Path], folder: Path = LAMBDA) -> Run:
    """Run a program to its end. Raises RuntimeError with what it said where it failed."""
    with tempfile.TemporaryFile() as said:
        started = time.perf_counter()
        process = subprocess.Popen(
            [str(part) for part in command], cwd=folder, env=_environment(), stdout=said, stderr=said
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"{name}: {said.read().decode()[-2000:]}")
    peak = usage.ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
    return Run(name, rows, wall, usage.ru_utime + usage.ru_stime, peak)


def best(name: str, rows: int, command: Sequence[str | Path], times: int) -> Run:
    """The median by wall of several runs, after one that is not counted; the peak is the largest."""
    if times > 1:
        measured(name, rows, command)
    runs = sorted((measured(name, rows, command) for _ in range(times)), key=lambda run: run.wall)
    middle = runs[len(runs) // 2]
    return Run(name, rows, middle.wall, middle.cpu, max(run.peak for run in runs))


def traffic(rows: int, seed: int) -> NDArray[np.float64]:
    """Rows of mixed shapes, to five digits as a client would send them; a fifth of the features has moved a little."""
    generator = np.random.default_rng(seed)
    found = generator.normal(size=(rows, FEATURES))
    found[:, ::5] = np.exp(found[:, ::5])
    found[:, 1::5] = generator.poisson(7, (rows, len(range(1, FEATURES, 5))))
    return np.round(found, 4)


def prepare(home: Path, rows: int) -> None:
    """Capture as SageMaker lays it, files of 50,000 requests, and the same rows as Parquet."""
    array = traffic(rows, seed=1)
    folder = home / f"capture-{rows}" / "endpoint" / "AllTraffic" / "2026" / "02" / "14" / "17"
    folder.mkdir(parents=True)
    for start in range(0, rows, PER_FILE):
        part = array[start : start + PER_FILE].tolist()
        with (folder / f"{start:08}.jsonl").open("wb") as stream:
            for index, row in enumerate(part, start):
                text = ",".join([repr(value).removesuffix(".0") for value in row]).encode()
                stream.write(LINE % (text, index % 10_000, index, index // 60 % 60, index % 60))
    _parquet(home, f"current-{rows}", array)


def _parquet(home: Path, name: str, array: NDArray[np.float64]) -> None:
    np.save(home / f"{name}.npy", array)
    script = Path(__file__).with_name("evidently_drift.py")
    target = home / f"{name}.parquet"
    subprocess.run([peers.python("evidently"), script, "parquet", home / f"{name}.npy", target], check=True)
    (home / f"{name}.npy").unlink()


def reference(home: Path) -> None:
    array = traffic(REFERENCE, seed=0)
    names = ",".join(f"f{index}" for index in range(FEATURES))
    np.savetxt(home / "reference.csv", array, fmt="%.4f", delimiter=",", header=names, comments="")
    _parquet(home, "reference", array)
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "monitor",
        "baseline",
        home / "reference.csv",
        "--output",
        home / "baseline",
    ]
    print(measured("ours, baseline", REFERENCE, command))


def apart(task: Callable[..., None], *arguments: object) -> None:
    """Run a task in a process of its own: a child's peak begins with what its parent held when it forked."""
    process = get_context("fork").Process(target=task, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"{task.__name__} failed")


def ours(home: Path, rows: int, workers: int, times: int) -> Run:
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "monitor",
        "analyze",
        home / f"capture-{rows}",
        "--baseline",
        home / "baseline",
    ]
    command += ["--output", home / "out", "--workers", str(workers)]
    return best(f"ours, {workers} process{'es' * (workers > 1)}", rows, command, times)


def theirs(home: Path, tool: str, rows: int, times: int) -> Run:
    script = Path(__file__).with_name("evidently_drift.py")
    files = (home / "reference.parquet", home / f"current-{rows}.parquet")
    return best(f"{tool}, from Parquet", rows, [peers.python("evidently"), script, tool, *files], times)


def handler_import(times: int = 5) -> float:
    """Median seconds of a process that imports the handler, warm."""
    command = [sys.executable, "-c", "import monitor.handler"]
    measured("import", 0, command)
    return statistics.median(measured("import", 0, command).wall for _ in range(times))


def layer_size(home: Path) -> float:
    """MB of the arm64 layer unpacked, with the analyzer beside it."""
    from layers.analyzer.build import build

    code = sum(path.stat().st_size for path in (LAMBDA / "monitor").rglob("*.py"))
    return (build(home / "layer") + code) / 1e6


def main() -> int:
    with tempfile.TemporaryDirectory(dir=peers.CACHE.parent) as folder:
        home = Path(folder)
        for rows in (SMALL, LARGE):
            apart(prepare, home, rows)
        apart(reference, home)
        small = ours(home, SMALL, 1, 5)
        large = ours(home, LARGE, 2, 3)
        evidently = theirs(home, "evidently", LARGE, 1)
        runs = [small, ours(home, LARGE, 1, 1), large, theirs(home, "evidently", SMALL, 1), evidently]
        runs += [theirs(home, "scipy", SMALL, 1), theirs(home, "scipy", LARGE, 1)]
        for run in runs:
            print(run)
        print(f"import monitor.handler: {handler_import():.2f} s · function and layer: {layer_size(home):.0f} MB")
    body = {
        "speedup_1m": round(evidently.wall / large.wall, 1),
        "peak_mb_1m": round(large.peak),
        "wall_s_10k": round(small.wall, 3),
        "peak_mb_10k": round(small.peak),
    }
    print(json.dumps(body))
    return 0


if __name__ == "__main__":
    sys.exit(main())
