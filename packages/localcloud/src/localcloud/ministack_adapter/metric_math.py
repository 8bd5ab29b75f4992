"""The part of CloudWatch's metric math that alarms may use: FILL, IF, comparisons, arithmetic, for each period.

Source: "Using math expressions with CloudWatch metrics". The notation is a subset of Python's, so Python parses it.
What is not listed here is refused by name.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence

Series = Sequence[float | None]
"""A value per period, oldest first; None where there is none."""
_OPERATORS: dict[type[ast.AST], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


class Expression:
    """A parsed expression.

    Raises:
        ValueError: The text is no expression, or uses something unsupported, which the error names.
    """

    def __init__(self, text: str, known: Sequence[str]) -> None:
        try:
            self._tree = ast.parse(text, mode="eval").body
        except SyntaxError:
            raise ValueError(f"{text!r} is no metric math expression") from None
        self._known = set(known)
        self._check(self._tree)

    def values(self, series: Mapping[str, Series], periods: int) -> list[float | None]:
        """Return the expression's value in each period."""
        return [self._value(self._tree, series, index) for index in range(periods)]

    def _check(self, node: ast.expr) -> None:
        match node:
            case ast.Constant(value=int() | float()):
                return
            case ast.Name(id=name) if name in self._known:
                return
            case ast.Name(id=name):
                raise ValueError(f"{name!r} in a metric math expression is the Id of no metric of the alarm")
            case ast.Call(func=ast.Name(id="FILL"), args=[one, ast.Constant(value=int() | float())], keywords=[]):
                parts = [one]
            case ast.Call(func=ast.Name(id="IF"), args=[_, _, _] as parts, keywords=[]):
                pass
            case ast.BinOp(left=left, op=kind, right=right) if type(kind) in _OPERATORS:
                parts = [left, right]
            case ast.Compare(left=left, ops=[kind], comparators=[right]) if type(kind) in _OPERATORS:
                parts = [left, right]
            case _:
                raise ValueError(f"the local cloud does not support {ast.unparse(node)!r} in a metric math expression")
        for part in parts:
            self._check(part)

    def _value(self, node: ast.expr, series: Mapping[str, Series], index: int) -> float | None:
        match node:
            case ast.Constant(value=int() | float() as number):
                return float(number)
            case ast.Name(id=name):
                return series[name][index]
            case ast.Call(func=ast.Name(id="FILL"), args=[one, other]):
                value = self._value(one, series, index)
                return self._value(other, series, index) if value is None else value
            case ast.Call(args=[condition, then, otherwise]):
                holds = self._value(condition, series, index)
                return None if holds is None else self._value(then if holds else otherwise, series, index)
            case ast.BinOp(left=left, op=kind, right=right) | ast.Compare(left=left, ops=[kind], comparators=[right]):
                first, second = self._value(left, series, index), self._value(right, series, index)
                if first is None or second is None or (isinstance(kind, ast.Div) and not second):
                    return None
                return float(_OPERATORS[type(kind)](first, second))
        raise AssertionError(f"{ast.unparse(node)} was checked and is not known")
