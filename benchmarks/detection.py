"""Measure false alarms and detection delay on data with known drift: `python -m benchmarks.detection`.

The data are independent rows; NannyML's car_loan, which changes at row 25,000 of 50,000; river's generators with drift
at a known row; and autocorrelated and seasonal noise without drift. All windows are judged by the code that judges
captured traffic. The last line of the output is JSON.
"""

import csv
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import peers
from drift_analyzer import quality, quality_verdict
from drift_analyzer.baseline_builder import ReferenceColumn, build_baseline, infer_column
from drift_analyzer.baseline_files import Baseline, read_baseline
from drift_analyzer.drift import Rules, Status, alarm, judge
from drift_analyzer.window_state import Floats, NumericState, WindowState

ROWS = 1000
RULES = Rules()


@dataclass(frozen=True)
class Result:
    """The alarms of one data set.

    Attributes:
        alarms: Windows with an alarm before the change.
        windows: Windows before the change.
        delay: Windows from the change to the first alarm; None: no alarm.
    """

    name: str
    alarms: int
    windows: int
    delay: int | None


def state_from_columns(baseline: Baseline, columns: Sequence[ReferenceColumn], rows: slice) -> WindowState:
    """Return the state of a window of columns, as the reader of captured files counts it."""
    state = WindowState.empty(baseline.features)
    for feature, column in zip(baseline.features, columns, strict=True):
        target = state.features[feature.name]
        if isinstance(target, NumericState):
            assert column.numbers is not None
            part = column.numbers[rows]
            target.add(part, feature)
            state.rows = len(part)
        else:
            cells = (column.strings or [])[rows]
            counts = Counter(cell for cell in cells if cell is not None)
            target.add(counts, len(cells) - counts.total(), feature)
            state.rows = len(cells)
    return state


def baseline_of(columns: Sequence[ReferenceColumn]) -> Baseline:
    """Build a baseline in memory."""
    return read_baseline(*build_baseline(columns))


def statuses(baseline: Baseline, columns: Sequence[ReferenceColumn], total: int, size: int) -> Iterator[Status]:
    """Yield the status of each window of `size` rows, in order, so that drifted features clear as in production."""
    before: tuple[str, ...] = ()
    for start in range(0, total - size + 1, size):
        verdict = judge(baseline, state_from_columns(baseline, columns, slice(start, start + size)), RULES, before)
        before = verdict.drifted
        yield verdict.status


def alarms(found: Sequence[Status]) -> list[bool]:
    """Return for each window whether there is an alarm after it."""
    return [alarm(found[: place + 1]) for place in range(len(found))]


def result(name: str, found: Sequence[Status], change: int) -> Result:
    """Return the result of a data set that changes at window `change`."""
    raised = alarms(found)
    after = raised[change:]
    return Result(name, sum(raised[:change]), change, after.index(True) if True in after else None)


def independent() -> tuple[float, float]:
    """Return the share of windows, and of features, with drift in independent rows of 25 features."""
    generator = np.random.default_rng(0)
    windows = drifted = features = 0
    for reference in (2_000, 50_000):

        def continuous(kind: int, rows: int) -> Floats:
            if kind == 0:
                return generator.normal(size=rows)
            if kind == 1:
                return generator.exponential(size=rows)
            return generator.uniform(size=rows) if kind == 2 else generator.standard_cauchy(rows)

        def draw(rows: int) -> list[ReferenceColumn]:
            columns = [ReferenceColumn(f"f{i}", continuous(i % 4, rows)) for i in range(20)]
            columns += [ReferenceColumn(f"n{i}", generator.poisson(3 + i, rows).astype(float)) for i in range(3)]
            columns += [
                ReferenceColumn(f"c{i}", strings=generator.choice(list("abcdefgh"), rows, p=weights).tolist())
                for i, weights in enumerate((np.full(8, 0.125), np.array([65, 20, 8, 4, 1.5, 0.8, 0.5, 0.2]) / 100))
            ]
            return columns

        baseline = baseline_of(draw(reference))
        for size in (200, 500, 1000, 5000):
            for _ in range(60):
                verdict = judge(baseline, state_from_columns(baseline, draw(size), slice(None)), RULES)
                windows += 1
                drifted += verdict.status == "Drift"
                features += len(verdict.drifted)
    return drifted / windows, features / (windows * 25)


def car_loan(size: int) -> Result:
    """Judge the features of NannyML's car_loan in windows of `size` rows."""

    def read(name: str) -> tuple[dict[str, list[str]], list[str]]:
        with peers.data_file("nannyml", name).open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        dropped = {"id", "timestamp", "repaid", "y_pred_proba", "y_pred"}
        names = [name for name in rows[0] if name not in dropped]
        return {name: [row[name] for row in rows] for name in names}, names

    reference, names = read("synthetic_car_loan_reference.csv")
    columns = [infer_column(name, reference[name]) for name in names]
    baseline = baseline_of(columns)
    analysis, _ = read("synthetic_car_loan_analysis.csv")
    current = [
        infer_column(name, analysis[name])
        if column.numbers is not None
        else ReferenceColumn(name, strings=[cell or None for cell in analysis[name]])
        for name, column in zip(names, columns, strict=True)
    ]
    found = list(statuses(baseline, current, 50_000, size))
    return result(f"car_loan, windows of {size}", found, 25_000 // size)


def stream(name: str, features: Floats, labels: NDArray[np.int64] | None, reference: int, change: int) -> Result:
    """Judge the features, and with labels also the quality of a model trained on the first half of the reference."""
    columns = [ReferenceColumn(f"x{i}", features[:reference, i]) for i in range(features.shape[1])]
    baseline = baseline_of(columns)
    current = [ReferenceColumn(f"x{i}", features[reference:, i]) for i in range(features.shape[1])]
    found = list(statuses(baseline, current, len(features) - reference, ROWS))
    if labels is not None:
        worse = _quality(features, labels, reference)
        found = ["Drift" if bad else status for status, bad in zip(found, worse, strict=True)]
    return result(name, found, (change - reference) // ROWS)


def _quality(features: Floats, labels: NDArray[np.int64], reference: int) -> list[bool]:
    import xgboost

    half = reference // 2
    model = xgboost.XGBClassifier(n_estimators=60, max_depth=4, n_jobs=1)
    model.fit(features[:half], labels[:half])
    scores = model.predict_proba(features)
    predictions = scores.argmax(axis=1)
    problem: quality.Problem = "BinaryClassification" if scores.shape[1] == 2 else "MulticlassClassification"

    def scored(start: int, end: int) -> quality.Scored:
        part = slice(start, end)
        if problem == "BinaryClassification":
            return quality.Scored(labels[part], predictions[part], scores[part, 1].astype(np.float64))
        return quality.Scored(labels[part], predictions[part])

    rules = quality.constraints(problem, scored(half, reference))
    section = f"{quality.SECTION[problem]}_constraints"
    wanted = {"auc", "accuracy"}
    rules[section] = {name: rule for name, rule in rules[section].items() if name in wanted}
    return [
        bool(
            quality_verdict.violations(
                problem,
                scored(at, at + ROWS),
                quality.statistics(problem, scored(at, at + ROWS)),
                rules,
                "calibrated",
            )[0]
        )
        for at in range(reference, len(features) - ROWS + 1, ROWS)
    ]


def noise(seed: int) -> Iterator[tuple[str, Floats]]:
    """Yield streams without drift that cause false alarms: autocorrelated, and with a season of five windows."""
    generator = np.random.default_rng(seed)
    rows, width = 60_000, 10
    for correlation in (0.9, 0.99, 0.999):
        shocks = generator.normal(size=(rows, width)) * np.sqrt(1 - correlation**2)
        series = np.empty((rows, width))
        series[0] = generator.normal(size=width)
        for row in range(1, rows):
            series[row] = correlation * series[row - 1] + shocks[row]
        yield f"autocorrelated {correlation}", series
    season = np.sin(2 * np.pi * (np.arange(rows)[:, None] / 5_000 + generator.random(width)))
    yield "seasonal", season + generator.normal(size=(rows, width))
    yield "seasonal, strong", 3 * season + generator.normal(size=(rows, width))


def river(folder: Path) -> list[Result]:
    """Judge river's streams and the noise; the streams are generated once."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "ready").exists():
        script = Path(__file__).with_name("river_streams.py")
        subprocess.run([str(peers.python("river")), str(script), str(folder)], check=True)
        (folder / "ready").touch()
    results = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path, allow_pickle=False) as data:
            # a gradual change is centred on row 40,000; the mixture reaches 2 % of the new stream 4,000 rows before
            change = 36_000 if "gradual" in path.stem else 40_000
            results.append(stream(path.stem, data["features"], data["labels"], 20_000, change))
    for seed in range(5):
        results += [stream(f"{name}-{seed}", series, None, 20_000, 60_000) for name, series in noise(seed)]
    return results


def main() -> int:
    """Run all data sets and print the results."""
    windows, features = independent()
    print(f"independent: {windows:.2%} of windows alarm, {features:.3%} of features")
    loans = [car_loan(size) for size in (500, 1000, 2500, 5000)]
    found = river(peers.CACHE / "streams")
    for item in loans + found:
        delay = "never" if item.delay is None else f"{item.delay} windows"
        ends = "no change" if item.windows == 40 else f"caught after {delay}"
        print(f"{item.name:32} alarms before {item.alarms:2} of {item.windows:2}, {ends}")
    before = sum(item.alarms for item in found) / sum(item.windows for item in found)
    delays = [item.delay for item in loans]
    worst = None if None in delays else max(delay for delay in delays if delay is not None)
    body = {
        "iid_false_alarms": windows,
        "car_loan_pre": sum(item.alarms for item in loans),
        "car_loan_delay_windows": worst,
        "river_pre": round(before, 4),
    }
    print(json.dumps(body))
    return 0


if __name__ == "__main__":
    sys.exit(main())
