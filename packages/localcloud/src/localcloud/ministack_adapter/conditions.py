"""Evaluation of a template's conditions, with every intrinsic function that CloudFormation allows in them.

ministack compares `Fn::Join`, `Fn::Sub`, `Fn::FindInMap`, `Fn::Split` and pseudo parameters as text. The execution role
of the CDK's bootstrap then has no policy.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from ministack.services.cloudformation import engine

from localcloud.ministack_adapter.patching import wrap


def install() -> None:
    """Replace ministack's evaluation."""
    wrap(engine, "_evaluate_conditions", lambda _: evaluate)


def evaluate(template: dict[str, Any], params: dict[str, Any]) -> dict[str, bool]:
    """Return the value of each condition by name."""
    definitions = template.get("Conditions") or {}
    mappings = template.get("Mappings") or {}
    known: dict[str, bool] = {}

    def value(expression: Any) -> Any:
        return engine._resolve_refs(copy.deepcopy(expression), {}, params, known, mappings, "", "")

    def truth(expression: Any) -> bool:
        if isinstance(expression, dict) and "Condition" in expression:
            return named(expression["Condition"])
        if isinstance(expression, dict) and "Fn::Equals" in expression:
            left, right = (_plain(value(argument)) for argument in expression["Fn::Equals"])
            return left == right
        for function, combine in _COMBINING.items():
            if isinstance(expression, dict) and function in expression:
                return combine([truth(argument) for argument in expression[function]])
        raise ValueError(f"Template format error: {expression!r} is no condition")

    def named(name: str) -> bool:
        if name not in definitions:
            raise ValueError(f"Template format error: Unresolved condition dependency {name}")
        if name not in known:
            known[name] = truth(definitions[name])
        return known[name]

    for name in definitions:
        named(name)
    return known


def _plain(value: Any) -> str:
    """Return a value as text, as parameters are: `true` in a template equals the parameter's value `true`."""
    return str(value).lower() if isinstance(value, bool) else str(value)


_COMBINING: dict[str, Callable[[list[bool]], bool]] = {
    "Fn::And": all,
    "Fn::Or": any,
    "Fn::Not": lambda values: not values[0],
}
