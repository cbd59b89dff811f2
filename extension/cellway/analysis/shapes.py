"""Questions to a syntax tree that need no memory."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence

from cellway.analysis import known
from cellway.records import Call

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

_FIELDS: dict[type, tuple[str, ...]] = {}
_NO_PARTS = frozenset({"ctx", "op", "ops", "id", "kind", "type_comment"})
"""Fields of nodes in which there is neither an expression nor a statement."""


def parts(node: ast.AST) -> list[ast.AST]:
    """As ``ast.iter_child_nodes`` but for operators; without a generator for each node and one for its fields."""
    fields = _FIELDS.get(node.__class__)
    if fields is None:
        fields = tuple(name for name in node._fields if name not in _NO_PARTS)
        _FIELDS[node.__class__] = fields
    found: list[ast.AST] = []
    for name in fields:
        value = getattr(node, name, None)
        if isinstance(value, ast.AST):
            found.append(value)
        elif isinstance(value, list):
            # Most lists are short, and on Python 3.11 a comprehension is a call.
            for item in value:
                if isinstance(item, ast.AST):
                    found.append(item)  # noqa: PERF401
    return found


def dotted_name(node: ast.AST) -> str:
    """``a.b.c`` of an attribute chain (subscripts are passed through), ``""`` if it does not start at a name."""
    parts: list[str] = []
    while True:
        if isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        elif isinstance(node, ast.Subscript):
            node = node.value
        elif isinstance(node, ast.Name):
            return ".".join([node.id, *reversed(parts)])
        else:
            return ""


def is_plain(node: ast.expr) -> bool:
    """A value that only gives existing objects another name: names, displays of names, choices among them."""
    if isinstance(node, ast.Call):
        return False
    if isinstance(node, (ast.Name, ast.Constant)):
        return True
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        return all(map(is_plain, node.elts))
    if isinstance(node, ast.Dict):
        return all(key is None or isinstance(key, ast.Constant) for key in node.keys) and all(
            map(is_plain, node.values)
        )
    if isinstance(node, ast.IfExp):
        return is_plain(node.body) and is_plain(node.orelse)
    if isinstance(node, ast.BoolOp):
        return all(map(is_plain, node.values))
    return False


def passes(name: str, node: ast.Call) -> bool:
    """Whether what a builtin returns may hold (parts of) its arguments; ``sum`` does where it joins lists."""
    return name in known.PASSING_FUNCTIONS or (name == "sum" and len(node.args) + len(node.keywords) > 1)


def pairs(target: ast.expr, value: ast.expr) -> list[tuple[ast.expr, ast.expr]]:
    """``a, b = x, y`` taken apart; empty if it is not of that form."""
    if not isinstance(target, (ast.Tuple, ast.List)) or not isinstance(value, (ast.Tuple, ast.List)):
        return []
    if len(target.elts) != len(value.elts) or any(isinstance(element, ast.Starred) for element in target.elts):
        return []
    return list(zip(target.elts, value.elts, strict=True))


def is_number(*nodes: ast.expr) -> bool:
    """Whether one of the operands is a literal with a point: then nothing of the others is in the result."""
    return any(isinstance(node, ast.Constant) and isinstance(node.value, (float, complex)) for node in nodes)


def all_arguments(arguments: ast.arguments) -> Iterator[ast.arg]:
    """Every parameter of a function, in the order in which they stand."""
    yield from (*arguments.posonlyargs, *arguments.args)
    if arguments.vararg:
        yield arguments.vararg
    yield from arguments.kwonlyargs
    if arguments.kwarg:
        yield arguments.kwarg


def parameter_names(arguments: ast.arguments) -> tuple[str, ...]:
    """Names of a function's parameters, with their stars."""
    names = [a.arg for a in (*arguments.posonlyargs, *arguments.args)]
    if arguments.vararg:
        names.append(f"*{arguments.vararg.arg}")
    names += [a.arg for a in arguments.kwonlyargs]
    if arguments.kwarg:
        names.append(f"**{arguments.kwarg.arg}")
    return tuple(names)


def state(name: str, arguments: ast.arguments, touched: set[str]) -> str:
    """What a function remembers between calls: ``def f(x, seen=[])`` that changes ``seen``; ``f.count += 1``."""
    positional = (*arguments.posonlyargs, *arguments.args)
    pairs = [
        *zip(positional[len(positional) - len(arguments.defaults) :], arguments.defaults, strict=True),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]
    for argument, default in pairs:
        mutable = isinstance(default, (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp, ast.Call))
        if mutable and argument.arg in touched:
            return f"the default of `{argument.arg}` is changed by its calls"
    return f"its calls change `{name}` itself" if name in touched else ""


def outward(call: Call, parameters: set[str], local: frozenset[str]) -> Call:
    """A call in a function's body with those arguments that mean something outside: parameters and free names."""
    arguments = tuple((slot, name) for slot, name in call.arguments if name in parameters or name not in local)
    return Call(call.function, call.line, arguments)


_CLOSED = (ast.Name, ast.Constant, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.expr_context)
_NAMED = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler, ast.MatchAs, ast.MatchStar,
)  # fmt: skip


_BINDING = (*_NAMED, ast.alias, ast.MatchMapping)


def own_nodes(body: Sequence[ast.stmt]) -> list[ast.AST]:
    """Statements and their parts, without nested functions and classes, and without targets of comprehensions."""
    found: list[ast.AST] = []
    waiting: list[ast.AST] = list(body)
    while waiting:
        node = waiting.pop()
        found.append(node)
        if isinstance(node, _CLOSED):
            continue
        for child in parts(node):
            if isinstance(child, ast.comprehension):
                waiting += (child.iter, *child.ifs)
            else:
                waiting.append(child)
    return found


def bindings(nodes: Iterable[ast.AST]) -> set[str]:
    """Names that the statements of a function bind: its locals."""
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, (ast.Store, ast.Del)):
                found.add(node.id)
        elif not isinstance(node, _BINDING):
            continue
        elif isinstance(node, ast.alias):
            found.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, _NAMED):
            if node.name:
                found.add(node.name)
        elif node.rest:
            found.add(node.rest)
    return found


def pattern_names(pattern: ast.pattern) -> Iterator[str]:
    """Names that a ``case`` binds."""
    for node in ast.walk(pattern):
        if isinstance(node, (ast.MatchAs, ast.MatchStar)) and node.name:
            yield node.name
        elif isinstance(node, ast.MatchMapping) and node.rest:
            yield node.rest


def is_irrefutable(pattern: ast.pattern) -> bool:
    """Whether a ``case`` matches everything."""
    return isinstance(pattern, ast.MatchAs) and (pattern.pattern is None or is_irrefutable(pattern.pattern))


def target_names(target: ast.expr) -> Iterator[str]:
    """Names that the target of an assignment or loop binds."""
    for node in [target] if isinstance(target, ast.Name) else ast.walk(target):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def joined(groups: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """All names once, sorted."""
    return tuple(sorted({name for group in groups for name in group}))
