"""Body of a cell → its top-level statements as records, with kind, text and fingerprint."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import replace

from cellway import fingerprint
from cellway.analysis import ipython, known
from cellway.analysis.expressions import MAGIC
from cellway.analysis.walker import Walker
from cellway.records import Function, Names, Reference, Statement, StatementKind

_SYMBOLS = {StatementKind.IMPORT, StatementKind.FUNCTION, StatementKind.CLASS, StatementKind.CONSTANT}
_LATER = "seed-later"


def read(body: str, impure: frozenset[str] = frozenset()) -> Names:
    """Names of a cell.

    Args:
        body: the cell without cellway's own magic.
        impure: method names that the notebook's own classes define.
    """
    source, magics = ipython.transform(body) if ipython.needs(body) else (body, ())
    try:
        flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        module = compile(source, "<cell>", "exec", flags, dont_inherit=True)
    except SyntaxError as error:
        return Names(fingerprint.text("broken", body), (), (error.msg or "invalid syntax", error.lineno or 1))
    except (ValueError, RecursionError, MemoryError) as error:
        return Names(fingerprint.text("broken", body), (), (str(error), 1))
    assert isinstance(module, ast.Module)
    if magics:
        texts = {i: magic.text for i, magic in enumerate(magics)}
        marked = _with_texts(module, texts)
    else:
        marked = module
    lines = _Lines(body, source)
    statements = tuple(
        _statement(node, fingerprint.tree(twin), lines, magics, impure)
        for node, twin in zip(module.body, marked.body, strict=True)
    )
    return Names(fingerprint.digest("cell", [statement.fingerprint for statement in statements]), statements)


class _Lines:
    """Text of statements, verbatim."""

    def __init__(self, body: str, source: str) -> None:
        self.body = body.split("\n")
        self._transformed = source.split("\n") if source != body else self.body
        self._shared: dict[int, int] = {}

    def of(self, node: ast.stmt, comments: bool) -> str:
        """The statement's lines; only its part of a line that it shares with another statement."""
        start = _first_line(node)
        end = node.end_lineno or start
        first = self.body[start - 1]
        if first != self._transformed[start - 1]:
            # Lines that a magic took (continued ones, the body of `%%bash`) are blank in the Python.
            while end < len(self.body) and not self._transformed[end].strip():
                end += 1
            while end > start and not self.body[end - 1].strip():
                end -= 1
            return "\n".join(self.body[start - 1 : end])
        encoded = first.encode()
        last = self.body[end - 1].encode()
        alone = not encoded[: node.col_offset].strip() if start == node.lineno else True
        rest = last[node.end_col_offset :].decode().strip()
        if alone and (not rest or rest.startswith("#")):
            above = start - 1
            while comments and above > 0 and self.body[above - 1].lstrip().startswith("#"):
                above -= 1
            return "\n".join(self.body[above:end])
        if start == end:
            return encoded[node.col_offset : node.end_col_offset].decode()
        head = encoded[node.col_offset :].decode() if start == node.lineno else first
        return "\n".join([head, *self.body[start : end - 1], last[: node.end_col_offset].decode()])


def _statement(
    node: ast.stmt, digest: str, lines: _Lines, magics: Sequence[ipython.Magic], impure: frozenset[str]
) -> Statement:
    walker = Walker(magics, impure)
    walker.walk([node])
    found = walker.found
    binds = tuple(sorted(walker.bound))
    may_bind = tuple([name for name in walker.maybe if name not in walker.bound]) if walker.maybe else ()
    ambient = tuple([kind for kind in found.ambient if kind != _LATER]) if found.ambient else ()
    # A global statement at the top level of a cell means nothing; in functions it is in their summaries.
    function = _own_function(node, walker.functions)
    kind = _kind(node, found.modules, ambient, binds, may_bind, bool(found.opaque))
    seeds = "seed" in ambient or _LATER in found.ambient
    return Statement(
        line=_first_line(node),
        end_line=node.end_lineno or node.lineno,
        source=lines.of(node, comments=kind in {StatementKind.FUNCTION, StatementKind.CLASS}),
        fingerprint=digest,
        kind=kind,
        binds=binds,
        may_bind=may_bind,
        reads=_references(found.reads),
        deferred=_references(found.deferred),
        mentions=_references(found.mentions),
        changes=_references(found.changes),
        may_change=tuple([r for r in _references(found.may_change) if r.name not in found.changes]),
        deletes=tuple(found.deletes),
        aliases=tuple(found.aliases),
        calls=tuple(found.calls),
        modules=tuple(found.modules),
        ambient=tuple(dict.fromkeys((*ambient, "seed"))) if seeds else ambient,
        mutable=kind is StatementKind.CONSTANT and _is_mutable(node),
        opaque=found.opaque,
        function=function,
    )


def _references(found: dict[str, int]) -> tuple[Reference, ...]:
    return tuple([Reference(name, line) for name, line in found.items() if name != MAGIC]) if found else ()


def _own_function(node: ast.stmt, functions: Sequence[Function]) -> Function | None:
    """The summary that a call by the statement's name means; of several (branches), their union."""
    if not functions:
        return None
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign)):
        return functions[-1]
    first, *others = functions
    same = [f for f in others if f.name == first.name]
    for other in same:
        first = replace(
            first,
            changes=tuple(sorted({*first.changes, *other.changes})),
            reads=tuple(sorted({*first.reads, *other.reads})),
            global_binds=tuple(sorted({*first.global_binds, *other.global_binds})),
            global_changes=tuple(sorted({*first.global_changes, *other.global_changes})),
            global_may_change=tuple(sorted({*first.global_may_change, *other.global_may_change})),
            calls=(*first.calls, *other.calls),
        )
    return first


def _first_line(node: ast.stmt) -> int:
    decorators: list[ast.expr] | None = getattr(node, "decorator_list", None)
    if not decorators:
        return node.lineno
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def _with_texts(module: ast.Module, texts: dict[int, str]) -> ast.Module:
    """A copy of the tree in which placeholders hold the text of the magic: two magics of one shape differ."""

    class Texts(ast.NodeTransformer):
        def visit_Call(self, node: ast.Call) -> ast.AST:
            self.generic_visit(node)
            if isinstance(node.func, ast.Name) and node.func.id == MAGIC and isinstance(node.args[0], ast.Constant):
                index = node.args[0].value
                if isinstance(index, int):
                    return ast.Call(node.func, [ast.Constant(texts.get(index, ""))], [])
            return node

    import copy

    copied = Texts().visit(copy.deepcopy(module))
    assert isinstance(copied, ast.Module)
    return copied


# --- kinds -----------------------------------------------------------------------------------------------------


def _kind(
    node: ast.stmt,
    modules: dict[str, None],
    ambient: tuple[str, ...],
    binds: tuple[str, ...],
    may_bind: tuple[str, ...],
    opaque: bool,
) -> StatementKind:
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return StatementKind.IMPORT
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return StatementKind.FUNCTION
    if isinstance(node, ast.ClassDef):
        return StatementKind.CLASS
    if opaque:
        return StatementKind.OTHER
    if ambient and not binds and not may_bind and set(ambient) - {"attribute"}:
        return StatementKind.AMBIENT
    if isinstance(node, (ast.Assign, ast.AnnAssign)) and not ambient:
        value = node.value
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if isinstance(value, ast.Lambda) and len(targets) == 1 and isinstance(targets[0], ast.Name):
            return StatementKind.FUNCTION
        if value is not None and all(_is_name_target(target) for target in targets) and is_constant(value):
            return StatementKind.CONSTANT
    if isinstance(node, (ast.If, ast.Try)) and not may_bind and _all_symbols(node):
        return StatementKind.IMPORT if modules else StatementKind.CONSTANT
    return StatementKind.OTHER


def _all_symbols(node: ast.If | ast.Try) -> bool:
    """``try: import x / except ImportError: x = None`` and the like: a definition chosen by the environment."""
    bodies = [node.body, node.orelse]
    if isinstance(node, ast.Try):
        bodies += [node.finalbody, *(handler.body for handler in node.handlers)]
    elif not is_constant(node.test):
        return False
    for statement in (statement for body in bodies for statement in body):
        if isinstance(statement, ast.Pass):
            continue
        if isinstance(statement, (ast.If, ast.Try)):
            if not _all_symbols(statement):
                return False
        elif _kind(statement, {}, (), (), (), opaque=False) not in _SYMBOLS:
            return False
    return True


def _is_name_target(target: ast.expr) -> bool:
    if isinstance(target, (ast.Tuple, ast.List)):
        return all(_is_name_target(element) for element in target.elts)
    return isinstance(target, ast.Name)


def is_constant(node: ast.expr) -> bool:
    """Whether an expression depends on nothing but literals and names, and calls nothing but known constructors.

    That the names are symbols themselves is for the pipeline to check.
    """
    if isinstance(node, (ast.Constant, ast.Name, ast.Lambda)):
        return True
    if isinstance(node, ast.Attribute):
        return is_constant(node.value)
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
        if name not in known.CONSTRUCTORS:
            return False
        receiver = node.func.value if isinstance(node.func, ast.Attribute) else None
        parts = [*node.args, *(keyword.value for keyword in node.keywords)]
        return (receiver is None or is_constant(receiver)) and all(map(is_constant, parts))
    if isinstance(node, (ast.Await, ast.Yield, ast.YieldFrom, ast.NamedExpr)):
        return False
    return all(
        is_constant(child) if isinstance(child, ast.expr) else _is_constant_part(child)
        for child in ast.iter_child_nodes(node)
    )


def _is_constant_part(node: ast.AST) -> bool:
    if isinstance(node, ast.comprehension):
        return not node.is_async and is_constant(node.iter) and all(map(is_constant, node.ifs))
    return isinstance(node, (ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.expr_context, ast.keyword))


def _is_mutable(node: ast.stmt) -> bool:
    value = getattr(node, "value", None)
    if value is None:
        return True
    if isinstance(value, (ast.Tuple, ast.Constant, ast.JoinedStr, ast.Compare, ast.UnaryOp)):
        return any(_may_be_mutable(child) for child in ast.walk(value) if child is not value)
    return _may_be_mutable(value)


def _may_be_mutable(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        return name in known.MUTABLE_CONSTRUCTORS
    if isinstance(node, ast.BinOp):
        return _may_be_mutable(node.left) or _may_be_mutable(node.right)
    if isinstance(node, ast.IfExp):
        return _may_be_mutable(node.body) or _may_be_mutable(node.orelse)
    return isinstance(
        node, (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp, ast.Name, ast.Subscript)
    ) and not (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
