"""The mergeable state of a window: counts instead of rows.

Merging is exact, so the result does not depend on the order of records or on how files are split.
Numeric features have counts between the baseline's quantiles, and moments as integers in units of 2^-12 baseline
standard deviations: a sum of floats would depend on its order. String features have counts of the baseline's values.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from drift_analyzer.cells import LIMIT

Floats = NDArray[np.float64]
_ONE = 1 << 12
_SAFE = float(1 << 24)
_PIECE = 1 << 14
_NEW_VALUES = 20
PAYLOADS = 64
"""Checksums that are kept: enough to tell two from three requests of each kind."""

_Key = TypeVar("_Key", int, str)


def _smallest(counts: Mapping[_Key, int], number: int) -> dict[_Key, int]:
    """Return the counts of the smallest keys.

    The smallest keys of a union are among the smallest of its parts, so such counts merge exactly.
    """
    return {key: counts[key] for key in sorted(counts)[:number]} if len(counts) > number else dict(counts)


def distinct(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Return the distinct values, sorted, with their counts.

    `np.unique` would load numpy.ma, which takes a tenth of a short run.
    """
    ordered = np.sort(values)
    first = np.flatnonzero(np.concatenate([np.ones(min(len(ordered), 1), dtype=bool), ordered[1:] != ordered[:-1]]))
    return ordered[first], np.diff(first, append=len(ordered))


class FeatureBins(Protocol):
    """The members of a baseline feature that the state is counted by."""

    @property
    def name(self) -> str:
        """Name of the feature."""
        ...

    @property
    def numeric(self) -> bool:
        """True if the feature holds numbers."""
        ...

    @property
    def edges(self) -> Floats:
        """Inner bin edges, ascending."""
        ...

    @property
    def centre(self) -> float:
        """Origin of the fixed-point moments."""
        ...

    @property
    def scale(self) -> float:
        """Unit of the fixed-point moments."""
        ...

    @property
    def categories(self) -> Mapping[str, int]:
        """Baseline counts by value."""
        ...

    @property
    def range_limits(self) -> tuple[float, float, float, float]:
        """Far and near limits of the baseline's range: far low, low, high, far high."""
        ...


@dataclass(slots=True)
class NumericState:
    """Counts of one numeric feature.

    Attributes:
        bins: Number of values in each bin; bin i holds edges[i-1] < x <= edges[i].
        integral: Number of whole numbers.
        negative: Number of negative numbers.
        low: Least value.
        high: Greatest value.
        first: Sum of the values in fixed point.
        second: Sum of their squares in fixed point.
        beyond: Number of values far below, below, above and far above the baseline's range.
        at_low: Number of values that equal `low`.
        at_high: Number of values that equal `high`.
    """

    bins: NDArray[np.int64]
    present: int = 0
    missing: int = 0
    mistyped: int = 0
    integral: int = 0
    negative: int = 0
    low: float = float("inf")
    high: float = float("-inf")
    first: int = 0
    second: int = 0
    beyond: tuple[int, int, int, int] = (0, 0, 0, 0)
    at_low: int = 0
    at_high: int = 0

    def add(self, column: Floats, shape: FeatureBins) -> None:
        """Count a column, shape (rows,). NaN is missing; infinity and magnitudes above LIMIT are mistyped."""
        values = np.sort(column)
        total = len(values)
        if total and np.isnan(values[-1]):
            values = values[: total - int(np.isnan(values).sum())]
        self.missing += total - len(values)
        lowest, end = int(np.searchsorted(values, -LIMIT)), int(np.searchsorted(values, LIMIT, side="right"))
        self.mistyped += len(values) - (end - lowest)
        values = values[lowest:end]
        if not len(values):
            return
        self.present += len(values)
        self.integral += int(np.count_nonzero(values == np.rint(values)))
        self.negative += int(np.searchsorted(values, 0.0))
        self._extremes(
            float(values[0]),
            float(values[-1]),
            int(np.searchsorted(values, values[0], side="right")),
            len(values) - int(np.searchsorted(values, values[-1])),
        )
        far_low, low, high, far_high = shape.range_limits
        below = [int(place) for place in np.searchsorted(values, (far_low, low))]
        above = [len(values) - int(place) for place in np.searchsorted(values, (high, far_high), side="right")]
        self._beyond((below[0], below[1] - below[0], above[0] - above[1], above[1]))
        at_most = np.searchsorted(values, shape.edges, side="right")
        self.bins += np.diff(at_most, prepend=0, append=len(values))
        self._moments(values, shape)

    def _moments(self, values: Floats, shape: FeatureBins) -> None:
        for start in range(0, len(values), _PIECE):
            fixed = np.rint((values[start : start + _PIECE] - shape.centre) * (_ONE / shape.scale))
            if max(-fixed[0], fixed[-1]) <= _SAFE:
                whole = fixed.astype(np.int64)
                self.first += int(whole.sum())
                self.second += int(whole @ whole)
            else:  # beyond 4,096 deviations int64 could overflow
                exact = [int(value) for value in fixed.tolist()]
                self.first += sum(exact)
                self.second += sum(value * value for value in exact)

    def _extremes(self, low: float, high: float, at_low: int, at_high: int) -> None:
        """Widen the range, and count the values at its ends."""
        if low <= self.low:
            self.at_low = at_low + (self.at_low if low == self.low else 0)
        if high >= self.high:
            self.at_high = at_high + (self.at_high if high == self.high else 0)
        self.low, self.high = min(self.low, low), max(self.high, high)

    def _beyond(self, counts: Sequence[int]) -> None:
        one, two, three, four = (mine + more for mine, more in zip(self.beyond, counts, strict=True))
        self.beyond = (one, two, three, four)

    def merge(self, other: "NumericState") -> None:
        """Add the counts of another state of the same feature."""
        self.bins = self.bins + other.bins
        self._extremes(other.low, other.high, other.at_low, other.at_high)
        self._beyond(other.beyond)
        for name in ("present", "missing", "mistyped", "integral", "negative", "first", "second"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def mean(self, shape: FeatureBins) -> float:
        """Return the mean; 0 if there is no value."""
        return shape.centre + shape.scale * (self.first / self.present / _ONE) if self.present else 0.0

    def deviation(self, shape: FeatureBins) -> float:
        """Return the population standard deviation; 0 if there is no value."""
        if not self.present:
            return 0.0
        spread = self.second * self.present - self.first * self.first
        return float(shape.scale * (max(spread, 0) ** 0.5 / self.present / _ONE))

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON."""
        return {
            "bins": self.bins.tolist(),
            "counts": [self.present, self.missing, self.mistyped, self.integral, self.negative],
            "range": [self.low, self.high] if self.present else [],
            "moments": [str(self.first), str(self.second)],
            "beyond": list(self.beyond),
            "ends": [self.at_low, self.at_high],
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "NumericState":
        """Read the state from JSON."""
        low, high = body["range"] or (float("inf"), float("-inf"))
        first, second = (int(text) for text in body["moments"])
        present, missing, mistyped, integral, negative = body["counts"]
        bins = np.array(body["bins"], dtype=np.int64)
        # A state that an earlier version wrote lacks the later counts.
        far_low, below, above, far_high = body.get("beyond", (0, 0, 0, 0))
        beyond = (far_low, below, above, far_high)
        ends = body.get("ends", (0, 0))
        return cls(bins, present, missing, mistyped, integral, negative, low, high, first, second, beyond, *ends)


@dataclass(slots=True)
class CategoryState:
    """Counts of one string feature.

    Attributes:
        known: Counts of the values that the baseline lists.
        new: Counts of other values, of which the 20 smallest are kept.
        unknown: Number of cells whose value the baseline does not list.
    """

    known: Counter[str] = field(default_factory=Counter)
    new: dict[str, int] = field(default_factory=dict)
    unknown: int = 0
    present: int = 0
    missing: int = 0

    def add(self, counts: Mapping[str, int], missing: int, shape: FeatureBins) -> None:
        """Count a column given as counts by value."""
        self.missing += missing
        fresh: dict[str, int] = {}
        for value, count in counts.items():
            self.present += count
            if value in shape.categories:
                self.known[value] += count
            else:
                self.unknown += count
                fresh[value] = count
        self._keep(fresh)

    def _keep(self, fresh: Mapping[str, int]) -> None:
        for value, count in fresh.items():
            self.new[value] = self.new.get(value, 0) + count
        self.new = _smallest(self.new, _NEW_VALUES)

    def merge(self, other: "CategoryState") -> None:
        """Add the counts of another state of the same feature."""
        self.known.update(other.known)
        self._keep(other.new)
        self.unknown += other.unknown
        self.present += other.present
        self.missing += other.missing

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON."""
        counts = [self.unknown, self.present, self.missing]
        return {"known": dict(self.known), "new": self.new, "counts": counts}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "CategoryState":
        """Read the state from JSON."""
        return cls(Counter(body["known"]), dict(body["new"]), *body["counts"])


@dataclass(slots=True)
class WindowState:
    """The state of a window of traffic.

    Attributes:
        records: Number of requests; a request may hold several rows.
        bad: Number of records that could not be read.
        reasons: Number of bad records by reason.
        widths: Number of rows by their number of columns.
        features: State by feature name.
        absent: Number of named rows without a column, by the column's name.
        extra: Number of named rows with a column that the baseline lacks; of its names the 20 smallest are kept.
        payloads: Number of requests by the checksum of their payload; of the checksums the 64 smallest are kept.
    """

    rows: int = 0
    records: int = 0
    bad: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    widths: Counter[int] = field(default_factory=Counter)
    features: dict[str, NumericState | CategoryState] = field(default_factory=dict)
    absent: Counter[str] = field(default_factory=Counter)
    extra: Counter[str] = field(default_factory=Counter)
    payloads: dict[int, int] = field(default_factory=dict)

    @classmethod
    def empty(cls, shapes: Sequence[FeatureBins]) -> "WindowState":
        """Return the state of a window without records."""
        return cls(
            features={
                shape.name: NumericState(np.zeros(len(shape.edges) + 1, dtype=np.int64))
                if shape.numeric
                else CategoryState()
                for shape in shapes
            }
        )

    def add_bad(self, reason: str, count: int = 1) -> None:
        """Count records that could not be read."""
        self.bad += count
        self.reasons[reason] += count

    def add_extra(self, names: Mapping[str, int]) -> None:
        """Count columns that the baseline lacks."""
        self.extra.update(names)
        self.extra = Counter(_smallest(self.extra, _NEW_VALUES))

    def add_payloads(self, counts: Mapping[int, int]) -> None:
        """Count requests by the checksum of their payload."""
        for checksum, count in counts.items():
            self.payloads[checksum] = self.payloads.get(checksum, 0) + count
        self.payloads = _smallest(self.payloads, PAYLOADS)

    @property
    def repetition(self) -> float:
        """How often each distinct request was sent, estimated from the kept checksums; 1 if nothing is known."""
        return sum(self.payloads.values()) / len(self.payloads) if self.payloads else 1.0

    def merge(self, other: "WindowState") -> None:
        """Add another state of the same baseline.

        Raises:
            ValueError: The features differ.
        """
        if self.features.keys() != other.features.keys():
            raise ValueError("partials of different baselines cannot be merged")
        self.rows += other.rows
        self.records += other.records
        self.bad += other.bad
        self.reasons.update(other.reasons)
        self.widths.update(other.widths)
        self.absent.update(other.absent)
        self.add_extra(other.extra)
        self.add_payloads(other.payloads)
        for name, feature in self.features.items():
            feature.merge(other.features[name])  # type: ignore[arg-type]

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON."""
        return {
            "rows": self.rows,
            "records": self.records,
            "bad": self.bad,
            "reasons": dict(self.reasons),
            "widths": {str(width): count for width, count in self.widths.items()},
            "features": {name: feature.to_json() for name, feature in self.features.items()},
            "absent": dict(self.absent),
            "extra": dict(self.extra),
            "payloads": {str(checksum): count for checksum, count in sorted(self.payloads.items())},
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "WindowState":
        """Read the state from JSON."""
        return cls(
            body["rows"],
            body["records"],
            body["bad"],
            Counter(body["reasons"]),
            Counter({int(width): count for width, count in body["widths"].items()}),
            {
                name: NumericState.from_json(feature) if "bins" in feature else CategoryState.from_json(feature)
                for name, feature in body["features"].items()
            },
            Counter(body.get("absent", {})),
            Counter(body.get("extra", {})),
            {int(checksum): count for checksum, count in body.get("payloads", {}).items()},
        )
