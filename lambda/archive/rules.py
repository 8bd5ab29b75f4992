"""The archive rules: how long registry entries and serving resources are kept."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class ArchiveRules:
    """Retention times in days.

    Attributes:
        rejected_days: A rejected version, since its last edit.
        superseded_days: A version older than the live one, since its creation.
        retained_days: A model or endpoint configuration that a release left behind, since its creation.
    """

    rejected_days: int = 30
    superseded_days: int = 180
    retained_days: int = 7


def parse_archive_rules(text: str) -> ArchiveRules:
    """Parse the variable `ARCHIVE_RULES`.

    Raises:
        ValueError: The rules are not valid. The message has the value received.
    """
    document = json.loads(text)
    known = {field.name for field in fields(ArchiveRules)}
    if not isinstance(document, dict) or not set(document) <= known:
        raise ValueError(f"ARCHIVE_RULES must be a JSON object of {', '.join(sorted(known))}, got {text}")
    for name, value in document.items():
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        if not whole:
            raise ValueError(f"ARCHIVE_RULES: {name} must be a whole number of days, 1 or more, got {value!r}")
    return ArchiveRules(**document)
