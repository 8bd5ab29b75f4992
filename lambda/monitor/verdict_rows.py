"""The verdict row that the retrain controller reads (docs/reference/contracts.md, "Verdicts")."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from drift_analyzer.drift import DriftVerdict
from drift_analyzer.violations import broken_features
from shared.verdict import Verdict

_STATUS = {"Ok": "OK", "Drift": "Drift", "InsufficientData": "InsufficientData"}


def of_window(judged: DriftVerdict, start: int, seconds: int, release: str, report: str) -> Verdict:
    """The row of a window of captured data. `start` in epoch seconds."""
    broken = broken_features(judged.violations)
    status = "Violation" if broken else _STATUS[judged.status]
    measured = [moved for moved in judged.features if moved.judged]
    if status == "OK" and measured and all(moved.low_power for moved in measured):
        status = "LowPower"
    moved = sorted((m for m in judged.features if m.drifted), key=lambda m: -m.distance / (m.threshold or 1.0))
    reason = f"{len(broken)} features of another type or missing, {judged.reason}" if broken else judged.reason
    return Verdict(
        kind="data_quality",
        status=status,
        window_start=_utc(start),
        window_end=_utc(start + seconds),
        release_id=release,
        evidence=f"{reason} ({judged.rows} rows)",
        features=tuple(broken) or tuple(m.name for m in moved),
        report=report,
        metric=judged.share if judged.status != "InsufficientData" else None,
    )


def of_run(
    kind: str,
    violations: Sequence[Mapping[str, Any]],
    said: Mapping[str, Any],
    *,
    window: tuple[datetime, datetime],
    release: str,
    report: str,
) -> Verdict:
    """The row of a scheduled run, by either engine.

    Args:
        violations: of `constraint_violations.json`.
        said: `verdict.json`, which only the built-in engine writes; else empty.
    """
    broken = broken_features(violations) if kind == "data_quality" else []
    status = "Violation" if broken else _STATUS[said.get("status") or ("Drift" if violations else "Ok")]
    named = [str(v.get("feature_name") or v.get("facet") or v.get("metric_name") or v.get("label")) for v in violations]
    evidence = str(said.get("reason") or f"{len(violations)} constraints violated")
    if violations:
        # A value that was never seen before is no drift, and no reason that a person should read first.
        telling = next(
            (v for v in violations if v.get("constraint_check_type") == "baseline_drift_check"), violations[0]
        )
        said_of = f"{telling['feature_name']}: " if "feature_name" in telling else ""
        evidence = f"{evidence}; {said_of}{telling.get('description', named[0])}"
    return Verdict(
        kind=kind,
        status=status,
        window_start=window[0],
        window_end=window[1],
        release_id=release,
        evidence=evidence,
        features=tuple(dict.fromkeys(broken or named)),
        report=report,
        metric=None if status == "InsufficientData" else _measured(said),
        labels=int(said.get("labels") or 0),
        labels_coverage=float(said.get("label_coverage") or 0.0),
    )


def _measured(said: Mapping[str, Any]) -> float | None:
    """The value that was judged: a quality metric, NDCG, or of data quality the share of drifted features."""
    value = said.get("metric", said.get("share"))
    return None if value is None else float(value)


def _utc(epoch: int) -> datetime:
    return datetime.fromtimestamp(epoch, UTC)
