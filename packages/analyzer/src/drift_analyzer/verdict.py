"""The verdict on a window: can it be judged, is something broken, has the data set drifted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Mode = Literal["calibrated", "model-monitor"]
Status = Literal["Ok", "Drift", "Violation", "InsufficientData", "LowPower"]
MODES: tuple[Mode, ...] = ("calibrated", "model-monitor")
INCONCLUSIVE: tuple[Status, ...] = ("InsufficientData", "LowPower")
SCHEMA_CHECKS = ("data_type_check", "missing_column_check", "extra_column_check", "unreadable_records_check")
"""Checks that the sender's form of the data fails. They precede drift: nothing is retrained on such data."""


@dataclass(frozen=True)
class Rules:
    """The parameters of a verdict; all but `mode` apply to the calibrated mode.

    Attributes:
        mode: `calibrated` or `model-monitor`.
        min_rows: Fewer rows give no verdict.
        significance: Greatest Benjamini-Hochberg-adjusted p-value of a drifted feature.
        share: Share of the features' importance that must drift for the data set to drift.
        clear: A drifted feature clears below this fraction of its threshold.
        low_power: A feature with a higher threshold has low power: only large shifts are detected.
        unreadable: Share of the records that may be unreadable.
        least: Least share of the rows that is news: missing cells, values outside the range, new values.
    """

    mode: Mode = "calibrated"
    min_rows: int = 200
    significance: float = 0.01
    share: float = 0.3
    clear: float = 0.8
    low_power: float = 0.25
    unreadable: float = 0.02
    least: float = 0.005

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"mode is {' or '.join(MODES)}, got {self.mode!r}")


@dataclass(frozen=True)
class Move:
    """A statistic of a feature beyond its threshold: `mean`, `spread`, `nearest`, `repeated` or `outside`."""

    statistic: str
    value: float
    threshold: float


@dataclass(frozen=True)
class Break:
    """A broken feature, or a broken data set.

    Attributes:
        feature: The feature, or what is broken of the data set.
        check: The check that failed, as in `constraint_violations.json`.
        how: One sentence for a person.
    """

    feature: str
    check: str
    how: str

    @property
    def violation(self) -> dict[str, str]:
        """The entry of `constraint_violations.json`."""
        return {"feature_name": self.feature, "constraint_check_type": self.check, "description": self.how}


@dataclass(frozen=True)
class FeatureDrift:
    """The distance of a feature from its baseline.

    Attributes:
        p: p-value of the distance; in the calibrated mode Benjamini-Hochberg-adjusted.
        drifted: Whether the distance exceeds its threshold, and significantly.
        judged: Whether there were enough values for a verdict, and a distance can exceed the threshold.
        psi: Reported only, as are `jensen_shannon` and `wasserstein`; they do not influence the verdict.
        completeness: Values ÷ rows.
        new_values: Counts of values that the baseline does not list.
        moves: Further statistics beyond their threshold; they do not decide about the data set.
        not_judged: Why the feature is not judged; empty if it is.
    """

    name: str
    distance: float
    threshold: float
    p: float
    drifted: bool
    low_power: bool
    judged: bool
    importance: float
    critical: bool
    psi: float
    jensen_shannon: float
    wasserstein: float | None
    completeness: float
    new_values: Mapping[str, int] = field(default_factory=dict)
    moves: tuple[Move, ...] = ()
    not_judged: str = ""

    @property
    def moved(self) -> bool:
        """True if any statistic is beyond its threshold."""
        return self.drifted or bool(self.moves)


@dataclass(frozen=True)
class DriftVerdict:
    """The verdict on the data of a window.

    Attributes:
        status: `Violation` if the form of the data is broken; otherwise `Drift` if the data set drifted; otherwise
            `Violation` if a feature is broken; otherwise `Ok`, or why nothing is known.
        reason: One sentence for a person.
        bad: Number of records that could not be read.
        share: Share of the judged features' importance that drifted.
        violations: Violations in the form of `constraint_violations.json`.
        broken: What is broken, and how.
        data_drifted: Whether the data set drifted.
        notes: What a reader should know about how far the window can be judged.
    """

    status: Status
    reason: str
    mode: Mode
    rows: int
    bad: int
    share: float
    features: tuple[FeatureDrift, ...]
    violations: tuple[Mapping[str, str], ...]
    broken: tuple[Break, ...] = ()
    data_drifted: bool = False
    notes: tuple[str, ...] = ()

    @property
    def drifted(self) -> tuple[str, ...]:
        """Names of the drifted features."""
        return tuple(feature.name for feature in self.features if feature.drifted)

    @property
    def moved(self) -> tuple[str, ...]:
        """Names of the features of which any statistic is beyond its threshold."""
        return tuple(feature.name for feature in self.features if feature.moved)

    @property
    def low_power(self) -> tuple[str, ...]:
        """Names of the features with low power."""
        return tuple(feature.name for feature in self.features if feature.low_power)

    @property
    def broken_names(self) -> tuple[str, ...]:
        """Names of the broken features, each once."""
        return tuple(dict.fromkeys(found.feature for found in self.broken))

    @property
    def schema_violations(self) -> tuple[Mapping[str, str], ...]:
        """Violations of schema or completeness: the sender of the data must fix them; retraining does not help."""
        checks = (*SCHEMA_CHECKS, "completeness_check")
        return tuple(found for found in self.violations if found["constraint_check_type"] in checks)

    @property
    def judgeable(self) -> bool:
        """True if there was enough data of enough features for an answer about drift."""
        return any(feature.judged for feature in self.features)

    @property
    def answers(self) -> dict[str, Any]:
        """The three answers: can the window be judged, is something broken, has the data set drifted."""
        judged = [feature for feature in self.features if feature.judged]
        return {
            "judgeable": {
                "answer": self.judgeable,
                "rows": self.rows,
                "features_judged": len(judged),
                "not_judged": {feature.name: feature.not_judged for feature in self.features if feature.not_judged},
                "low_power": list(self.low_power),
                "notes": list(self.notes),
            },
            "broken": {"answer": bool(self.broken), "features": list(self.broken_names)},
            "drift": {
                "answer": self.data_drifted if self.judgeable else None,
                "share": self.share,
                "features": list(self.drifted),
            },
        }


def alarm(statuses: Sequence[Status], needed: int = 2, of: int = 3) -> bool:
    """Return whether verdicts, oldest first, raise an alarm: drift in 2 of the last 3 that are conclusive."""
    conclusive = [status for status in statuses if status not in INCONCLUSIVE]
    return conclusive[-of:].count("Drift") >= needed
