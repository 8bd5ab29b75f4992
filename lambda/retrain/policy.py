"""The retraining policy of a model, as its Training stack writes it (docs/reference/contracts.md)."""

from __future__ import annotations

import json
from dataclasses import MISSING, dataclass, fields

from shared.errors import PolicyError


@dataclass(frozen=True)
class RetrainPolicy:
    """The conditions under which a model is retrained.

    Attributes:
        stage: The stage whose verdicts count. The controllers of other stages ignore the model.
        cooldown_hours: Time from one start to the next. It doubles for each attempt since the last approved version.
        cooldown_cap_hours: The longest cooldown.
        budget_runs: Starts in `budget_days`. With 0 people are notified and nothing is started.
        drifted: Drifted verdicts among the last `of_last` conclusive ones that make evidence.
        evidence_days: Older verdicts do not count.
        min_labels: Labelled rows that drift alone needs before it retrains; 0 where raw data arrive labelled.
        recent_days: The training window after a drop in quality; None for the pipeline's own.
        schedule_days: Retrain when the last run is older; None for never.
        new_data_objects: Retrain when this many raw objects are newer than the last run; None for never.
        raw_prefix: The folder of the raw objects, below the model's folder in the data bucket.
        quiet_minutes: Time without a new object before it retrains. After `cooldown_hours` it waits no longer.
    """

    stage: str
    cooldown_hours: int = 24
    cooldown_cap_hours: int = 336
    budget_runs: int = 4
    budget_days: int = 30
    drifted: int = 3
    of_last: int = 6
    evidence_days: int = 14
    min_labels: int = 200
    recent_days: int | None = None
    schedule_days: int | None = None
    new_data_objects: int | None = None
    raw_prefix: str = "raw/"
    quiet_minutes: int = 60


_MAY_BE_ZERO = {"budget_runs", "min_labels", "quiet_minutes"}
_MAY_BE_NULL = {"recent_days", "schedule_days", "new_data_objects"}
# Ten years. More is a typing mistake, and would exceed what a date can hold.
_MOST_DAYS = 3650


def parse_retrain_policy(text: str) -> RetrainPolicy:
    """Parse a retraining policy.

    Raises:
        PolicyError: It is not valid. The message names every problem with the value received.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise PolicyError(f"the retraining policy is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise PolicyError(f"the retraining policy must be a JSON object, got {text[:40]}")
    known = {field.name: field for field in fields(RetrainPolicy)}
    problems = [f"{name} is not known" for name in document if name not in known]
    problems += [f"{n} is missing" for n, field in known.items() if field.default is MISSING and n not in document]
    problems += [problem for name, value in document.items() if name in known for problem in _problems(name, value)]
    if problems:
        raise PolicyError(f"the retraining policy is not valid: {'; '.join(problems)}")
    policy = RetrainPolicy(**document)
    if policy.drifted > policy.of_last:
        problems.append(f"drifted must be at most of_last, got {policy.drifted} of {policy.of_last}")
    if policy.cooldown_cap_hours < policy.cooldown_hours:
        problems.append(
            "cooldown_cap_hours must be at least cooldown_hours, "
            f"got {policy.cooldown_cap_hours} under {policy.cooldown_hours}"
        )
    if problems:
        raise PolicyError(f"the retraining policy is not valid: {'; '.join(problems)}")
    return policy


def _problems(name: str, value: object) -> list[str]:
    if name == "stage":
        return [] if isinstance(value, str) and value else [f"stage must be a stage's name, got {value!r}"]
    if name == "raw_prefix":
        folder = isinstance(value, str) and value.endswith("/") and not value.startswith("/")
        return [] if folder else [f"raw_prefix must be a folder with a slash at its end, got {value!r}"]
    if value is None and name in _MAY_BE_NULL:
        return []
    least = 0 if name in _MAY_BE_ZERO else 1
    most = _MOST_DAYS * (24 if name.endswith("_hours") else 1440 if name.endswith("_minutes") else 1)
    if name in {"min_labels", "new_data_objects"}:
        most = 1_000_000_000
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        return [f"{name} must be a whole number from {least} to {most}, got {value!r}"]
    return []
