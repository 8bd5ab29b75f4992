"""The public functions: create a baseline, and analyze captured traffic against it."""

import os
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drift_analyzer.baseline_builder import build_baseline, with_weights
from drift_analyzer.baseline_files import Baseline, load_baseline, read_baseline, write_baseline
from drift_analyzer.data_quality import (
    CapturedData,
    JudgedWindow,
    file_bodies,
    judge_windows,
    read_captured,
    write_files,
)
from drift_analyzer.drift import DriftVerdict, Rules, alarm
from drift_analyzer.inference_time import TimeWindows
from drift_analyzer.input_files import list_files
from drift_analyzer.reference_data import read_reference, unnamed

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class Analysis:
    """The analysis of captured traffic.

    Attributes:
        baseline: The baseline that the traffic was compared with.
        captured: The traffic, folded into windows, and the bad records.
        windows: Every window with its verdict, in order of time; at least one.
    """

    baseline: Baseline
    captured: CapturedData
    windows: tuple[JudgedWindow, ...]

    @property
    def verdict(self) -> DriftVerdict:
        """The verdict on the last window."""
        return self.windows[-1].verdict

    @property
    def alarm(self) -> bool:
        """True if the data set drifted in two of the last three windows that have a verdict."""
        return alarm([window.verdict.status for window in self.windows])

    def summary(self) -> dict[str, Any]:
        """Return the body of `verdict.json`."""
        return file_bodies(self.baseline, self.windows, self.captured)["verdict.json"]

    def report(self) -> str:
        """Render the report, a self-contained HTML page."""
        from drift_analyzer.report.data_quality import render

        return render(self.baseline, self.windows, self.captured)

    def write(self, folder: PathLike, *, report: bool = True) -> None:
        """Write `verdict.json`, Model Monitor's three files and the bad records; with `report` also `report.html`."""
        write_files(Path(folder), self.baseline, self.windows, self.captured)
        if report:
            (Path(folder) / "report.html").write_text(self.report(), encoding="utf-8")


def create_baseline(
    data: PathLike,
    output: PathLike,
    *,
    data_format: str = "csv",
    header: bool = True,
    drop: Collection[str] = (),
    critical: Collection[str] = (),
    importances: Mapping[str, float] | None = None,
) -> Baseline:
    """Build a baseline from reference data and write its files.

    Args:
        data: File or folder with the reference data in order of time.
        output: Folder for `statistics.json` and `constraints.json`.
        data_format: csv, json, parquet or sagemakerCaptureJson.
        header: Whether CSV files have a header.
        drop: Columns to leave out.
        critical: Features whose drift alone is drift of the data set.
        importances: Weight by feature in the data set's verdict; 1 for all others.

    A column without a name and a reference without an order in time bring a `UserWarning`.

    Raises:
        DatasetError: The data cannot be read.
        ValueError: A name is not a column's, or a column has no value of its type.
    """
    columns = read_reference(Path(data), data_format, header=header)
    if unknown := set(drop) - {column.name for column in columns}:
        raise ValueError(f"no such column: {', '.join(sorted(unknown))}")
    kept = [column for column in columns if column.name not in drop]
    statistics, constraints = build_baseline(with_weights(kept, importances or {}, critical))
    write_baseline(Path(output), statistics, constraints)
    baseline = read_baseline(statistics, constraints)
    for text in reference_notes(baseline, header=header):
        warnings.warn(text, stacklevel=2)
    return baseline


def reference_notes(baseline: Baseline, *, header: bool = True) -> list[str]:
    """Return what a person should know about a reference before traffic is judged by it."""
    notes = []
    nameless = [f.name for i, f in enumerate(baseline.features) if header and f.name == unnamed(i)]
    if nameless:
        notes.append(
            f"a column without a name, probably an index, is read as {', '.join(nameless)}; "
            "if the model does not use it, leave it out (--drop)"
        )
    if baseline.ordered is False:
        notes.append(
            "the reference shows no order in time; if its rows were shuffled, sort them by time, because otherwise "
            "ordinary windows of ordered traffic read as drift"
        )
    return notes


def analyze(
    capture: PathLike,
    baseline: Baseline | PathLike,
    *,
    times: TimeWindows | None = None,
    rules: Rules | None = None,
    workers: int = 1,
) -> Analysis:
    """Judge captured traffic against a baseline.

    Args:
        capture: A captured file, or a folder with files `*.jsonl`.
        baseline: The baseline, or the folder with its files.
        times: The windows to judge and the time range; by default all traffic is one window.
        rules: The parameters of the verdict.
        workers: Number of processes that read files.

    Raises:
        DatasetError: The captured files or the baseline cannot be read.
        BaselineError: The baseline does not have Model Monitor's form.
    """
    known = baseline if isinstance(baseline, Baseline) else load_baseline(Path(baseline))
    captured = read_captured(known, list_files(Path(capture), "*.jsonl"), times or TimeWindows(), workers)
    return Analysis(known, captured, tuple(judge_windows(known, captured, rules or Rules())))
