"""Convert a monitor's findings to the ledger's verdict row (docs/reference/contracts.md, "Verdicts")."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from drift_analyzer.drift import DriftVerdict
from drift_analyzer.violations import broken_features
from shared.verdict import Verdict

_STATUS = {"Ok": "OK"}
"""Statuses of the ledger by those of the analyzer; all others are the same."""


def of_window(verdict: DriftVerdict, start: int, seconds: int, release: str, report: str) -> Verdict:
    """Return the row of a window of captured data; `start` is in epoch seconds."""
    drifted = sorted((f for f in verdict.features if f.moved), key=lambda f: -f.distance / (f.threshold or 1.0))
    return Verdict(
        kind="data_quality",
        status=_STATUS.get(verdict.status, verdict.status),
        window_start=_utc(start),
        window_end=_utc(start + seconds),
        release_id=release,
        evidence=f"{verdict.reason} ({verdict.rows} rows)",
        features=tuple(dict.fromkeys([*verdict.broken_names, *(feature.name for feature in drifted)])),
        report=report,
        metric=verdict.share if verdict.judgeable else None,
        broken=tuple((found.feature, found.check) for found in verdict.broken),
        data_drifted=verdict.data_drifted if verdict.judgeable else None,
        blocks=bool(broken_features(verdict.violations)),
    )


def of_run(
    kind: str,
    violations: Sequence[Mapping[str, Any]],
    verdict: Mapping[str, Any],
    *,
    window: tuple[datetime, datetime],
    release: str,
    report: str,
) -> Verdict:
    """Return the row of a scheduled run of either engine.

    Args:
        kind: The monitor: data_quality, model_quality, bias or explainability.
        violations: Violations of `constraint_violations.json`.
        verdict: Body of `verdict.json`; empty for Model Monitor, which does not write it.
        window: Start and end.
        release: Id of the release whose baseline was used.
        report: Address of the report.
    """
    schema = broken_features(violations) if kind == "data_quality" else []
    found = str(verdict.get("status") or ("Drift" if violations else "Ok"))
    status = "Violation" if schema else _STATUS.get(found, found)
    broken = [(str(item["feature"]), str(item["check"])) for item in verdict.get("broken") or ()]
    named = [str(v.get("feature_name") or v.get("facet") or v.get("metric_name") or v.get("label")) for v in violations]
    evidence = str(verdict.get("reason") or f"{len(violations)} constraints violated")
    if violations:
        # A person should read about drift before new values, which are not drift.
        first = next((v for v in violations if v.get("constraint_check_type") == "baseline_drift_check"), violations[0])
        feature = f"{first['feature_name']}: " if "feature_name" in first else ""
        evidence = f"{evidence}; {feature}{first.get('description', named[0])}"
    return Verdict(
        kind=kind,
        status=status,
        window_start=window[0],
        window_end=window[1],
        release_id=release,
        evidence=evidence,
        features=tuple(dict.fromkeys([*schema, *(feature for feature, _ in broken), *named])),
        report=report,
        metric=None if status == "InsufficientData" else _metric(verdict),
        labels=int(verdict.get("labels") or 0),
        labels_coverage=float(verdict.get("label_coverage") or 0.0),
        broken=tuple(broken) or tuple((name, "schema") for name in schema),
        data_drifted=_data_drifted(verdict),
        blocks=bool(schema),
    )


def _data_drifted(verdict: Mapping[str, Any]) -> bool | None:
    answer = ((verdict.get("questions") or {}).get("drift") or {}).get("answer")
    return answer if isinstance(answer, bool) else None


def _metric(verdict: Mapping[str, Any]) -> float | None:
    """Return the judged value: a quality metric, NDCG, or for data quality the share of drifted features."""
    value = verdict.get("metric", verdict.get("share"))
    return None if value is None else float(value)


def _utc(epoch: int) -> datetime:
    return datetime.fromtimestamp(epoch, UTC)
