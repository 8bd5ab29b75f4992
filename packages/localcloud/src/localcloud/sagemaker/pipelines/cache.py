"""Step caching (AWS: "Caching pipeline steps")."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from localcloud.sagemaker.pipelines.step_types import StepType

_DURATION = re.compile(
    r"(?i)^P(?:(?P<years>\d+)Y)?(?:(?P<months>\d+)M)?(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+)S)?)?$"
)
_DAYS = {"years": 365, "months": 30, "weeks": 7, "days": 1}
_SECONDS = {"hours": 3600, "minutes": 60, "seconds": 1}


@dataclass(frozen=True)
class CacheConfig:
    """A step's cache settings; `expire_after` None accepts an earlier run of any age."""

    enabled: bool
    expire_after: timedelta | None


def read(raw: Any) -> CacheConfig:
    """Read `CacheConfig`; raise ValueError where it is not valid."""
    if not isinstance(raw, dict) or set(raw) - {"Enabled", "ExpireAfter"} or not isinstance(raw.get("Enabled"), bool):
        raise ValueError(f"CacheConfig must be an Enabled flag and an ExpireAfter duration, got {raw!r}")
    expiry = raw.get("ExpireAfter")
    return CacheConfig(raw["Enabled"], None if expiry is None else _duration(expiry))


def _duration(value: Any) -> timedelta:
    """Read an ISO 8601 duration or AWS's short form of one (`30d`, `T12H` for `P30D`, `PT12H`)."""
    written = str(value)
    found = _DURATION.match(written if written[:1] in "Pp" else f"P{written}")
    parts = {name: int(amount) for name, amount in found.groupdict().items() if amount} if found else {}
    if not parts:
        raise ValueError(f"ExpireAfter of CacheConfig must be an ISO 8601 duration such as P30D, got {value!r}")
    return timedelta(
        days=sum(_DAYS[name] * amount for name, amount in parts.items() if name in _DAYS),
        seconds=sum(_SECONDS[name] * amount for name, amount in parts.items() if name in _SECONDS),
    )


def key(step_type: StepType, arguments: Mapping[str, Any], function_arn: str | None = None) -> str:
    """Return the hash of the arguments that AWS compares: the documented ones, or all of a Lambda step's."""
    members = step_type.cache_members
    same = {name: arguments[name] for name in members if name in arguments} if members else dict(arguments)
    text = json.dumps([step_type.name, function_arn, same], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
