"""The conditions of a condition step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from localcloud.sagemaker.pipelines.expressions import ResolutionError, Scope, resolve

_ORDER: Mapping[str, Callable[[Any, Any], bool]] = {
    "GreaterThan": lambda left, right: left > right,
    "GreaterThanOrEqualTo": lambda left, right: left >= right,
    "LessThan": lambda left, right: left < right,
    "LessThanOrEqualTo": lambda left, right: left <= right,
}
_COMPARISONS = frozenset({"Equals", *_ORDER})


def _negated(condition: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the condition inside `Not`: `Condition` in version 3 of the SDK, `Expression` in version 2."""
    found: Mapping[str, Any] | None = condition.get("Condition", condition.get("Expression"))
    return found


def problem(condition: Any) -> str | None:
    """Return what is wrong with a condition's form, or None."""
    if not isinstance(condition, dict) or "Type" not in condition:
        return f"a condition needs a Type, got {condition!r}"
    kind = condition["Type"]
    if kind in _COMPARISONS:
        missing = [member for member in ("LeftValue", "RightValue") if member not in condition]
        return f"the condition {kind} needs {' and '.join(missing)}" if missing else None
    if kind == "In":
        if "QueryValue" not in condition or not isinstance(condition.get("Values"), list):
            return "the condition In needs a QueryValue and a list of Values"
        return None
    if kind == "Not":
        return problem(_negated(condition))
    if kind in {"Or", "And"}:
        inner = condition.get("Conditions")
        if not isinstance(inner, list) or not inner:
            return f"the condition {kind} needs a list of Conditions"
        return next(filter(None, map(problem, inner)), None)
    return f"the condition type {kind!r} is not supported"


def holds(condition: Mapping[str, Any], scope: Scope) -> bool:
    """Evaluate a condition.

    Raises:
        ResolutionError: a value is missing, or the two sides cannot be compared.
    """
    kind = condition["Type"]
    if kind == "Not":
        return not holds(_negated(condition) or {}, scope)
    if kind == "Or":
        return any(holds(one, scope) for one in condition["Conditions"])
    if kind == "And":
        return all(holds(one, scope) for one in condition["Conditions"])
    if kind == "In":
        query = resolve(condition["QueryValue"], scope)
        return any(_equal(query, resolve(one, scope)) for one in condition["Values"])
    left, right = resolve(condition["LeftValue"], scope), resolve(condition["RightValue"], scope)
    if kind == "Equals":
        return _equal(left, right)
    return _ORDER[kind](*_comparable(kind, left, right))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _as_number(value: Any) -> float | None:
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None


def _equal(left: Any, right: Any) -> bool:
    if _is_number(left) != _is_number(right):
        # A property such as HyperParameters['x'] is a string where the definition says a number.
        one, other = _as_number(left), _as_number(right)
        return one is not None and one == other
    return bool(left == right)


def _comparable(kind: str, left: Any, right: Any) -> tuple[Any, Any]:
    if isinstance(left, str) and isinstance(right, str):
        return left, right
    one, other = _as_number(left), _as_number(right)
    if one is None or other is None:
        raise ResolutionError(f"The condition {kind} cannot compare {left!r} and {right!r}")
    return one, other
