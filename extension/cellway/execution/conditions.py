"""``--when EXPR``: a Python expression over parameters and inputs, evaluated without running the user's code.

Only what cannot do anything but compute is understood: literals, names, comparisons, ``and``/``or``/``not``,
arithmetic, subscripts, ``in``, conditional expressions and ``len``.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

from cellway.errors import Place, UsageError

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.Not: operator.not_,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: lambda one, other: _one_of_a_kind(one, other) and one is other,
    ast.IsNot: lambda one, other: _one_of_a_kind(one, other) and one is not other,
    ast.In: lambda item, container: item in container,
    ast.NotIn: lambda item, container: item not in container,
}
_LONGEST = 1_000_000
"""Items of a sequence that a multiplication may make."""


def names(expression: str, step: str) -> frozenset[str]:
    """Names that a condition uses.

    Raises:
        UsageError: it is not a Python expression.
    """
    tree = _parse(expression, step)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return frozenset(used - {"len"})


def holds(expression: str, values: Mapping[str, Any], step: str) -> bool:
    """Whether a condition is true.

    Args:
        expression: as written after ``--when``.
        values: of the names that it uses; plain JSON-like values.
        step: for messages.

    Raises:
        UsageError: it uses something that a condition cannot, or fails when evaluated.
    """
    tree = _parse(expression, step)
    try:
        return bool(_evaluate(tree.body, values))
    except _CannotUse as error:
        raise _wrong(expression, step, str(error)) from None
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise _wrong(expression, step, f"{type(error).__name__}: {error}") from error


def _one_of_a_kind(one: Any, other: Any) -> bool:
    """Whether ``is`` means something: equal numbers and texts may or may not be one object."""
    if one is None or other is None or isinstance(one, bool) or isinstance(other, bool):
        return True
    raise _CannotUse("`is` is for None, True and False; compare with ==")


class _CannotUse(Exception):
    """An expression that a condition does not understand."""


def _parse(expression: str, step: str) -> ast.Expression:
    try:
        return ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError) as error:
        raise _wrong(expression, step, "it is not a Python expression") from error


def _wrong(expression: str, step: str, why: str) -> UsageError:
    return UsageError(
        f"--when {expression!r} cannot be evaluated: {why}",
        place=Place(step=step),
        name="--when",
        fix="compare parameters and plain inputs (numbers, texts, lists): --when 'n_trees > 10 and mode == \"full\"'",
    )


def _evaluate(node: ast.expr, values: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            if name not in values:
                raise _CannotUse(f"{name!r} is neither a parameter nor an input of the step")
            return values[name]
        case ast.BoolOp(op=connective, values=parts):
            result: Any = None
            for part in parts:
                result = _evaluate(part, values)
                if bool(result) is isinstance(connective, ast.Or):
                    return result
            return result
        case ast.UnaryOp(op=sign, operand=operand) if type(sign) in _UNARY:
            return _UNARY[type(sign)](_evaluate(operand, values))
        case ast.BinOp(left=left, op=sign2, right=right) if type(sign2) in _BINARY:
            return _calculate(type(sign2), _evaluate(left, values), _evaluate(right, values))
        case ast.Compare(left=first, ops=signs, comparators=others):
            return _compare(first, signs, others, values)
        case ast.Subscript(value=container, slice=ast.Slice(lower=lower, upper=upper, step=stride)):
            bounds = (None if bound is None else _evaluate(bound, values) for bound in (lower, upper, stride))
            return _evaluate(container, values)[slice(*bounds)]
        case ast.Subscript(value=container, slice=index):
            return _evaluate(container, values)[_evaluate(index, values)]
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return _evaluate(body if _evaluate(test, values) else orelse, values)
        case ast.List(elts=items):
            return [_evaluate(item, values) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_evaluate(item, values) for item in items)
        case ast.Set(elts=items):
            return {_evaluate(item, values) for item in items}
        case ast.Call(func=ast.Name(id="len"), args=[argument], keywords=[]):
            return len(_evaluate(argument, values))
    raise _CannotUse(f"`{ast.unparse(node)}` is more than a condition can do")


def _calculate(sign: type[ast.operator], left: Any, right: Any) -> Any:
    if sign is ast.Mult:
        for sequence, count in ((left, right), (right, left)):
            if isinstance(sequence, (str, bytes, list, tuple)) and len(sequence) * int(count) > _LONGEST:
                raise _CannotUse("the repeated sequence would be very long")
    if sign is ast.Mod and isinstance(left, (str, bytes)):
        raise _CannotUse("text formatting is more than a condition can do")
    return _BINARY[sign](left, right)


def _compare(first: ast.expr, signs: list[ast.cmpop], others: list[ast.expr], values: Mapping[str, Any]) -> Any:
    left = _evaluate(first, values)
    result: Any = True
    for sign, other in zip(signs, others, strict=True):
        right = _evaluate(other, values)
        result = _COMPARE[type(sign)](left, right)
        if not result:
            return result
        left = right
    return result
