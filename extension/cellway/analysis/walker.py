"""One walk over a statement: names bound, read, changed, possibly changed, handed to calls.

The walk follows the flow of control as far as it decides what is bound on every path, and keeps for each name the names
whose object it may be (part of): a change of ``d`` in ``for d in [a, b]`` is a change of ``a`` and ``b``.

A value is *kept* where something could change it later or elsewhere: assigned, put into a container, handed to an
unknown function. Everything kept may be changed; what is only looked at (compared, added up, printed) is not.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence

from cellway.analysis import known
from cellway.analysis.ipython import Magic
from cellway.records import Call, Function

MAGIC = "__magic__"
_Functions = (ast.FunctionDef, ast.AsyncFunctionDef)
_Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_DYNAMIC = frozenset(
    "exec eval globals locals vars __import__ import_module run_cell run_line_magic run_cell_magic run_cell_async ex "
    "push".split()
)
"""Last words of the calls that :meth:`Walker._dynamic` tells apart."""
_SHARING_OPERATORS = (ast.Add, ast.Mult, ast.BitOr)


class Found:
    """What the walk found; names map to the first line. One for each statement and function, hence no dataclass."""

    __slots__ = (
        "aliases", "ambient", "calls", "changes", "deferred", "deletes", "global_names", "may_change", "modules",
        "opaque", "reads",
    )  # fmt: skip

    def __init__(self) -> None:
        self.reads: dict[str, int] = {}
        self.deferred: dict[str, int] = {}
        self.changes: dict[str, int] = {}
        self.may_change: dict[str, int] = {}
        self.deletes: dict[str, None] = {}
        self.aliases: dict[tuple[str, str], None] = {}
        self.calls: list[Call] = []
        self.modules: dict[str, None] = {}
        self.ambient: dict[str, None] = {}
        self.global_names: set[str] = set()
        self.opaque = ""


class Walker:
    """Walks over statements of one scope.

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
        if node is None or isinstance(node, ast.Constant):
            return set()
        if isinstance(node, (ast.Attribute, ast.Subscript, ast.Starred, ast.Await, ast.NamedExpr)):
            return self.roots(node.value)
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and _passes(node.func.id, node):
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
        if isinstance(node, ast.BinOp) and isinstance(node.op, _SHARING_OPERATORS):
            return self._union([node.left, node.right])
        if isinstance(node, _COMPREHENSIONS):
            # Elements come from what is iterated over, or from names around (`[[x, a] for x in b]`).
            elements = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
            targets = {name for generator in node.generators for name in _target_names(generator.target)}
            return self._union([*(generator.iter for generator in node.generators), *elements]) - targets
        return set()

    def _union(self, nodes: Iterable[ast.AST]) -> set[str]:
        found: set[str] = set()
        for node in nodes:
            found |= self.roots(node)
        return found

    # --- statements --------------------------------------------------------------------------------------------

    def walk(self, statements: Iterable[ast.stmt]) -> bool:
        """Walk over statements; ``True`` if control never leaves their end."""
        ended = False
        for statement in statements:
            ended = self._statement(statement) or ended
        return ended

    def _statement(self, node: ast.stmt) -> bool:
        method = getattr(self, f"_walk_{type(node).__name__}", None)
        if method is not None:
            return bool(method(node))
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self.look(child)
        return isinstance(node, (ast.Break, ast.Continue))

    def _walk_Expr(self, node: ast.Expr) -> None:
        self.look(node.value)

    def _walk_Return(self, node: ast.Return) -> bool:
        if node.value is not None:
            self.keep(node.value)
        return True

    def _walk_Raise(self, node: ast.Raise) -> bool:
        for child in (node.exc, node.cause):
            if child is not None:
                self.keep(child)
        return True

    def _walk_Assign(self, node: ast.Assign) -> None:
        self._assign(node.targets, node.value)

    def _walk_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.look(node.annotation)
        if node.value is not None:
            self._assign([node.target], node.value)

    def _walk_AugAssign(self, node: ast.AugAssign) -> None:
        # The target is read before the value: `x[i] += (x := y)` reads the x from before.
        if isinstance(node.target, ast.Name):
            name = node.target.id
            self.load(name, node.lineno, keep=False)
            self.visit(node.value, isinstance(node.op, _SHARING_OPERATORS))
            self.change(name, node.lineno)
            self._bind_target(node.target, self._roots.get(name, set()))
        else:
            self._change_target(node.target)
            self.visit(node.value, isinstance(node.op, _SHARING_OPERATORS))

    def _assign(self, targets: Sequence[ast.expr], value: ast.expr) -> None:
        if (
            isinstance(value, ast.Lambda)
            and len(targets) == 1
            and isinstance(targets[0], ast.Name)
            and self._local is None
        ):
            self._defaults(value.args)
            self._function(targets[0].id, value.args, [ast.Expr(value.body)])
            self.bind(targets[0].id)
            return
        plain = _is_plain(value)
        self.visit(value, keep=not plain)
        roots = self.roots(value) if plain else set()
        for target in targets:
            pairs = _pairs(target, value) if plain else []
            for one, part in pairs:
                self._bind_target(one, self.roots(part))
            if pairs:
                continue
            self._bind_target(target, roots)
            if plain and not isinstance(target, ast.Name):
                self.visit(value, keep=True)

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

    def _walk_Delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            for part in target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]:
                if isinstance(part, ast.Name):
                    if part.id not in self.bound:
                        self.found.reads.setdefault(part.id, part.lineno)
                    self.bound.discard(part.id)
                    self.maybe.pop(part.id, None)
                    self.found.deletes[part.id] = None
                else:
                    self._change_target(part)

    def _walk_If(self, node: ast.If) -> bool:
        self.look(node.test)
        return self._branches([node.body, node.orelse])

    def _walk_For(self, node: ast.For | ast.AsyncFor) -> None:
        self.look(node.iter)
        before = set(self.bound)
        self._bind_target(node.target, self.roots(node.iter))
        self.walk(node.body)
        self._only_maybe(before)
        self.walk(node.orelse)
        self._only_maybe(before)

    _walk_AsyncFor = _walk_For

    def _walk_While(self, node: ast.While) -> None:
        self.look(node.test)
        before = set(self.bound)
        self.walk(node.body)
        if not (isinstance(node.test, ast.Constant) and node.test.value):
            self._only_maybe(before)
        before = set(self.bound)
        self.walk(node.orelse)
        self._only_maybe(before)

    def _walk_With(self, node: ast.With | ast.AsyncWith) -> bool:
        before = set(self.bound)
        for item in node.items:
            self.keep(item.context_expr)
            if item.optional_vars is not None:
                self._bind_target(item.optional_vars, self.roots(item.context_expr))
        ended = self.walk(node.body)
        if any("suppress" in ast.dump(item.context_expr) for item in node.items):
            self._only_maybe(before)
            return False
        return ended

    _walk_AsyncWith = _walk_With

    def _walk_Try(self, node: ast.Try) -> bool:
        before = set(self.bound)
        ended = self.walk([*node.body, *node.orelse])
        after = [] if ended else [set(self.bound)]
        everything = set(self.bound)
        for handler in node.handlers:
            self.bound = set(before)
            if handler.type is not None:
                self.look(handler.type)
            if handler.name:
                self._hidden.append({handler.name})
            stopped = self.walk(handler.body)
            if handler.name:
                self._hidden.pop()
            everything |= self.bound
            if not stopped:
                after.append(set(self.bound))
        self.bound = set.intersection(*after) if after else everything
        self.maybe.update(dict.fromkeys(sorted(everything - self.bound)))
        return self.walk(node.finalbody) or not after

    _walk_TryStar = _walk_Try

    def _walk_Match(self, node: ast.Match) -> bool:
        self.visit(node.subject, keep=True)
        roots = self.roots(node.subject)
        before = set(self.bound)
        after, everything, total = [], set(before), False
        for case in node.cases:
            self.bound = set(before)
            for name in _pattern_names(case.pattern):
                self.bind(name, roots)
            for value in ast.walk(case.pattern):
                if isinstance(value, ast.expr):
                    self.look(value)
            if case.guard is not None:
                self.look(case.guard)
            total = total or (case.guard is None and _is_irrefutable(case.pattern))
            if not self.walk(case.body):
                after.append(set(self.bound))
            everything |= self.bound
        if not total:
            after.append(before)
        self.bound = set.intersection(*after) if after else everything
        self.maybe.update(dict.fromkeys(sorted(everything - self.bound)))
        return total and not after

    def _branches(self, bodies: Sequence[Sequence[ast.stmt]]) -> bool:
        before = set(self.bound)
        after, everything = [], set(before)
        for body in bodies:
            self.bound = set(before)
            if not self.walk(body):
                after.append(set(self.bound))
            everything |= self.bound
        self.bound = set.intersection(*after) if after else everything
        self.maybe.update(dict.fromkeys(sorted(everything - self.bound)))
        return not after

    def _only_maybe(self, before: set[str]) -> None:
        self.maybe.update(dict.fromkeys(sorted(self.bound - before)))
        self.bound &= before

    def _walk_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.found.modules[alias.name] = None
            self.bind(alias.asname or alias.name.split(".")[0])

    def _walk_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = "." * node.level + (node.module or "")
        self.found.modules[base] = None
        for alias in node.names:
            if alias.name == "*":
                self.found.opaque = f"`from {base} import *` binds names that cannot be known"
                continue
            # The name may be a submodule; planning drops what is none.
            self.found.modules[f"{base}{'' if base.endswith('.') else '.'}{alias.name}"] = None
            self.bind(alias.asname or alias.name)

    def _walk_Global(self, node: ast.Global) -> None:
        self.found.global_names.update(node.names)

    def _walk_Nonlocal(self, node: ast.Nonlocal) -> None:
        """The name stays the enclosing function's."""

    def _walk_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._decorators(node)
        self._defaults(node.args)
        for argument in _arguments(node.args):
            if argument.annotation is not None:
                self.look(argument.annotation)
        if node.returns is not None:
            self.look(node.returns)
        self._function(node.name, node.args, node.body)
        self.bind(node.name)

    _walk_AsyncFunctionDef = _walk_FunctionDef

    def _walk_ClassDef(self, node: ast.ClassDef) -> None:
        for value in (*node.bases, *(keyword.value for keyword in node.keywords)):
            self.keep(value)
        self._decorators(node)
        inner = Walker(self._magics, self._impure, frozenset())
        methods = []
        for statement in node.body:
            if isinstance(statement, _Functions):
                for decorator in statement.decorator_list:
                    inner.keep(decorator)
                inner._defaults(statement.args)
                methods.append(statement)
                inner.bind(statement.name)
            else:
                inner.walk([statement])
        for name, line in inner.found.reads.items():
            self.load(name, line, keep=False)
        for name, line in inner.found.deferred.items():
            self._defer(name, line)
        self._absorb(inner.found)
        held = {root for name in inner.bound for root in inner._closure(name)} - inner.bound
        for root in held:  # `class K: items = a`: what a method does to `self.items`, it does to `a`
            self._note(self.found.may_change, self._closure(root), node.lineno)
        summaries = [self._function(method.name, method.args, method.body, keep=False) for method in methods]
        start = next((m for m in methods if m.name == "__init__"), None)
        parameters = _parameter_names(start.args)[1:] if start is not None else ()
        init = next((s for s in summaries if s.name == "__init__"), None)
        self.functions.append(
            Function(
                name=node.name,
                parameters=parameters,
                changes=tuple(n for n in init.changes if n in parameters) if init else (),
                reads=_joined(s.reads for s in summaries),
                global_binds=_joined(s.global_binds for s in summaries),
                global_changes=_joined(s.global_changes for s in summaries),
                global_may_change=_joined(s.global_may_change for s in summaries),
                calls=tuple(call for s in summaries for call in s.calls),
            )
        )
        self.bind(node.name, held)

    def _walk_TypeAlias(self, node: ast.stmt) -> None:
        name = getattr(node, "name", None)
        if isinstance(name, ast.Name):
            self.bind(name.id)

    def _decorators(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        for decorator in node.decorator_list:
            self.keep(decorator)
            if isinstance(decorator, ast.Name):
                # ``@register`` is a call: it may enter the function into a table.
                self.found.calls.append(Call(decorator.id, decorator.lineno))

    # --- functions ---------------------------------------------------------------------------------------------

    def _defaults(self, arguments: ast.arguments) -> None:
        for default in (*arguments.defaults, *arguments.kw_defaults):
            if default is not None:
                self.keep(default)

    def _function(
        self, name: str, arguments: ast.arguments, body: Sequence[ast.stmt], *, keep: bool = True
    ) -> Function:
        """Summary of a function; what its body reads is deferred."""
        parameters = _parameter_names(arguments)
        plain = {parameter.lstrip("*") for parameter in parameters}
        nodes = _own_nodes(body)
        scopes = [node for node in nodes if isinstance(node, (ast.Global, ast.Nonlocal))]
        declared = {name for node in scopes if isinstance(node, ast.Global) for name in node.names}
        nonlocals = {name for node in scopes if isinstance(node, ast.Nonlocal) for name in node.names}
        local = frozenset((_bindings(nodes) | plain) - declared - nonlocals)
        inner = Walker(self._magics, self._impure, local)
        inner.bound |= plain
        inner.walk(body)
        found = inner.found
        nested = {n for f in inner.functions for n in (*f.global_changes, *f.global_may_change, *f.global_binds)}
        free = {n: line for n, line in (*found.reads.items(), *found.deferred.items()) if n not in local}
        changed = set(found.changes)
        function = Function(
            name=name,
            parameters=parameters,
            changes=tuple(sorted(changed & plain)),
            reads=tuple(sorted(free)),
            global_binds=tuple(sorted(declared & (inner.bound | set(inner.maybe) | set(found.deletes)))),
            global_changes=tuple(sorted(changed - local)),
            global_may_change=tuple(sorted((set(found.may_change) | nested) - local - changed)),
            calls=tuple(_outward(call, plain, local) for call in found.calls),
            stateful=_state(name, arguments, changed | set(found.may_change)),
        )
        for free_name, line in free.items():
            self._defer(free_name, line)
        self._absorb(found, effects=False)
        if keep:
            self.functions.append(function)
        return function

    def _defer(self, name: str, line: int) -> None:
        if not self._is_hidden(name) and (self._local is None or name not in self._local):
            self.found.deferred.setdefault(name, line)

    def _absorb(self, inner: Found, *, effects: bool = True) -> None:
        """Take over what a nested scope says of the process, and (for code that runs now) of names."""
        self.found.modules.update(inner.modules)
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
        parameters = {p.lstrip("*") for p in _parameter_names(node.args)}
        inner = Walker(self._magics, self._impure, frozenset(parameters))
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
            return
        elif isinstance(node, ast.Call):
            self._call(node, keep)
        elif isinstance(node, ast.Attribute):
            self.visit(node.value, keep)
        elif isinstance(node, ast.Subscript):
            self.visit(node.value, keep)
            self.look(node.slice)
        elif isinstance(node, ast.Lambda):
            self._lambda(node)
        elif isinstance(node, _COMPREHENSIONS):
            self._comprehension(node, keep)
        elif isinstance(node, ast.NamedExpr):
            self.visit(node.value, keep=keep or not _is_plain(node.value))
            self._bind_walrus(node)
        elif isinstance(node, ast.BinOp):
            shares = keep and isinstance(node.op, _SHARING_OPERATORS) and not _is_number(node.left, node.right)
            self.visit(node.left, shares)
            self.visit(node.right, shares)
        elif isinstance(node, ast.IfExp):
            self.look(node.test)
            self.visit(node.body, keep)
            self.visit(node.orelse, keep)
        elif isinstance(node, (ast.Compare, ast.UnaryOp, ast.JoinedStr, ast.FormattedValue)):
            for child in _parts(node):
                if isinstance(child, ast.expr):
                    self.visit(child, keep=False)
        elif isinstance(node, (ast.Yield, ast.YieldFrom, ast.Await)):
            if node.value is not None:
                self.keep(node.value)
        else:
            for child in _parts(node):
                if isinstance(child, ast.expr):
                    self.visit(child, keep)

    def _bind_walrus(self, node: ast.NamedExpr) -> None:
        # In a comprehension the target belongs to the scope around it.
        hidden, self._hidden = self._hidden, []
        self.bind(node.target.id, self.roots(node.value))
        self._hidden = hidden

    def _comprehension(self, node: _Comprehension, keep: bool) -> None:
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
            names.update(_target_names(generator.target))
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
        elif _passes(name, node):
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


_FIELDS: dict[type, tuple[str, ...]] = {}
_NO_PARTS = frozenset({"ctx", "op", "ops", "id", "kind", "type_comment"})
"""Fields of nodes in which there is neither an expression nor a statement."""


def _parts(node: ast.AST) -> list[ast.AST]:
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


def _is_plain(node: ast.expr) -> bool:
    """A value that only gives existing objects another name: names, displays of names, choices among them."""
    if isinstance(node, ast.Call):
        return False
    if isinstance(node, (ast.Name, ast.Constant)):
        return True
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        return all(map(_is_plain, node.elts))
    if isinstance(node, ast.Dict):
        return all(key is None or isinstance(key, ast.Constant) for key in node.keys) and all(
            map(_is_plain, node.values)
        )
    if isinstance(node, ast.IfExp):
        return _is_plain(node.body) and _is_plain(node.orelse)
    if isinstance(node, ast.BoolOp):
        return all(map(_is_plain, node.values))
    return False


def _passes(name: str, node: ast.Call) -> bool:
    """Whether what a builtin returns may hold (parts of) its arguments; ``sum`` does where it joins lists."""
    return name in known.PASSING_FUNCTIONS or (name == "sum" and len(node.args) + len(node.keywords) > 1)


def _pairs(target: ast.expr, value: ast.expr) -> list[tuple[ast.expr, ast.expr]]:
    """``a, b = x, y`` taken apart; empty if it is not of that form."""
    if not isinstance(target, (ast.Tuple, ast.List)) or not isinstance(value, (ast.Tuple, ast.List)):
        return []
    if len(target.elts) != len(value.elts) or any(isinstance(element, ast.Starred) for element in target.elts):
        return []
    return list(zip(target.elts, value.elts, strict=True))


def _is_number(*nodes: ast.expr) -> bool:
    return any(isinstance(node, ast.Constant) and isinstance(node.value, (float, complex)) for node in nodes)


def _arguments(arguments: ast.arguments) -> Iterator[ast.arg]:
    yield from (*arguments.posonlyargs, *arguments.args)
    if arguments.vararg:
        yield arguments.vararg
    yield from arguments.kwonlyargs
    if arguments.kwarg:
        yield arguments.kwarg


def _parameter_names(arguments: ast.arguments) -> tuple[str, ...]:
    names = [a.arg for a in (*arguments.posonlyargs, *arguments.args)]
    if arguments.vararg:
        names.append(f"*{arguments.vararg.arg}")
    names += [a.arg for a in arguments.kwonlyargs]
    if arguments.kwarg:
        names.append(f"**{arguments.kwarg.arg}")
    return tuple(names)


def _state(name: str, arguments: ast.arguments, touched: set[str]) -> str:
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


def _outward(call: Call, parameters: set[str], local: frozenset[str]) -> Call:
    """A call in a function's body with those arguments that mean something outside: parameters and free names."""
    arguments = tuple((slot, name) for slot, name in call.arguments if name in parameters or name not in local)
    return Call(call.function, call.line, arguments)


_CLOSED = (ast.Name, ast.Constant, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.expr_context)
_NAMED = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler, ast.MatchAs, ast.MatchStar,
)  # fmt: skip


_BINDING = (*_NAMED, ast.alias, ast.MatchMapping)


def _own_nodes(body: Sequence[ast.stmt]) -> list[ast.AST]:
    """Statements and their parts, without nested functions and classes, and without targets of comprehensions."""
    found: list[ast.AST] = []
    waiting: list[ast.AST] = list(body)
    while waiting:
        node = waiting.pop()
        found.append(node)
        if isinstance(node, _CLOSED):
            continue
        for child in _parts(node):
            if isinstance(child, ast.comprehension):
                waiting += (child.iter, *child.ifs)
            else:
                waiting.append(child)
    return found


def _bindings(nodes: Iterable[ast.AST]) -> set[str]:
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


def _pattern_names(pattern: ast.pattern) -> Iterator[str]:
    for node in ast.walk(pattern):
        if isinstance(node, (ast.MatchAs, ast.MatchStar)) and node.name:
            yield node.name
        elif isinstance(node, ast.MatchMapping) and node.rest:
            yield node.rest


def _is_irrefutable(pattern: ast.pattern) -> bool:
    return isinstance(pattern, ast.MatchAs) and (pattern.pattern is None or _is_irrefutable(pattern.pattern))


def _target_names(target: ast.expr) -> Iterator[str]:
    for node in [target] if isinstance(target, ast.Name) else ast.walk(target):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _joined(groups: Iterable[Iterable[str]]) -> tuple[str, ...]:
    return tuple(sorted({name for group in groups for name in group}))
