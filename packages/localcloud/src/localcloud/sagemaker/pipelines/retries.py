"""Retry policies of steps (AWS: "Retry Policy for Pipeline Steps")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SERVICE_FAULT = "Step.SERVICE_FAULT"
THROTTLING = "Step.THROTTLING"
JOB_INTERNAL_ERROR = "SageMaker.JOB_INTERNAL_ERROR"
CAPACITY_ERROR = "SageMaker.CAPACITY_ERROR"
RESOURCE_LIMIT = "SageMaker.RESOURCE_LIMIT"
EXCEPTION_TYPES = frozenset({SERVICE_FAULT, THROTTLING, JOB_INTERNAL_ERROR, CAPACITY_ERROR, RESOURCE_LIMIT})
_MEMBERS = frozenset({"ExceptionType", "IntervalSeconds", "BackoffRate", "MaxAttempts", "ExpireAfterMin"})
_MAX_ATTEMPTS = 20


@dataclass(frozen=True)
class RetryPolicy:
    """The policy by which a failed step is tried again."""

    exception_types: frozenset[str]
    interval_seconds: float
    backoff_rate: float
    max_attempts: int | None
    expire_after_seconds: float | None

    def delay(self, retries: int, elapsed: float) -> float | None:
        """Return the seconds until the next try, or None when the policy is exhausted.

        Args:
            retries: number of retries so far.
            elapsed: seconds since the first failure.
        """
        if self.max_attempts is not None and retries >= self.max_attempts:
            return None
        wait = self.interval_seconds * self.backoff_rate**retries
        if self.expire_after_seconds is not None and elapsed + wait > self.expire_after_seconds:
            return None
        return float(wait)


def read(raw: Any) -> tuple[RetryPolicy, ...]:
    """Read `RetryPolicies`; raise ValueError where they are not valid."""
    if not isinstance(raw, list):
        raise ValueError("RetryPolicies must be a list")
    return tuple(_policy(one) for one in raw)


def _policy(raw: Any) -> RetryPolicy:
    if not isinstance(raw, dict) or set(raw) - _MEMBERS:
        raise ValueError(f"a retry policy has the fields {', '.join(sorted(_MEMBERS))}, got {raw!r}")
    types = raw.get("ExceptionType")
    names = [types] if isinstance(types, str) else types
    if not isinstance(names, list) or not names or set(names) - EXCEPTION_TYPES:
        raise ValueError(
            f"ExceptionType of a retry policy must be among {', '.join(sorted(EXCEPTION_TYPES))}, got {types!r}"
        )
    attempts, expiry = raw.get("MaxAttempts"), raw.get("ExpireAfterMin")
    if (attempts is None) == (expiry is None):
        raise ValueError("a retry policy needs exactly one of MaxAttempts and ExpireAfterMin")
    interval, backoff = raw.get("IntervalSeconds", 1), raw.get("BackoffRate", 2.0)
    for member, value, least in (
        ("IntervalSeconds", interval, 0),
        ("BackoffRate", backoff, 0),
        ("MaxAttempts", attempts, 1),
        ("ExpireAfterMin", expiry, 1),
    ):
        if value is not None and (not isinstance(value, int | float) or isinstance(value, bool) or value < least):
            raise ValueError(f"{member} of a retry policy must be at least {least}, got {value!r}")
    if attempts is not None and attempts > _MAX_ATTEMPTS:
        raise ValueError(f"MaxAttempts of a retry policy must be at most {_MAX_ATTEMPTS}, got {attempts}")
    return RetryPolicy(frozenset(names), interval, backoff, attempts, None if expiry is None else expiry * 60)


def exception_of_error(code: str, status: int) -> str | None:
    """Return the exception type of a rejected API call, or None."""
    if code in {"ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded"}:
        return THROTTLING
    if code == "ResourceLimitExceeded":
        return RESOURCE_LIMIT
    return SERVICE_FAULT if status >= 500 else None


def exception_of_job(failure_reason: str) -> str | None:
    """Return the exception type of a failed job by the start of its failure reason, or None."""
    kinds: Mapping[str, str] = {
        "InternalServerError": JOB_INTERNAL_ERROR,
        "CapacityError": CAPACITY_ERROR,
        "ResourceLimitExceeded": RESOURCE_LIMIT,
    }
    return next((kind for word, kind in kinds.items() if failure_reason.startswith(word)), None)


def next_try(
    policies: Sequence[RetryPolicy], exception: str | None, retries: Mapping[str, int], elapsed: float
) -> tuple[int, float] | None:
    """Return (index, seconds to wait) of the first policy that covers the exception and is not exhausted."""
    for index, policy in enumerate(policies):
        if exception in policy.exception_types:
            wait = policy.delay(retries.get(str(index), 0), elapsed)
            if wait is not None:
                return index, wait
    return None
