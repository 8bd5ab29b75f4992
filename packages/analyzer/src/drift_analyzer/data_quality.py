"""Data quality of captured files: read them, judge each window, write the files."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from drift_analyzer.baseline_files import Baseline
from drift_analyzer.capture_reader import BadRecord, Capture
from drift_analyzer.drift import DriftVerdict, Rules, alarm, judge
from drift_analyzer.inference_time import TimeWindows
from drift_analyzer.jsonio import dumps
from drift_analyzer.window_state import WindowState
from drift_analyzer.window_statistics import constraints, statistics


@dataclass(frozen=True)
class CapturedData:
    """The captured traffic, folded.

    Attributes:
        windows: A state by window start, epoch seconds, in order of time; 0 where all traffic is one window.
        bad: The first bad records, kept for a person to read.
        bad_count: Number of all bad records.
        reasons: Number of bad records by reason.
        unplaced: Bad records that belong to no window.
    """

    windows: dict[int, WindowState]
    bad: list[BadRecord]
    bad_count: int
    reasons: dict[str, int]
    unplaced: WindowState | None = None


@dataclass(frozen=True)
class JudgedWindow:
    """A window with its verdict; `start` is in epoch seconds."""

    start: int
    state: WindowState
    verdict: DriftVerdict


def read_captured(baseline: Baseline, paths: Sequence[Path], times: TimeWindows, workers: int = 1) -> CapturedData:
    """Fold captured files into window states.

    Args:
        baseline: Defines the features and their bins.
        paths: Files of captured JSON lines.
        times: The windows to sort records into.
        workers: Number of processes; each folds one file at a time. The result does not depend on it.
    """
    jobs = [(baseline, path, times) for path in paths]
    if workers > 1 and len(jobs) > 1:
        from multiprocessing import get_context

        with get_context("fork").Pool(min(workers, len(jobs))) as pool:
            parts = pool.starmap(_read_file, jobs, chunksize=1)
    else:
        parts = [_read_file(*job) for job in jobs]
    windows: dict[int, WindowState] = {}
    unplaced, bad = WindowState(), []
    for states, without_window, kept in parts:
        for start, body in states.items():
            state = WindowState.from_json(body)
            if start in windows:
                windows[start].merge(state)
            else:
                windows[start] = state
        unplaced.merge(WindowState.from_json(without_window))
        bad += [BadRecord(*line) for line in kept]
    reasons = unplaced.reasons.copy()
    for state in windows.values():
        reasons.update(state.reasons)
    return CapturedData(dict(sorted(windows.items())), bad, reasons.total(), dict(reasons), unplaced)


def _read_file(
    baseline: Baseline, path: Path, times: TimeWindows
) -> tuple[dict[int, Any], dict[str, Any], list[tuple[str, str, str]]]:
    capture = Capture(baseline.schema(), times)
    with path.open("rb") as stream:
        capture.read(stream, str(path))
    states = {start: state.to_json() for start, state in capture.windows.items()}
    return states, capture.unplaced.to_json(), [(bad.source, bad.reason, bad.line) for bad in capture.bad]


def judge_windows(baseline: Baseline, captured: CapturedData, rules: Rules) -> list[JudgedWindow]:
    """Judge every window in order of time.

    A feature that drifted in one window clears in the next only below a lower threshold. Captured data without any
    record are one empty window. Bad records without a time count in the last window.
    """
    states = dict(captured.windows) or {0: WindowState.empty(baseline.features)}
    if captured.unplaced is not None and captured.unplaced.bad:
        last = max(states)
        states[last] = WindowState.from_json(states[last].to_json())
        for reason, count in captured.unplaced.reasons.items():
            states[last].add_bad(reason, count)
    judged: list[JudgedWindow] = []
    previously_drifted: tuple[str, ...] = ()
    for start, state in states.items():
        verdict = judge(baseline, state, rules, previously_drifted)
        if verdict.judgeable:
            previously_drifted = verdict.drifted
        judged.append(JudgedWindow(start, state, verdict))
    return judged


def summary(windows: Sequence[JudgedWindow]) -> dict[str, Any]:
    """Return the body of `verdict.json`: the last window's verdict, the alarm, and one entry for every window."""
    last = windows[-1]
    body = asdict(last.verdict)
    body["questions"] = last.verdict.answers
    body["questions"]["drift"]["since"] = _since(windows)
    body["moved"] = list(last.verdict.moved)
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
            "broken": list(window.verdict.broken_names),
            "data_drifted": window.verdict.data_drifted,
        }
        for window in windows
    ]
    return body


def _since(windows: Sequence[JudgedWindow]) -> str | None:
    """Return the first of the windows without a break since which the data set has drifted; None: it has not."""
    since = None
    for window in windows:
        if window.verdict.judgeable:
            since = (since or window_name(window.start)) if window.verdict.data_drifted else None
    return since


def window_name(start: int) -> str:
    """Return the ISO time of a window's start, or `all` where all traffic is one window."""
    return datetime.fromtimestamp(start, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if start else "all"


def file_bodies(
    baseline: Baseline, windows: Sequence[JudgedWindow], captured: CapturedData
) -> dict[str, dict[str, Any]]:
    """Return the last window's files by name: Model Monitor's three, and `verdict.json`."""
    last = windows[-1]
    return {
        "statistics.json": statistics(baseline, last.state),
        "constraints.json": constraints(baseline, last.state),
        "constraint_violations.json": {"violations": list(last.verdict.violations)},
        "verdict.json": summary(windows) | {"bad_records": captured.bad_count, "bad_reasons": captured.reasons},
    }


def write_files(output: Path, baseline: Baseline, windows: Sequence[JudgedWindow], captured: CapturedData) -> None:
    """Write the last window's files, and `bad_records.jsonl` where there are bad records."""
    output.mkdir(parents=True, exist_ok=True)
    for name, body in file_bodies(baseline, windows, captured).items():
        (output / name).write_bytes(dumps(body, indent=True))
    bad_records = output / "bad_records.jsonl"
    if captured.bad:
        bad_records.write_bytes(b"\n".join(dumps(asdict(bad)) for bad in captured.bad) + b"\n")
    else:
        bad_records.unlink(missing_ok=True)
