"""Read the violations of a `constraint_violations.json`."""

from collections.abc import Mapping, Sequence
from typing import Any

# Completeness is data that drifted, not a schema that broke: a row of the right shape may lack a value.
STRUCTURE = ("data_type_check", "missing_column_check", "extra_column_check")


def structure(violations: Sequence[Mapping[str, Any]]) -> list[str]:
    """The features whose type or presence is not the baseline's, or `[]`."""
    return [str(v["feature_name"]) for v in violations if v.get("constraint_check_type") in STRUCTURE]
