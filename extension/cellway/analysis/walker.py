"""One walk over a statement: names bound, read, changed, possibly changed, handed to calls.

The walk follows the flow of control as far as it decides what is bound on every path, and keeps for each name the names
whose object it may be (part of): a change of ``d`` in ``for d in [a, b]`` is a change of ``a`` and ``b``.

A value is *kept* where something could change it later or elsewhere: assigned, put into a container, handed to an
unknown function. Everything kept may be changed; what is only looked at (compared, added up, printed) is not.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence

from cellway.analysis.expressions import Expressions
from cellway.analysis.shapes import (
    FUNCTIONS,
    all_arguments,
    bindings,
    class_state,
    is_irrefutable,
    is_plain,
    joined,
    outward,
    own_nodes,
    pairs,
    parameter_names,
    pattern_names,
    state,
)
from cellway.analysis.tracking import SHARING_OPERATORS
from cellway.records import Call, Function


class Walker(Expressions):
    """Walks over statements of one scope."""

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
            self.visit(node.value, isinstance(node.op, SHARING_OPERATORS))
            self.change(name, node.lineno)
            self._bind_target(node.target, self._roots.get(name, set()))
        else:
            self._change_target(node.target)
            self.visit(node.value, isinstance(node.op, SHARING_OPERATORS))

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
        plain = is_plain(value)
        self.visit(value, keep=not plain)
        roots = self.roots(value) if plain else set()
        for target in targets:
            taken_apart = pairs(target, value) if plain else []
            for one, part in taken_apart:
                self._bind_target(one, self.roots(part))
            if taken_apart:
                continue
            self._bind_target(target, roots)
            if plain and not isinstance(target, ast.Name):
                self.visit(value, keep=True)

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
            for name in pattern_names(case.pattern):
                self.bind(name, roots)
            for value in ast.walk(case.pattern):
                if isinstance(value, ast.expr):
                    self.look(value)
            if case.guard is not None:
                self.look(case.guard)
            total = total or (case.guard is None and is_irrefutable(case.pattern))
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
        for argument in all_arguments(node.args):
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
            if isinstance(statement, FUNCTIONS):
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
        parameters = parameter_names(start.args)[1:] if start is not None else ()
        init = next((s for s in summaries if s.name == "__init__"), None)
        self.functions.append(
            Function(
                name=node.name,
                parameters=parameters,
                changes=tuple(n for n in init.changes if n in parameters) if init else (),
                reads=joined(s.reads for s in summaries),
                global_binds=joined(s.global_binds for s in summaries),
                global_changes=joined(s.global_changes for s in summaries),
                global_may_change=joined(s.global_may_change for s in summaries),
                calls=tuple(call for s in summaries for call in s.calls),
                stateful=class_state(node),
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

    def _function(
        self, name: str, arguments: ast.arguments, body: Sequence[ast.stmt], *, keep: bool = True
    ) -> Function:
        """Summary of a function; what its body reads is deferred."""
        parameters = parameter_names(arguments)
        plain = {parameter.lstrip("*") for parameter in parameters}
        nodes = own_nodes(body)
        scopes = [node for node in nodes if isinstance(node, (ast.Global, ast.Nonlocal))]
        declared = {name for node in scopes if isinstance(node, ast.Global) for name in node.names}
        nonlocals = {name for node in scopes if isinstance(node, ast.Nonlocal) for name in node.names}
        local = frozenset((bindings(nodes) | plain) - declared - nonlocals)
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
            calls=tuple(outward(call, plain, local) for call in found.calls),
            stateful=state(name, arguments, changed | set(found.may_change)),
        )
        for free_name, line in free.items():
            self._defer(free_name, line)
        self._absorb(found, effects=False)
        if keep:
            self.functions.append(function)
        return function
