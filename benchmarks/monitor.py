"""Compare the analyzer on captured JSON lines with Evidently and scipy on Parquet: `python -m benchmarks.monitor`.

All read the same rows: 25 features, 50,000 rows of reference, 10,000 and 1,000,000 rows of traffic. Whole processes are
measured: wall time, CPU time, and the peak memory of one process. The analyzer writes its files and its report;
Evidently only computes. The size of the Lambda layer and the import time of the handler are measured too.
The last line of the output is JSON.
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
SMALL, LARGE, FORMS = 10_000, 1_000_000, 100_000
LINE = (
    b'{"captureData":{"endpointInput":{"observedContentType":"text/csv","mode":"INPUT","data":"%s\\n","encoding":"CSV"}'
    b',"endpointOutput":{"observedContentType":"text/csv; charset=utf-8","mode":"OUTPUT","data":"0.%04d",'
    b'"encoding":"CSV"}},"eventMetadata":{"eventId":"5a8c2f6c-5f6c-4d7c-9a0d-%012d",'
    b'"inferenceTime":"2026-02-14T17:%02d:%02dZ"},"eventVersion":"0"}\n'
)


@dataclass(frozen=True)
class Measurement:
    """One program's cost: seconds of wall and CPU time with its children, and the peak memory of one process in MB."""

    name: str
    rows: int
    wall: float
    cpu: float
    peak: float

    def __str__(self) -> str:
        return f"{self.name:28} {self.rows:>9,} rows {self.wall:8.2f} s wall {self.cpu:8.2f} s CPU {self.peak:7.0f} MB"


@cache
def _environment() -> dict[str, str]:
    """Return variables by which programs keep their bytecode, as installed programs do."""
    found = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return found | {"PYTHONPYCACHEPREFIX": str(peers.CACHE.parent / "bytecode")}


def measured(name: str, rows: int, command: Sequence[str | Path], folder: Path = LAMBDA) -> Measurement:
    """Run a program and measure it.

    Raises:
        RuntimeError: The program failed; the message is the end of its output.
    """
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            [str(part) for part in command], cwd=folder, env=_environment(), stdout=output, stderr=output
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            raise RuntimeError(f"{name}: {output.read().decode()[-2000:]}")
    peak = usage.ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
    return Measurement(name, rows, wall, usage.ru_utime + usage.ru_stime, peak)


def median_run(name: str, rows: int, command: Sequence[str | Path], times: int) -> Measurement:
    """Return the median by wall time of several runs after a warm-up; the peak is the greatest."""
    if times > 1:
        measured(name, rows, command)
    runs = sorted((measured(name, rows, command) for _ in range(times)), key=lambda run: run.wall)
    middle = runs[len(runs) // 2]
    return Measurement(name, rows, middle.wall, middle.cpu, max(run.peak for run in runs))


def traffic(rows: int, seed: int) -> NDArray[np.float64]:
    """Generate rows of mixed distributions with four decimals, as a client would send them."""
    generator = np.random.default_rng(seed)
    found = generator.normal(size=(rows, FEATURES))
    found[:, ::5] = np.exp(found[:, ::5])
    found[:, 1::5] = generator.poisson(7, (rows, len(range(1, FEATURES, 5))))
    return np.round(found, 4)


def prepare(home: Path, rows: int) -> None:
    """Write captured files of 50,000 requests in SageMaker's layout, and the same rows as Parquet."""
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


def prepare_form(home: Path, form: str) -> None:
    """Write 100,000 captured requests as `csv`, as `json` objects, or as CSV with a `quoted` cell."""
    folder = home / f"capture-{form}"
    folder.mkdir(parents=True)
    names = [f"f{index}" for index in range(FEATURES)]
    with (folder / "a.jsonl").open("wb") as stream:
        for index, row in enumerate(traffic(FORMS, seed=2).tolist()):
            text = ",".join([repr(value).removesuffix(".0") for value in row])
            if form == "json":
                text = json.dumps(json.dumps(dict(zip(names, row, strict=True))))[1:-1]
            elif form == "quoted":
                text = f'\\"{text.replace(",", chr(92) + chr(34) + ",", 1)}'
            line = LINE % (text.encode(), index % 10_000, index, index // 60 % 60, index % 60)
            if form == "json":
                line = line.replace(b'text/csv"', b'application/json"', 1).replace(b"\\n", b"", 1)
                line = line.replace(b'"encoding":"CSV"', b'"encoding":"JSON"', 1)
            stream.write(line)


def _parquet(home: Path, name: str, array: NDArray[np.float64]) -> None:
    np.save(home / f"{name}.npy", array)
    script = Path(__file__).with_name("evidently_drift.py")
    target = home / f"{name}.parquet"
    subprocess.run([peers.python("evidently"), script, "parquet", home / f"{name}.npy", target], check=True)
    (home / f"{name}.npy").unlink()


def reference(home: Path) -> None:
    """Write the reference data, and build the baseline."""
    array = traffic(REFERENCE, seed=0)
    names = ",".join(f"f{index}" for index in range(FEATURES))
    np.savetxt(home / "reference.csv", array, fmt="%.4f", delimiter=",", header=names, comments="")
    _parquet(home, "reference", array)
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "drift_analyzer",
        "baseline",
        home / "reference.csv",
        "--output",
        home / "baseline",
    ]
    print(measured("drift-analyzer, baseline", REFERENCE, command))


def in_own_process(task: Callable[..., None], *arguments: object) -> None:
    """Run a task in a process of its own, because a child's peak memory starts with its parent's at the fork."""
    process = get_context("fork").Process(target=task, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"{task.__name__} failed")


def analyzer(home: Path, rows: int, workers: int, times: int, form: str = "") -> Measurement:
    """Measure the analyzer, on requests of one form or of plain CSV."""
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "drift_analyzer",
        "analyze",
        home / f"capture-{form or rows}",
        "--baseline",
        home / "baseline",
    ]
    command += ["--output", home / "out", "--workers", str(workers)]
    name = f"drift-analyzer, {form or 'csv'}" if form else f"drift-analyzer, {workers} process{'es' * (workers > 1)}"
    return median_run(name, rows, command, times)


def peer(home: Path, tool: str, rows: int, times: int) -> Measurement:
    """Measure `evidently` or `scipy`."""
    script = Path(__file__).with_name("evidently_drift.py")
    files = (home / "reference.parquet", home / f"current-{rows}.parquet")
    return median_run(f"{tool}, from Parquet", rows, [peers.python("evidently"), script, tool, *files], times)


def handler_import(times: int = 5) -> float:
    """Return the median seconds of a process that imports the handler, after a warm-up."""
    command = [sys.executable, "-c", "import monitor.handler"]
    measured("import", 0, command)
    return statistics.median(measured("import", 0, command).wall for _ in range(times))


def layer_size(home: Path) -> float:
    """Return the size in MB of the function and its unpacked arm64 layer."""
    from layers.analyzer.build import build

    code = sum(path.stat().st_size for path in (LAMBDA / "monitor").rglob("*.py"))
    return (build(home / "layer") + code) / 1e6


def main() -> int:
    """Run all measurements and print them."""
    with tempfile.TemporaryDirectory(dir=peers.CACHE.parent) as folder:
        home = Path(folder)
        for rows in (SMALL, LARGE):
            in_own_process(prepare, home, rows)
        in_own_process(reference, home)
        forms = {}
        for form in ("csv", "json", "quoted"):
            in_own_process(prepare_form, home, form)
            forms[form] = analyzer(home, FORMS, 1, 3, form)
        small = analyzer(home, SMALL, 1, 5)
        large = analyzer(home, LARGE, 2, 3)
        evidently = peer(home, "evidently", LARGE, 1)
        runs = [small, analyzer(home, LARGE, 1, 1), large, peer(home, "evidently", SMALL, 1), evidently]
        runs += [peer(home, "scipy", SMALL, 1), peer(home, "scipy", LARGE, 1)]
        for run in [*forms.values(), *runs]:
            print(run)
        print(f"import monitor.handler: {handler_import():.2f} s · function and layer: {layer_size(home):.0f} MB")
    body = {
        "speedup_1m": round(evidently.wall / large.wall, 1),
        "peak_mb_1m": round(large.peak),
        "wall_s_10k": round(small.wall, 3),
        "peak_mb_10k": round(small.peak),
        "json_ratio": round(forms["json"].wall / forms["csv"].wall, 2),
        "quoted_ratio": round(forms["quoted"].wall / forms["csv"].wall, 2),
    }
    print(json.dumps(body))
    return 0


if __name__ == "__main__":
    sys.exit(main())
