"""A data-quality run over files: read, merge, judge each window, write the files and the report."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from drift_analyzer.capture import Bad, Capture
from drift_analyzer.drift import Rules, Verdict, alarm, judge
from drift_analyzer.jsonio import dumps
from drift_analyzer.schema import Baseline
from drift_analyzer.state import WindowState
from drift_analyzer.statistics import constraints, statistics
from drift_analyzer.times import Windows


@dataclass(frozen=True)
class Reading:
    """What was read: a state per window (its start, epoch seconds), and what could not be."""

    windows: dict[int, WindowState]
    bad: list[Bad]
    bad_count: int
    reasons: dict[str, int]


@dataclass(frozen=True)
class Window:
    """One window judged."""

    start: int
    state: WindowState
    verdict: Verdict


def read(baseline: Baseline, paths: Sequence[Path], times: Windows, workers: int = 1) -> Reading:
    """Fold captured files into states. With `workers` above 1, a process a file; the result is the same."""
    jobs = [(baseline, path, times) for path in paths]
    if workers > 1 and len(jobs) > 1:
        from multiprocessing import get_context

        with get_context("fork").Pool(min(workers, len(jobs))) as pool:
            parts = pool.starmap(_read_file, jobs, chunksize=1)
    else:
        parts = [_read_file(*job) for job in jobs]
    windows: dict[int, WindowState] = {}
    unplaced, bad = WindowState(), []
    for states, lost, kept in parts:
        for start, body in states.items():
            state = WindowState.from_json(body)
            if start in windows:
                windows[start].merge(state)
            else:
                windows[start] = state
        unplaced.merge(WindowState.from_json(lost))
        bad += [Bad(*line) for line in kept]
    reasons = unplaced.reasons.copy()
    for state in windows.values():
        reasons.update(state.reasons)
    return Reading(dict(sorted(windows.items())), bad, reasons.total(), dict(reasons))


def _read_file(
    baseline: Baseline, path: Path, times: Windows
) -> tuple[dict[int, Any], dict[str, Any], list[tuple[str, str, str]]]:
    capture = Capture(baseline.schema(), times)
    with path.open("rb") as stream:
        capture.read(stream, str(path))
    states = {start: state.to_json() for start, state in capture.windows.items()}
    return states, capture.unplaced.to_json(), [(bad.source, bad.reason, bad.line) for bad in capture.bad]


def judge_all(baseline: Baseline, reading: Reading, rules: Rules) -> list[Window]:
    """Every window in order of time; a drifted feature clears later than it drifts. No data is a window too."""
    states = reading.windows or {0: WindowState.empty(baseline.features)}
    judged: list[Window] = []
    before: tuple[str, ...] = ()
    for start, state in states.items():
        verdict = judge(baseline, state, rules, before)
        if verdict.status != "InsufficientData":
            before = verdict.drifted
        judged.append(Window(start, state, verdict))
    return judged


def summary(windows: Sequence[Window]) -> dict[str, Any]:
    """`verdict.json`: the last window's verdict, the alarm over the last ones, and every window in one line each."""
    last = windows[-1]
    body = asdict(last.verdict)
    body["alarm"] = alarm([window.verdict.status for window in windows])
    body["drifted"], body["low_power"] = list(last.verdict.drifted), list(last.verdict.low_power)
    body["window"] = window_name(last.start)
    body["windows"] = [
        {
            "start": window_name(window.start),
            "status": window.verdict.status,
            "rows": window.verdict.rows,
            "share": window.verdict.share,
            "drifted": list(window.verdict.drifted),
        }
        for window in windows
    ]
    return body


def window_name(start: int) -> str:
    """ISO time of a window's start; `all` where there are no windows."""
    return datetime.fromtimestamp(start, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if start else "all"


def file_bodies(baseline: Baseline, windows: Sequence[Window], reading: Reading) -> dict[str, dict[str, Any]]:
    """The last window's files by name: Model Monitor's three, and `verdict.json`."""
    last = windows[-1]
    return {
        "statistics.json": statistics(baseline, last.state),
        "constraints.json": constraints(baseline, last.state),
        "constraint_violations.json": {"violations": list(last.verdict.violations)},
        "verdict.json": summary(windows) | {"bad_records": reading.bad_count, "bad_reasons": reading.reasons},
    }


def write(output: Path, baseline: Baseline, windows: Sequence[Window], reading: Reading) -> None:
    """Write the last window's files, with the bad records beside them."""
    output.mkdir(parents=True, exist_ok=True)
    for name, body in file_bodies(baseline, windows, reading).items():
        (output / name).write_bytes(dumps(body, indent=True))
    aside = output / "bad_records.jsonl"
    if reading.bad:
        aside.write_bytes(b"\n".join(dumps(asdict(bad)) for bad in reading.bad) + b"\n")
    else:
        aside.unlink(missing_ok=True)
