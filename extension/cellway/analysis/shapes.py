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


def class_state(node: ast.ClassDef) -> str:
    """What a class remembers by itself, not by its objects: ``cls.count += 1``, ``items = []`` that methods fill."""
    methods = [statement for statement in node.body if isinstance(statement, FUNCTIONS)]
    shared = _shared_attributes(node, methods)
    for method in methods:
        positional = (*method.args.posonlyargs, *method.args.args)
        first = positional[0].arg if positional else ""
        static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in method.decorator_list)
        if not first or static:
            continue
        of_class = method.name in _OF_CLASS or first == "cls"
        of_class = of_class or any(isinstance(d, ast.Name) and d.id == "classmethod" for d in method.decorator_list)
        for target, rebound in _changed_in(method):
            attribute, base = _attribute_of(target)
            if attribute is None:
                continue
            by_name = isinstance(base, ast.Name) and base.id == node.name
            through_class = by_name or _is_class(base, first, of_class)
            in_shared = attribute.attr in shared and isinstance(base, ast.Name) and base.id == first and not of_class
            if through_class or (in_shared and not (rebound and attribute is target)):
                return f"its methods change `{node.name}.{attribute.attr}`"
    return ""


_OF_CLASS = frozenset({"__new__", "__init_subclass__", "__class_getitem__"})
_MUTABLE = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)


def _shared_attributes(node: ast.ClassDef, methods: Iterable[ast.FunctionDef | ast.AsyncFunctionDef]) -> set[str]:
    """Attributes of a class that hold a container, and that its objects do not replace by one of their own."""
    shared: set[str] = set()
    for statement in node.body:
        if isinstance(statement, ast.Assign):
            targets, value = statement.targets, statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None and not node.bases:
            targets, value = [statement.target], statement.value  # (models of pydantic copy theirs)
        else:
            continue
        made = isinstance(value, ast.Call) and dotted_name(value.func).rpartition(".")[2] in known.MUTABLE_CONSTRUCTORS
        if made or isinstance(value, _MUTABLE):
            shared.update(target.id for target in targets if isinstance(target, ast.Name))
    for method in methods:
        if method.name in {"__init__", "__post_init__"}:
            shared -= {t.attr for t, rebound in _changed_in(method) if rebound and isinstance(t, ast.Attribute)}
    return shared


def _changed_in(method: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[ast.expr, bool]]:
    """What a method assigns to or changes in place, and whether it is assigned to as a whole."""
    for node in ast.walk(method):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                yield from ((part, True) for part in (target.elts if isinstance(target, ast.Tuple) else [target]))
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            yield node.target, True
        elif isinstance(node, ast.AugAssign):
            yield node.target, False
        elif isinstance(node, ast.Delete):
            yield from ((target, False) for target in node.targets)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in known.MUTATORS:
            yield node.func.value, False
        elif isinstance(node, ast.Call) and node.args and dotted_name(node.func) in {"setattr", "delattr", "next"}:
            yield ast.Attribute(node.args[0], "…", ast.Load()), False


def _attribute_of(target: ast.expr) -> tuple[ast.Attribute | None, ast.expr | None]:
    """The innermost attribute of a chain, and what it is an attribute of: ``self.items`` of ``self.items[0].x``."""
    found: ast.Attribute | None = None
    while isinstance(target, (ast.Attribute, ast.Subscript)):
        if isinstance(target, ast.Attribute) and target.attr != "__class__":
            found = target
        elif isinstance(target, ast.Attribute):
            break
        target = target.value
    return found, found.value if found is not None else None


def _is_class(node: ast.expr | None, first: str, of_class: bool) -> bool:
    """Whether an expression in a method means the class: ``cls``, ``type(self)``, ``self.__class__``."""
    if isinstance(node, ast.Name):
        return of_class and node.id == first
    if isinstance(node, ast.Attribute):
        return node.attr == "__class__"
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "type"


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
