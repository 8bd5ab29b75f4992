"""Read the violations of a `constraint_violations.json`."""

from collections.abc import Mapping, Sequence
from typing import Any

# Without completeness: a row with the right schema may lack a value, so that is drift of the data.
_SCHEMA_CHECKS = ("data_type_check", "missing_column_check", "extra_column_check")


def broken_features(violations: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the features that have another type than in the baseline, or are missing or added."""
    return [str(v["feature_name"]) for v in violations if v.get("constraint_check_type") in _SCHEMA_CHECKS]
