"""The archive function's environment and rules."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields

from shared.environment import StageEnvironment


@dataclass(frozen=True)
class Rules:
    """How long what is kept, in days.

    Attributes:
        rejected_days: a rejected version, since its last edit.
        superseded_days: a version older than the live one, since it was made.
        delete_days: an archived version stays in the registry so long; None for ever.
        retained_days: a model or endpoint configuration that a release left behind, since it was made.
    """

    rejected_days: int = 30
    superseded_days: int = 180
    delete_days: int | None = None
    retained_days: int = 7


@dataclass(frozen=True)
class ArchiveEnvironment(StageEnvironment):
    """What the stack tells the archive function besides; `archive_rules` is JSON, `{}` for the defaults."""

    artifact_bucket: str
    archive_rules: str

    def rules(self) -> Rules:
        """Read the rules.

        Raises:
            ValueError: they are not valid; the message says what was received.
        """
        document = json.loads(self.archive_rules)
        known = {field.name for field in fields(Rules)}
        if not isinstance(document, dict) or not set(document) <= known:
            raise ValueError(f"ARCHIVE_RULES is a JSON object of {', '.join(sorted(known))}, got {self.archive_rules}")
        for name, value in document.items():
            whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
            if not whole and not (name == "delete_days" and value is None):
                raise ValueError(f"ARCHIVE_RULES: {name} is a whole number of days, 1 or more, got {value!r}")
        return Rules(**document)
