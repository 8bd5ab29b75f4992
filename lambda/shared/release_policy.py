"""A model's release policy in a stage, as its Serving stack writes it (docs/reference/contracts.md, "Stages")."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from typing import Any

REGISTRY = "registry"
LIFE_CYCLE = "life-cycle"


class PolicyError(ValueError):
    """What is wrong with a policy, all of it, in one line."""


@dataclass(frozen=True)
class StageBefore:
    """Whose verification a stage waits for.

    Attributes:
        stage: its name.
        bucket: its artifact bucket, of which this stage may read `releases/*/verified.json`.
    """

    stage: str
    bucket: str


@dataclass(frozen=True)
class Bounds:
    """What a verified release keeps to.

    Attributes:
        latency_ms: 95th percentile of what a caller waits.
        error_percent: share of requests that may fail.
        tolerance: how far an answer may be from the score that the evaluation recorded, in the score's unit.
    """

    latency_ms: float
    error_percent: float
    tolerance: float


@dataclass(frozen=True)
class Pin:
    """The version that a stage stays on, whatever else is approved.

    Attributes:
        until: the first day (UTC) on which it no longer holds.
        reason: why, in a sentence.
    """

    version: int
    until: date
    reason: str


@dataclass(frozen=True)
class Policy:
    """When a version may become live.

    Attributes:
        verified_in: the stage before, or None for the first one.
        verify: this stage verifies for the next, within these bounds; None where there is no next.
        approval: `registry`: an approved version; `life-cycle`: also approved for production in its life cycle.
        four_eyes: refuse an approval by who wrote the commit or started the execution.
        description_required: refuse an approval without `ApprovalDescription`.
        pin: the version to stay on.
    """

    verified_in: StageBefore | None = None
    verify: Bounds | None = None
    approval: str = REGISTRY
    four_eyes: bool = False
    description_required: bool = False
    pin: Pin | None = None


def parse_release_policy(text: str) -> Policy:
    """Read a policy.

    Raises:
        PolicyError: it is not valid; the message names every problem with the value received.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise PolicyError(f"the release policy is not JSON: {error}") from None
    problems: list[str] = []
    values = _section("", document, _POLICY, problems, complete=False)
    if problems:
        raise PolicyError(f"the release policy is not valid: {'; '.join(problems)}")
    return Policy(**values)


_Reader = Callable[[str, object, list[str]], Any]


def _section(
    path: str,
    document: object,
    readers: Mapping[str, _Reader],
    problems: list[str],
    *,
    complete: bool,
) -> dict[str, Any]:
    """Read the keys that are there; what is not known, missing or wrong is added to `problems`."""
    if not isinstance(document, dict):
        problems.append(f"{path or 'it'} must be an object, got {_shown(document)}")
        return {}
    prefix = f"{path}." if path else ""
    problems += [f"{prefix}{name} is not known" for name in document if name not in readers]
    problems += [f"{prefix}{name} is missing" for name in readers if complete and name not in document]
    known = {name: reader for name, reader in readers.items() if name in document}
    return {name: reader(f"{prefix}{name}", document[name], problems) for name, reader in known.items()}


def _all_of(kind: type, readers: Mapping[str, _Reader]) -> _Reader:
    """Read a section that has all its keys, or null for none."""

    def read(path: str, value: object, problems: list[str]) -> object:
        if value is None:
            return None
        before = len(problems)
        values = _section(path, value, readers, problems, complete=True)
        return kind(**values) if len(problems) == before else None

    return read


def _wanted(what: str, fits: Callable[[Any], bool]) -> _Reader:
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


_TEXT = _wanted("text", lambda value: isinstance(value, str) and bool(value.strip()))
_BOOLEAN = _wanted("true or false", lambda value: isinstance(value, bool))
_POLICY: Mapping[str, _Reader] = {
    "verified_in": _all_of(StageBefore, {"stage": _TEXT, "bucket": _TEXT}),
    "verify": _all_of(
        Bounds,
        {
            "latency_ms": _wanted("a number above 0", lambda value: _is_number(value) and value > 0),
            "error_percent": _wanted("a number from 0 to 100", lambda value: _is_number(value) and 0 <= value <= 100),
            "tolerance": _wanted("a number, 0 or more", lambda value: _is_number(value) and value >= 0),
        },
    ),
    "approval": _wanted(f"{REGISTRY} or {LIFE_CYCLE}", lambda value: value in (REGISTRY, LIFE_CYCLE)),
    "four_eyes": _BOOLEAN,
    "description_required": _BOOLEAN,
    "pin": _all_of(
        Pin,
        {
            "version": _wanted(
                "a version, 1 or more",
                lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 1,
            ),
            "until": _date,
            "reason": _TEXT,
        },
    ),
}
