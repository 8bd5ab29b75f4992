"""Quality and Clarify check steps: their baselines, their violations and their properties.

Source: SageMaker Developer Guide, "Baseline calculation, drift detection and lifecycle with ClarifyCheck and
QualityCheck steps in Amazon SageMaker Pipelines".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from localcloud.sagemaker.context import Document
from localcloud.store import Store

_INPUT = "/opt/ml/processing/baseline"
_OUTPUT_FILES = {
    "DATA_QUALITY": ("statistics.json", "constraints.json"),
    "MODEL_QUALITY": ("statistics.json", "constraints.json"),
    "DATA_BIAS": (None, "analysis.json"),
    "MODEL_BIAS": (None, "analysis.json"),
    "MODEL_EXPLAINABILITY": (None, "analysis.json"),
}
# Check type → where `DriftCheckBaselines` of a model package holds its statistics and its constraints.
_REGISTERED: Mapping[str, tuple[tuple[str, str] | None, tuple[str, str]]] = {
    "DATA_QUALITY": (("ModelDataQuality", "Statistics"), ("ModelDataQuality", "Constraints")),
    "MODEL_QUALITY": (("ModelQuality", "Statistics"), ("ModelQuality", "Constraints")),
    "DATA_BIAS": (None, ("Bias", "PreTrainingConstraints")),
    "MODEL_BIAS": (None, ("Bias", "PostTrainingConstraints")),
    "MODEL_EXPLAINABILITY": (None, ("Explainability", "Constraints")),
}
PROPERTIES = frozenset(
    {
        "CalculatedBaselineConstraints",
        "CalculatedBaselineStatistics",
        "BaselineUsedForDriftCheckConstraints",
        "BaselineUsedForDriftCheckStatistics",
    }
)


@dataclass(frozen=True)
class Check:
    """A check step's resolved settings, with the baseline that it compares with."""

    kind: str
    group: str | None
    skip: bool
    fails: bool
    registers: bool
    statistics: str | None
    constraints: str | None

    @classmethod
    def read(cls, settings: Mapping[str, Any], store: Store) -> Check:
        """Read the settings; without a supplied baseline the latest approved package of the group has it.

        Raises:
            ValueError: the check type is unknown.
        """
        kind = str(settings.get("CheckType"))
        if kind not in _REGISTERED:
            raise ValueError(f"CheckType is one of {', '.join(_REGISTERED)}, got {kind!r}")
        group = settings.get("ModelPackageGroupName")
        registered = _latest_approved(store, str(group)) if group else {}
        statistics, constraints = (_uri(registered, place) for place in _REGISTERED[kind])
        return cls(
            kind=kind,
            group=None if group is None else str(group),
            skip=_flag(settings.get("SkipCheck"), default=False),
            fails=_flag(settings.get("FailOnViolation"), default=True),
            registers=_flag(settings.get("RegisterNewBaseline"), default=False),
            statistics=settings.get("SuppliedBaselineStatistics") or statistics,
            constraints=settings.get("SuppliedBaselineConstraints") or constraints,
        )

    def request(self, job: Document) -> Document:
        """Return the processing job's request with the baseline as inputs, unless the check is skipped."""
        if self.skip:
            return job
        inputs, variables = list(job.get("ProcessingInputs") or ()), dict(job.get("Environment") or {})
        for name, uri in (("statistics", self.statistics), ("constraints", self.constraints)):
            if uri is None:
                continue
            folder = f"{_INPUT}/{name}"
            source = {"S3Uri": uri, "LocalPath": folder, "S3DataType": "S3Prefix", "S3InputMode": "File"}
            inputs.append({"InputName": f"baseline-{name}", "S3Input": source})
            variables[f"baseline_{name}"] = f"{folder}/{uri.rpartition('/')[2]}"
        return {**job, "ProcessingInputs": inputs, "Environment": variables}

    def outcome(self, job: Mapping[str, Any]) -> tuple[str | None, Document]:
        """Return why the step fails, or None, and the step's properties, once its job has completed."""
        outputs = (job.get("ProcessingOutputConfig") or {}).get("Outputs") or [{}]
        folder = str((outputs[0].get("S3Output") or {}).get("S3Uri", "")).rstrip("/")
        statistics, constraints = (name and f"{folder}/{name}" for name in _OUTPUT_FILES[self.kind])
        found: Document = {
            "CheckType": self.kind,
            "ModelPackageGroupName": self.group,
            "SkipCheck": self.skip,
            "RegisterNewBaseline": self.registers,
            "CheckJobArn": job["ProcessingJobArn"],
            "CalculatedBaselineConstraints": constraints,
            "CalculatedBaselineStatistics": statistics,
            "BaselineUsedForDriftCheckConstraints": constraints if self.registers else self.constraints,
            "BaselineUsedForDriftCheckStatistics": statistics if self.registers else self.statistics,
        }
        violated = not self.skip and str(job.get("ExitMessage") or "").startswith("CompletedWithViolations")
        if violated:
            found["ViolationReport"] = f"{folder}/constraint_violations.json"
        known = {name: value for name, value in found.items() if value is not None}
        if violated and self.fails:
            return f"ClientError: The {self.kind} check found violations, see {found['ViolationReport']}", known
        return None, known


def _flag(value: Any, *, default: bool) -> bool:
    """Return a flag; a parameter of a pipeline may give it as text."""
    return default if value is None else str(value).lower() == "true"


def _latest_approved(store: Store, group: str) -> Mapping[str, Any]:
    """Return `DriftCheckBaselines` of the group's latest approved package."""
    approved = [
        package
        for _, package in store.list("ModelPackage")
        if package.get("ModelPackageGroupName") == group and package.get("ModelApprovalStatus") == "Approved"
    ]
    latest = max(approved, key=lambda package: int(package["ModelPackageVersion"]), default={})
    return latest.get("DriftCheckBaselines") or {}


def _uri(baselines: Mapping[str, Any], place: tuple[str, str] | None) -> str | None:
    if place is None:
        return None
    uri = ((baselines.get(place[0]) or {}).get(place[1]) or {}).get("S3Uri")
    return None if uri is None else str(uri)
