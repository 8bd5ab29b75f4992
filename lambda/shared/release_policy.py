"""The release policy of a model in a stage, as its Serving stack writes it (docs/reference/contracts.md, "Stages")."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from typing import Any

from shared.errors import PolicyError

REGISTRY = "registry"
LIFE_CYCLE = "life-cycle"


@dataclass(frozen=True)
class PreviousStage:
    """The stage that verifies releases for this one.

    Attributes:
        stage: Its name.
        bucket: Its artifact bucket. This stage may read `releases/*/verified.json` there.
    """

    stage: str
    bucket: str


@dataclass(frozen=True)
class VerificationBounds:
    """The limits that a verified release keeps to.

    Attributes:
        latency_ms: 95th percentile of the latency that a caller sees.
        error_percent: Share of requests that may fail.
        tolerance: Largest difference between an answer and the score that the evaluation recorded, in the score's
            unit.
    """

    latency_ms: float
    error_percent: float
    tolerance: float


@dataclass(frozen=True)
class Pin:
    """The version that a stage keeps, whatever else is approved.

    Attributes:
        until: The first day (UTC) on which it no longer holds.
        reason: One sentence.
    """

    version: int
    until: date
    reason: str


@dataclass(frozen=True)
class StagePolicy:
    """The conditions under which a version may become live.

    Attributes:
        verified_in: The previous stage; None for the first one.
        verify: The limits within which this stage verifies for the next one; None where there is no next stage.
        approval: `registry`: an approved version; `life-cycle`: also approved for production in its life cycle.
        four_eyes: Refuse an approval by the commit's author or by who started the execution.
        description_required: Refuse an approval without `ApprovalDescription`.
        pin: The version to keep.
    """

    verified_in: PreviousStage | None = None
    verify: VerificationBounds | None = None
    approval: str = REGISTRY
    four_eyes: bool = False
    description_required: bool = False
    pin: Pin | None = None


def parse_release_policy(text: str) -> StagePolicy:
    """Parse a release policy.

    Raises:
        PolicyError: It is not valid. The message names every problem with the value received.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise PolicyError(f"the release policy is not JSON: {error}") from None
    problems: list[str] = []
    values = _section("", document, _POLICY, problems, complete=False)
    if problems:
        raise PolicyError(f"the release policy is not valid: {'; '.join(problems)}")
    return StagePolicy(**values)


_Reader = Callable[[str, object, list[str]], Any]


def _section(
    path: str,
    document: object,
    readers: Mapping[str, _Reader],
    problems: list[str],
    *,
    complete: bool,
) -> dict[str, Any]:
    """Read the keys that are present. Add unknown, missing and invalid keys to `problems`."""
    if not isinstance(document, dict):
        problems.append(f"{path or 'it'} must be an object, got {_shown(document)}")
        return {}
    prefix = f"{path}." if path else ""
    problems += [f"{prefix}{name} is not known" for name in document if name not in readers]
    problems += [f"{prefix}{name} is missing" for name in readers if complete and name not in document]
    known = {name: reader for name, reader in readers.items() if name in document}
    return {name: reader(f"{prefix}{name}", document[name], problems) for name, reader in known.items()}


def _all_of(kind: type, readers: Mapping[str, _Reader]) -> _Reader:
    """Return a reader of a section that has all its keys, or is null."""

    def read(path: str, value: object, problems: list[str]) -> object:
        if value is None:
            return None
        before = len(problems)
        values = _section(path, value, readers, problems, complete=True)
        return kind(**values) if len(problems) == before else None

    return read


def _expected(what: str, fits: Callable[[Any], bool]) -> _Reader:
    def read(path: str, value: object, problems: list[str]) -> object:
        if not fits(value):
            problems.append(f"{path} must be {what}, got {_shown(value)}")
        return value

    return read


def _date(path: str, value: object, problems: list[str]) -> date | None:
    with suppress(ValueError):
        if isinstance(value, str):
            return date.fromisoformat(value)
    problems.append(f"{path} must be a date such as 2026-12-31, got {_shown(value)}")
    return None


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)[:80]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


_TEXT = _expected("text", lambda value: isinstance(value, str) and bool(value.strip()))
_BOOLEAN = _expected("true or false", lambda value: isinstance(value, bool))
_POLICY: Mapping[str, _Reader] = {
    "verified_in": _all_of(PreviousStage, {"stage": _TEXT, "bucket": _TEXT}),
    "verify": _all_of(
        VerificationBounds,
        {
            "latency_ms": _expected("a number above 0", lambda value: _is_number(value) and value > 0),
            "error_percent": _expected("a number from 0 to 100", lambda value: _is_number(value) and 0 <= value <= 100),
            "tolerance": _expected("a number, 0 or more", lambda value: _is_number(value) and value >= 0),
        },
    ),
    "approval": _expected(f"{REGISTRY} or {LIFE_CYCLE}", lambda value: value in (REGISTRY, LIFE_CYCLE)),
    "four_eyes": _BOOLEAN,
    "description_required": _BOOLEAN,
    "pin": _all_of(
        Pin,
        {
            "version": _expected(
                "a version, 1 or more",
                lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 1,
            ),
            "until": _date,
            "reason": _TEXT,
        },
    ),
}
