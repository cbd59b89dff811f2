"""``%%parameters`` cells → :class:`~cellway.records.Parameter`: type, default, help text, choices."""

from __future__ import annotations

import ast
import io
import operator
import tokenize
from collections.abc import Callable, Iterator
from typing import Any

from cellway.records import Cell, Diagnostic, Parameter

_TYPES = {"int", "float", "str", "bool", "list", "dict"}
_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}


def read(cell: Cell) -> tuple[list[Parameter], list[Diagnostic]]:
    """Parameters of a cell, and what is wrong with it.

    Imports are allowed (they are carried as anywhere); everything else must be an assignment of a literal to a name.
    """
    comments = dict(_comments(cell.body))
    lines = cell.body.split("\n")
    parameters: list[Parameter] = []
    problems: list[Diagnostic] = []
    for node in ast.parse(cell.body).body:
        if isinstance(node, (ast.Import, ast.ImportFrom)) or _is_docstring(node):
            continue
        try:
            name, annotation, value = _assignment(node)
            default = _literal(value)
            type_, optional, choices = _type(annotation, default)
        except ValueError as problem:
            problems.append(_problem(cell, node, str(problem)))
            continue
        end = node.end_lineno or node.lineno
        source = "\n".join(lines[node.lineno - 1 : end])
        text = " ".join(comments[n] for n in range(node.lineno, end + 1) if n in comments)
        parameters.append(
            Parameter(
                name,
                type_,
                default,
                text,
                source,
                cell.index,
                cell.offset + node.lineno,
                choices,
                optional or default is None,
            )
        )
    return parameters, problems


def _assignment(node: ast.stmt) -> tuple[str, ast.expr | None, ast.expr]:
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id, None, node.value
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        if node.value is None:
            raise ValueError(f"parameter `{node.target.id}` has no default")
        return node.target.id, node.annotation, node.value
    raise ValueError("a parameters cell holds assignments `name = value` only")


def _literal(node: ast.expr) -> Any:
    """Value of a literal; arithmetic on numbers (``60 * 60``, ``1e-3``, ``-1``) counts as one."""
    if isinstance(node, ast.Constant):
        if node.value is None or isinstance(node.value, (bool, int, float, str)):
            return node.value
        raise ValueError(f"a default of type {type(node.value).__name__} cannot be handed over as a parameter")
    if isinstance(node, (ast.List, ast.Tuple)):
        if isinstance(node, ast.Tuple):
            raise ValueError("a tuple would arrive as a list: write [...]")
        return [_literal(item) for item in node.elts]
    if isinstance(node, ast.Dict):
        keys = [_literal(key) for key in node.keys if key is not None]
        if len(keys) != len(node.values) or not all(isinstance(key, str) for key in keys):
            raise ValueError("a dict parameter needs text keys, written out")
        return dict(zip(keys, map(_literal, node.values), strict=True))
    if isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_number(node.operand))
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = _number(node.left), _number(node.right)
        if isinstance(node.op, ast.Pow) and abs(right) > 64:
            raise ValueError("write the number out")
        try:
            return _OPERATORS[type(node.op)](left, right)
        except ArithmeticError as error:
            raise ValueError(str(error)) from error
    raise ValueError("the default is computed by code, so a run that sets another value would not recompute it")


def _number(node: ast.expr) -> Any:
    value = _literal(node)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("only arithmetic on numbers is worked out in a parameters cell")
    return value


def _type(annotation: ast.expr | None, default: Any) -> tuple[str | None, bool, tuple[Any, ...]]:
    """``(type, None allowed, choices)`` from the annotation, else from the default."""
    if annotation is None:
        return (None if default is None else type(default).__name__), default is None, ()
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    parts = list(_union(annotation))
    optional = any(isinstance(part, ast.Constant) and part.value is None for part in parts)
    parts = [part for part in parts if not (isinstance(part, ast.Constant) and part.value is None)]
    if len(parts) != 1:
        return None, optional, ()
    part = parts[0]
    if isinstance(part, ast.Subscript):
        base = ast.unparse(part.value).rsplit(".", 1)[-1]
        if base == "Literal":
            items = part.slice.elts if isinstance(part.slice, ast.Tuple) else [part.slice]
            choices = tuple(_literal(item) for item in items)
            kinds = {type(choice).__name__ for choice in choices}
            return (kinds.pop() if len(kinds) == 1 else None), optional, choices
        if base == "Optional":
            type_, _, choices = _type(part.slice, default)
            return type_, True, choices
        if base == "Annotated" and isinstance(part.slice, ast.Tuple):
            return _type(part.slice.elts[0], default)
    else:
        base = ast.unparse(part).rsplit(".", 1)[-1]
    base = {"List": "list", "Dict": "dict", "Sequence": "list", "Mapping": "dict"}.get(base, base)
    if base in {"Any", "object"}:
        return None, True, ()
    if base not in _TYPES:
        raise ValueError(f"a parameter cannot be of type {base}: use int, float, str, bool, list, dict or Literal[...]")
    if default is not None and type(default).__name__ != base and not (base == "float" and type(default) is int):
        raise ValueError(f"the default is of type {type(default).__name__}, the annotation says {base}")
    return base, optional, ()


def _union(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        yield from _union(node.left)
        yield from _union(node.right)
    elif isinstance(node, ast.Subscript) and ast.unparse(node.value).rsplit(".", 1)[-1] == "Union":
        yield from node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    else:
        yield node


def _comments(body: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(body).readline):
        if token.type == tokenize.COMMENT and token.line[: token.start[1]].strip():
            yield token.start[0], token.string.lstrip("#").strip()


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _problem(cell: Cell, node: ast.stmt, message: str) -> Diagnostic:
    name = next((n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)), None)
    return Diagnostic(
        "error",
        "bad-parameter",
        message if name is None or f"`{name}`" in message else f"`{name}`: {message}",
        cell.index,
        cell.offset + node.lineno,
        name,
        fix="give it a literal default, or move the line to an untagged cell (constants are carried) or into a step",
    )
