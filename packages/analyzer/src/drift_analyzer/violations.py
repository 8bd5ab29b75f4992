"""Read the violations of a `constraint_violations.json`."""

from collections.abc import Mapping, Sequence
from typing import Any

from drift_analyzer.verdict import SCHEMA_CHECKS


def broken_features(violations: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the features that have another type than in the baseline, or are missing or added."""
    return [str(v.get("feature_name", "")) for v in violations if v.get("constraint_check_type") in SCHEMA_CHECKS]
