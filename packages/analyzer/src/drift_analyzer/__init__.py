"""Detect drift of captured SageMaker traffic against a baseline, with Model Monitor's file formats.

    from drift_analyzer import TimeWindows, analyze, create_baseline

    baseline = create_baseline("reference.csv", "baseline", critical=["temperature"])
    analysis = analyze("capture", baseline, times=TimeWindows(seconds=3600))
    print(analysis.verdict.status, analysis.verdict.reason)
    analysis.write("analysis")

Importing the package imports nothing else; each name below is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from drift_analyzer.api import Analysis, analyze, create_baseline
    from drift_analyzer.baseline_files import Baseline, BaselineError, load_baseline
    from drift_analyzer.drift import DriftVerdict, FeatureDrift, Rules
    from drift_analyzer.inference_time import TimeWindows
    from drift_analyzer.input_files import DatasetError

__version__ = "0.1.0"
__all__ = [
    "Analysis",
    "Baseline",
    "BaselineError",
    "DatasetError",
    "DriftVerdict",
    "FeatureDrift",
    "Rules",
    "TimeWindows",
    "analyze",
    "create_baseline",
    "load_baseline",
]
_MODULES = {
    "Analysis": "api",
    "Baseline": "baseline_files",
    "BaselineError": "baseline_files",
    "DatasetError": "input_files",
    "DriftVerdict": "drift",
    "FeatureDrift": "drift",
    "Rules": "drift",
    "TimeWindows": "inference_time",
    "analyze": "api",
    "create_baseline": "api",
    "load_baseline": "baseline_files",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
