"""Names of one scope as a walk meets them: bound, read, changed, and whose object each may be."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence

from cellway.analysis import known
from cellway.analysis.magics import Magic
from cellway.analysis.shapes import passes, target_names
from cellway.records import Call, Function

Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
SHARING_OPERATORS = (ast.Add, ast.Mult, ast.BitOr)
"""Their result may hold (parts of) the operands: ``[x] + [y]``."""


class Found:
    """What the walk found; names map to the first line. One for each statement and function, hence no dataclass."""

    __slots__ = (
        "aliases", "ambient", "calls", "changes", "deferred", "deletes", "global_names", "may_change", "mentions",
        "modules", "opaque", "reads",
    )  # fmt: skip

    def __init__(self) -> None:
        self.reads: dict[str, int] = {}
        self.deferred: dict[str, int] = {}
        self.changes: dict[str, int] = {}
        self.may_change: dict[str, int] = {}
        self.mentions: dict[str, int] = {}
        self.deletes: dict[str, None] = {}
        self.aliases: dict[tuple[str, str], None] = {}
        self.calls: list[Call] = []
        self.modules: dict[str, None] = {}
        self.ambient: dict[str, None] = {}
        self.global_names: set[str] = set()
        self.opaque = ""


class Tracking:
    """What is known of the names of one scope, up to where the walk is.

    Args:
        magics: IPython syntax by the index in its placeholder call.
        impure: method names that the notebook's own classes define: not to be taken for the well-known ones.
        local: names local to the function whose body is walked; ``None`` at the top level of a cell.
    """

    def __init__(
        self, magics: Sequence[Magic] = (), impure: frozenset[str] = frozenset(), local: frozenset[str] | None = None
    ) -> None:
        self.found = Found()
        self.bound: set[str] = set()
        self.maybe: dict[str, None] = {}
        self.functions: list[Function] = []
        self._magics = magics
        self._impure = impure
        self._local = local
        self._roots: dict[str, set[str]] = {}
        self._hidden: list[set[str]] = []

    # --- names -------------------------------------------------------------------------------------------------

    def bind(self, name: str, roots: Iterable[str] = ()) -> None:
        """A name is bound here; ``roots`` are the names whose object it may be."""
        if self._is_hidden(name):
            self._roots[name] = set(roots)
            return
        self.bound.add(name)
        self._roots[name] = {root for root in roots if root != name}
        for root in self._roots[name]:
            if self._local is None and not self._is_hidden(root):
                self.found.aliases[(name, root)] = None

    def load(self, name: str, line: int, keep: bool) -> None:
        """A name is read here; with ``keep``, its object may be changed from now on."""
        if self._is_hidden(name):
            if keep:
                self._note(self.found.may_change, self._closure(name), line)
            return
        if name not in self.bound:
            self.found.reads.setdefault(name, line)
        if keep:
            self._note(self.found.may_change, self._closure(name) if self._roots.get(name) else (name,), line)

    def change(self, name: str, line: int) -> None:
        """The object of a name is changed in place here."""
        self._note(self.found.changes, self._closure(name), line)

    def _note(self, where: dict[str, int], names: Iterable[str], line: int) -> None:
        for name in names:
            if (name not in self.bound or self._local is not None) and not self._is_hidden(name):
                where.setdefault(name, line)

    def _is_hidden(self, name: str) -> bool:
        return bool(self._hidden) and any(name in names for names in self._hidden)

    def _closure(self, name: str) -> set[str]:
        if not self._roots.get(name):
            return {name}
        found: set[str] = set()
        waiting = [name]
        while waiting:
            current = waiting.pop()
            if current not in found:
                found.add(current)
                waiting.extend(self._roots.get(current, ()))
        return found

    def roots(self, node: ast.AST | None) -> set[str]:
        """Names whose object the value of an expression may be, or be part of."""
        if isinstance(node, ast.Name):
            return {node.id}
        if node is None or isinstance(node, (ast.Constant, ast.JoinedStr, ast.Compare)):
            return set()
        if isinstance(node, (ast.Attribute, ast.Subscript, ast.Starred, ast.Await, ast.NamedExpr)):
            return self.roots(node.value)
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and passes(node.func.id, node):
                return self._union(node.args)
            if isinstance(node.func, ast.Attribute) and node.func.attr in known.VIEWS:
                return self._union([node.func.value, *node.args])
            return set()
        if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
            return self._union(node.elts)
        if isinstance(node, ast.Dict):
            return self._union(node.values)
        if isinstance(node, ast.IfExp):
            return self._union([node.body, node.orelse])
        if isinstance(node, ast.BoolOp):
            return self._union(node.values)
        if isinstance(node, ast.BinOp) and isinstance(node.op, SHARING_OPERATORS):
            return self._union([node.left, node.right])
        if isinstance(node, COMPREHENSIONS):
            # Elements come from what is iterated over, or from names around (`[[x, a] for x in b]`).
            elements = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
            targets = {name for generator in node.generators for name in target_names(generator.target)}
            return self._union([*(generator.iter for generator in node.generators), *elements]) - targets
        return set()

    def _union(self, nodes: Iterable[ast.AST]) -> set[str]:
        found: set[str] = set()
        for node in nodes:
            found |= self.roots(node)
        return found

    # --- statements --------------------------------------------------------------------------------------------
