"""The report on a run of Model Monitor itself, which writes its files but no page."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from drift_analyzer import bias, explainability, quality
from drift_analyzer.baseline_files import Baseline, read_baseline
from drift_analyzer.data_quality import CapturedData, JudgedWindow
from drift_analyzer.drift import Rules, Status, judge
from drift_analyzer.report.bias import FacetMetrics, render_bias
from drift_analyzer.report.data_quality import render
from drift_analyzer.report.explainability import render_explanation
from drift_analyzer.report.model_quality import Quality, render_quality
from drift_analyzer.report.page import period
from drift_analyzer.violations import broken_features
from drift_analyzer.window_statistics import state_from_statistics

Violations = Sequence[Mapping[str, str]]


def render_managed_run(
    kind: str,
    files: Mapping[str, Any],
    baseline: Mapping[str, Any],
    found: Violations,
    reason: str,
    window: tuple[float, float],
) -> str:
    """Render the report from the run's files.

    Args:
        kind: data_quality, model_quality, bias or explainability.
        files: Bodies of the run's files by name.
        baseline: Bodies of the baseline's files by name.
        found: Violations.
        reason: The verdict's reason.
        window: Start and end, epoch seconds.
    """
    status: Status = "Drift" if found else "Ok"
    if kind == "data_quality" and "statistics.json" in files:
        reference = read_baseline(baseline["statistics.json"], baseline.get("constraints.json"))
        return _data_quality(reference, files["statistics.json"], found, window)
    if kind == "bias":
        facets = _facets(files.get("analysis.json") or {}, baseline.get("analysis.json") or {})
        return render_bias(facets, status, reason, found, {"metrics drifted": str(len(found))}, {}, period(*window))
    if kind == "explainability":
        before, now = (_attributions(one.get("analysis.json")) for one in (baseline, files))
        return render_explanation(before, now, status, reason, found, {}, {}, period(*window))
    facts = _metrics(files.get("statistics.json") or {})
    return render_quality(Quality("", None, ()), status, reason, found, facts, {}, period(*window))


def _data_quality(
    baseline: Baseline, statistics: Mapping[str, Any], found: Violations, window: tuple[float, float]
) -> str:
    """Render distances computed here from the run's sketches; the violations are Model Monitor's own."""
    state = state_from_statistics(baseline, statistics)
    verdict = judge(baseline, state, Rules(mode="model-monitor"))
    # The verdict is the engine's own; distances that this package computed do not change it.
    status: Status = "Violation" if broken_features(found) else "Drift" if found else "Ok"
    reason = f"Model Monitor found {len(found)} violations" if found else "Model Monitor found no violation"
    named = {str(item.get("feature_name")) for item in found}
    features = tuple(replace(item, drifted=item.name in named, moves=()) for item in verdict.features)
    verdict = replace(
        verdict,
        violations=tuple(found),
        status=status,
        reason=reason,
        features=features,
        broken=(),
        data_drifted=status == "Drift",
    )
    start = int(window[0])
    return render(
        baseline, [JudgedWindow(start, state, verdict)], CapturedData({start: state}, [], 0, {}), period(*window)
    )


def _facets(now: Mapping[str, Any], before: Mapping[str, Any]) -> list[FacetMetrics]:
    keys = ("pre_training_bias_metrics", "post_training_bias_metrics")
    named = {
        (facet, str(entry["value_or_threshold"]))
        for key in keys
        for facet, entries in ((now.get(key) or {}).get("facets") or {}).items()
        for entry in entries
    }
    found = []
    for facet, value in sorted(named):
        sides = []
        for body in (now, before):
            parts = [bias.baseline_metrics(body, key, facet, value) for key in keys]
            known = {name: one.value for part in parts for name, one in part.items() if name in bias.DESCRIPTIONS}
            sides.append(known)
        found.append(FacetMetrics(f"{facet} = {value}", None, *sides))
    return found


def _attributions(analysis: Mapping[str, Any] | None) -> Mapping[str, float]:
    return explainability.read_analysis(analysis)[1] if analysis else {}


def _metrics(statistics: Mapping[str, Any]) -> dict[str, str]:
    shown = {}
    for section in quality.SECTION.values():
        for name, measured in (statistics.get(f"{section}_metrics") or {}).items():
            if isinstance(measured, Mapping) and isinstance(measured.get("value"), int | float):
                shown[name] = f"{measured['value']:.3f}"
    return shown
