"""Expressions: what becomes of each value in them."""

from __future__ import annotations

import ast

from cellway.analysis import known, texts
from cellway.analysis.shapes import (
    dotted_name,
    is_number,
    is_plain,
    parameter_names,
    parts,
    passes,
    target_names,
)
from cellway.analysis.tracking import COMPREHENSIONS, SHARING_OPERATORS, Comprehension, Found, Tracking
from cellway.records import Call

MAGIC = "__magic__"
_DYNAMIC = frozenset(
    "exec eval globals locals vars __import__ import_module run_cell run_line_magic run_cell_magic run_cell_async ex "
    "push".split()
)
"""Last words of the calls that :meth:`Expressions._dynamic` tells apart."""


class Expressions(Tracking):
    """Walks over expressions; the names that they bind, read and change are tracked."""

    # --- targets -----------------------------------------------------------------------------------------------

    def _bind_target(self, target: ast.expr, roots: set[str]) -> None:
        if isinstance(target, ast.Name):
            # ``x = [x, y]`` keeps what x was: its own roots stay roots.
            self.bind(target.id, {r for root in roots for r in self._closure(root)} - {target.id})
        elif isinstance(target, (ast.Tuple, ast.List)):
            for element in target.elts:
                self._bind_target(element, roots)
        elif isinstance(target, ast.Starred):
            self._bind_target(target.value, roots)
        else:
            self._change_target(target)

    def _change_target(self, target: ast.expr) -> None:
        """``x[...] = …``, ``x.a = …``, ``del x[...]``."""
        if not isinstance(target, (ast.Attribute, ast.Subscript)):
            return
        if isinstance(target, ast.Subscript):
            self.look(target.slice)
        self.look(target.value)
        for root in self.roots(target.value):
            self.change(root, target.lineno)
        dotted = dotted_name(target)
        kind = known.ambient_target(dotted) if dotted else None
        self.found.ambient[kind or "attribute"] = None

    # --- functions that are called later --------------------------------------------------------------------------

    def _defaults(self, arguments: ast.arguments) -> None:
        for default in (*arguments.defaults, *arguments.kw_defaults):
            if default is not None:
                self.keep(default)

    def _defer(self, name: str, line: int) -> None:
        if not self._is_hidden(name) and (self._local is None or name not in self._local):
            self.found.deferred.setdefault(name, line)

    def _absorb(self, inner: Found, *, effects: bool = True) -> None:
        """Take over what a nested scope says of the process, and (for code that runs now) of names."""
        self.found.modules.update(inner.modules)
        for name, line in inner.mentions.items():
            self._mention(name, line)
        if "seed" in inner.ambient:
            self.found.ambient["seed-later"] = None
        if not self.found.opaque:
            self.found.opaque = inner.opaque
        if effects:
            self.found.ambient.update(inner.ambient)
            for name, line in inner.changes.items():
                self.change(name, line)
            self._note(self.found.may_change, inner.may_change, 0)
            self.found.calls.extend(inner.calls)

    def _lambda(self, node: ast.Lambda) -> None:
        """A lambda handed to something may be called right away: what it reads is read now as well."""
        self._defaults(node.args)
        parameters = {p.lstrip("*") for p in parameter_names(node.args)}
        inner = type(self)(self._magics, self._impure, frozenset(parameters))
        inner.bound |= parameters
        inner.look(node.body)
        for name, line in (*inner.found.reads.items(), *inner.found.deferred.items()):
            if name not in parameters:
                self.load(name, line, keep=False)
                self._defer(name, line)
        for name, line in (*inner.found.changes.items(), *inner.found.may_change.items()):
            if name not in parameters:
                self._note(self.found.may_change, self._closure(name), line)
        self.found.calls.extend(inner.found.calls)
        self._absorb(inner.found, effects=False)

    # --- expressions -------------------------------------------------------------------------------------------

    def look(self, node: ast.expr) -> None:
        """The value is only looked at."""
        self.visit(node, keep=False)

    def keep(self, node: ast.expr) -> None:
        """The value is kept or handed on: it may be changed."""
        self.visit(node, keep=True)

    def visit(self, node: ast.expr, keep: bool) -> None:
        """Walk over an expression whose value is kept or only looked at."""
        if isinstance(node, ast.Name):
            if keep or self._hidden:
                self.load(node.id, node.lineno, keep)
            elif node.id not in self.bound:
                self.found.reads.setdefault(node.id, node.lineno)
        elif isinstance(node, ast.Constant):
            if type(node.value) is str and len(node.value) > 3:
                self._text(node.value, node.lineno)
        elif isinstance(node, ast.Call):
            self._call(node, keep)
        elif isinstance(node, ast.Attribute):
            self.visit(node.value, keep)
        elif isinstance(node, ast.Subscript):
            self.visit(node.value, keep)
            self.look(node.slice)
        elif isinstance(node, ast.Lambda):
            self._lambda(node)
        elif isinstance(node, COMPREHENSIONS):
            self._comprehension(node, keep)
        elif isinstance(node, ast.NamedExpr):
            self.visit(node.value, keep=keep or not is_plain(node.value))
            self._bind_walrus(node)
        elif isinstance(node, ast.BinOp):
            shares = keep and isinstance(node.op, SHARING_OPERATORS) and not is_number(node.left, node.right)
            self.visit(node.left, shares)
            self.visit(node.right, shares)
        elif isinstance(node, ast.IfExp):
            self.look(node.test)
            self.visit(node.body, keep)
            self.visit(node.orelse, keep)
        elif isinstance(node, ast.JoinedStr):
            self._text("".join(str(p.value) if isinstance(p, ast.Constant) else "_" for p in node.values), node.lineno)
            for part in node.values:
                if isinstance(part, ast.FormattedValue):
                    self.visit(part.value, keep=False)
                    if part.format_spec is not None:
                        self.visit(part.format_spec, keep=False)
        elif isinstance(node, (ast.Compare, ast.UnaryOp)):
            for child in parts(node):
                if isinstance(child, ast.expr):
                    self.visit(child, keep=False)
        elif isinstance(node, (ast.Yield, ast.YieldFrom, ast.Await)):
            if node.value is not None:
                self.keep(node.value)
        else:
            for child in parts(node):
                if isinstance(child, ast.expr):
                    self.visit(child, keep)

    def _text(self, text: str, line: int) -> None:
        for name in texts.names(text):
            self._mention(name, line)

    def _mention(self, name: str, line: int) -> None:
        if self._local is None or name not in self._local:
            self.found.mentions.setdefault(name, line)

    def _bind_walrus(self, node: ast.NamedExpr) -> None:
        # In a comprehension the target belongs to the scope around it.
        hidden, self._hidden = self._hidden, []
        self.bind(node.target.id, self.roots(node.value))
        self._hidden = hidden

    def _comprehension(self, node: Comprehension, keep: bool) -> None:
        names: set[str] = set()
        saved = dict(self._roots)
        for number, generator in enumerate(node.generators):
            if number == 0:
                self.look(generator.iter)
                roots = {r for root in self.roots(generator.iter) for r in self._closure(root)}
                self._hidden.append(names)
            else:
                self.look(generator.iter)
                roots = {r for root in self.roots(generator.iter) for r in self._closure(root)}
            names.update(target_names(generator.target))
            self._bind_target(generator.target, roots - names)
            for condition in generator.ifs:
                self.look(condition)
        elements = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        for element in elements:
            self.visit(element, keep)
        self._hidden.pop()
        for name in names:
            self._roots.pop(name, None)
        self._roots = {**saved, **{n: r for n, r in self._roots.items() if n not in names}}

    def _call(self, node: ast.Call, keep: bool) -> None:
        if isinstance(node.func, ast.Name):
            self._call_name(node, node.func.id, keep)
        elif isinstance(node.func, ast.Attribute):
            self._call_method(node, node.func, keep)
        else:
            self.keep(node.func)
            self._hand_over(node, keep=True)
            # ``{"a": f, "b": g}[kind](x)`` calls f or g.
            arguments = self._argument_roots(node)
            self.found.calls += [Call(root, node.lineno, arguments) for root in sorted(self.roots(node.func))]

    def _call_name(self, node: ast.Call, name: str, keep: bool) -> None:
        if name == MAGIC and isinstance(node.args[0], ast.Constant):
            self._magic(node.args[0])
            return
        self.load(name, node.lineno, keep=False)
        self._ambient(name)
        if name in self._hides_builtin():
            self._hand_over(node, keep=True)
        elif passes(name, node):
            self._hand_over(node, keep=keep or name in {"map", "filter", "partial"})
        elif name in known.PURE_FUNCTIONS:
            self._hand_over(node, keep=False)
        elif name in known.ARGUMENT_MUTATORS and node.args:
            self._hand_over(node, keep=True)
            for root in self.roots(node.args[0]):
                self.change(root, node.lineno)
        else:
            self._dynamic(name, node)
            self._hand_over(node, keep=True)
        arguments = self._argument_roots(node)
        if arguments or name not in known.BUILTINS:
            self.found.calls.append(Call(name, node.lineno, arguments))

    def _hides_builtin(self) -> set[str]:
        return self.bound

    def _call_method(self, node: ast.Call, method: ast.Attribute, keep: bool) -> None:
        dotted = dotted_name(method)
        name = method.attr
        if dotted:
            self._ambient(dotted)
        self._dynamic(dotted or f".{name}", node)
        in_place = bool(node.keywords) and any(
            k.arg == "inplace" and isinstance(k.value, ast.Constant) and k.value.value is True for k in node.keywords
        )
        if dotted in texts.EVALUATING and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                for word in texts.words(first.value):
                    self._mention(word, node.lineno)
        if name in known.ARGUMENT_MUTATORS and node.args:
            self.keep(method.value)
            self._hand_over(node, keep=True)
            for root in self.roots(node.args[0]):
                self.change(root, node.lineno)
        elif in_place or name in known.MUTATORS:
            self.look(method.value)
            self._hand_over(node, keep=True)
            for root in self.roots(method.value):
                self.change(root, node.lineno)
        elif name in known.FRESH and name not in self._impure:
            self.look(method.value)
            self._hand_over(node, keep=False)
        elif name in known.VIEWS and name not in self._impure:
            self.visit(method.value, keep)
            self._hand_over(node, keep=keep)
        else:
            self.keep(method.value)
            self._hand_over(node, keep=True)
        for keyword in node.keywords:
            if keyword.arg in {"out", "ax_"}:
                for root in self.roots(keyword.value):
                    self.change(root, node.lineno)

    def _hand_over(self, node: ast.Call, keep: bool) -> None:
        for argument in [*node.args, *[keyword.value for keyword in node.keywords]]:
            if keep and isinstance(argument, ast.Lambda):
                # ``apply(lambda row: f(row, k))``: the lambda's free names are not its caller's to change.
                self._lambda(argument)
            else:
                self.visit(argument, keep)
            if keep and isinstance(argument, ast.Name):
                # A function handed over (``map(f, x)``, ``df.apply(f)``) is called by whoever gets it.
                self.found.calls.append(Call(argument.id, node.lineno))

    def _argument_roots(self, node: ast.Call) -> tuple[tuple[str, str], ...]:
        found: list[tuple[str, str]] = []
        if not node.args and not node.keywords:
            return ()
        slots = [(str(i), a) for i, a in enumerate(node.args)] + [(k.arg, k.value) for k in node.keywords if k.arg]
        for slot, argument in slots:
            if isinstance(argument, ast.Constant):
                continue
            if isinstance(argument, ast.Name) and not self._roots.get(argument.id):
                if not self._is_hidden(argument.id):
                    found.append((slot, argument.id))
                continue
            for root in sorted(self.roots(argument)):
                found += [(slot, name) for name in sorted(self._closure(root)) if not self._is_hidden(name)]
        return tuple(found)

    def _ambient(self, dotted: str) -> None:
        kind = known.ambient_call(dotted)
        if kind is not None:
            self.found.ambient[kind] = None

    def _dynamic(self, dotted: str, node: ast.Call) -> None:
        """Code that reads or binds names out of sight of the analysis."""
        last = dotted.rpartition(".")[2]
        if last not in _DYNAMIC:
            return
        literal = bool(node.args) and isinstance(node.args[0], ast.Constant)
        if dotted in {"exec", "eval", "compile"} and dotted != "compile":
            self.found.opaque = self.found.opaque or f"`{dotted}` runs code that is known only when it runs"
        elif dotted in {"globals", "locals"} or (dotted == "vars" and not node.args):
            self.found.opaque = self.found.opaque or f"`{dotted}()` reaches every name"
        elif dotted == "__import__" or last == "import_module":
            argument = node.args[0] if node.args else None
            if literal and isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                self.found.modules[argument.value] = None
            else:
                self.found.modules["*"] = None
        elif last in {"run_cell", "run_line_magic", "run_cell_magic", "run_cell_async", "ex", "push"} and (
            "get_ipython" in ast.dump(node.func)
        ):
            self.found.opaque = self.found.opaque or f"`{last}` runs code that is known only when it runs"

    def _magic(self, index: ast.Constant) -> None:
        magic = self._magics[int(str(index.value))] if isinstance(index.value, int) else None
        if magic is None:
            return
        for name in magic.reads:
            self.load(name, magic.line, keep=not magic.pure)
        for name in magic.binds:
            self.bind(name)
        self.found.ambient.update(dict.fromkeys(magic.ambient))
        self.found.opaque = self.found.opaque or magic.opaque
