"""Second pass: one step with what it carries, takes, changes and gives."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterator, Mapping

from cellway.pipeline import effects
from cellway.pipeline.scope import Binding, Origin, Piece, Position, is_ambient_name, is_history_name
from cellway.pipeline.timeline import Timeline
from cellway.records import Cell, Code, Diagnostic, Role, StatementKind, Step

_CLASS_FACTORY = re.compile(r"\b(namedtuple|NamedTuple|Enum|IntEnum|StrEnum|Flag|make_dataclass|NewType|type)\s*\(")


class Assembly:
    """Collects, statement by statement, what one step needs and does.

    A name that the step has not bound itself is looked up in the notebook above the statement that reads it: the
    nearest
    binding there decides whether it is an input, a parameter, or a symbol to carry.
    """

    def __init__(self, name: str, timeline: Timeline, earlier: Mapping[str, Assembly]) -> None:
        self.name = name
        self.timeline = timeline
        self.earlier = earlier
        self.pieces = timeline.pieces[name]
        self.cells = timeline.cells[name]
        self.first: Position = (self.cells[0].index, 0)
        self.options = self.cells[0].options
        self.inputs: dict[str, str] = {}
        self.reads: dict[str, int] = {}
        self.parameters: dict[str, None] = {}
        self.symbols: dict[Position, Piece] = {}
        self.bound: set[str] = set()
        self.maybe: dict[str, tuple[Piece, int]] = {}
        self.writes: dict[str, None] = {}
        self.simple: dict[str, None] = {}
        self.deleted: set[str] = set()
        self.may_change: dict[str, None] = {}
        self.classes: dict[Position, tuple[Piece, str]] = {}
        self._aliases: dict[str, set[str]] = {}
        self._settled: set[tuple[str, Position]] = set()

    def assemble(self) -> None:
        """Walk through the step's statements, then settle what does not stand in them."""
        for piece in self.pieces:
            self._statement(piece)
        for piece in self.before():
            for reference in piece.statement.reads:
                self.need(reference.name, piece, reference.line)
            for reference in piece.statement.deferred:
                self.need(reference.name, piece, reference.line, hard=False)
            for reference in piece.statement.mentions:
                self._mentioned(reference.name, piece, reference.line, piece.position)
        start = self.pieces[0] if self.pieces else None
        if start is not None:
            for name in self.options.inputs:
                self.need(name, start, start.statement.line)
            for name in _names(self.options.when):
                self.need(name, start, start.statement.line)
        self.classes = self._classes_of_inputs()
        for piece, provider in self.classes.values():
            self._refuse_redefined(piece, provider)
            self._carry(piece, piece)
        own = (piece for piece in self.pieces if _makes_class(piece) and self._is_symbol(piece))
        for piece in (*filter(_makes_class, self.symbols.values()), *own):
            self.classes.setdefault(piece.position, (piece, self.name))

    def need(self, name: str, piece: Piece, line: int, *, hard: bool = True, at: Position | None = None) -> None:
        """Settle where a name comes from that is read at a statement.

        Args:
            hard: whether it is certainly read (a name of a function that may never be called is not).
            at: where to look from, if not at the statement (what a helper reads is looked up where it is called).
        """
        position = piece.position if at is None else at
        if (name, position) in self._settled:
            return
        self._settled.add((name, position))
        binding = self._outside(name, position)
        if binding is None:
            self._unbound(name, piece, line, hard)
        elif binding.origin is Origin.PARAMETER:
            self.parameters[name] = None
            default = next((p.default for p in self.timeline.parameters if p.name == name), None)
            if isinstance(default, (list, dict)):
                self.reads.setdefault(name, line)
        elif binding.origin is Origin.SYMBOL:
            self._carry(binding.piece, piece, at=position)
            if binding.piece.statement.mutable and not self._written_above(name):
                self.reads.setdefault(name, line)
        elif binding.origin is Origin.STEP:
            self._take(name, binding, piece, line, hard)
        elif binding.origin is Origin.LOST:
            self._refuse_lost(name, binding, piece, line)

    def _mentioned(self, name: str, piece: Piece, line: int, at: Position) -> None:
        """A name in a text may or may not be a variable: it is never refused."""
        binding = None if name in self.bound else self._outside(name, at)
        if binding is not None and binding.origin is not Origin.LOST:
            self.need(name, piece, line, hard=False, at=at)

    def provide(self, name: str) -> None:
        """A later step takes the name from this one: what it binds on some paths only, it must also have."""
        if name in self.maybe and name not in self.bound:
            piece, line = self.maybe[name]
            self.need(name, piece, line, hard=False)

    # --- within the step ---------------------------------------------------------------------------------------

    def _statement(self, piece: Piece) -> None:
        statement = piece.statement
        for name, line in effects.referenced(statement.reads).items():
            if name not in self.bound:
                self.need(name, piece, line, hard=name not in self.maybe)
        for name, line in effects.referenced(statement.deferred).items():
            if name not in self.bound:
                self.need(name, piece, line, hard=False)
        for name, line in effects.referenced(statement.mentions).items():
            self._mentioned(name, piece, line, piece.position)
        if statement.opaque and statement.kind is not StatementKind.IMPORT:
            self._everything(piece)
        # After the reads: what they carry brings aliases along.
        outcome = effects.of_statement(statement, self._function_at(piece.position), self._aliases)
        for name, line in outcome.changes.items():
            if name not in self.bound:
                self.need(name, piece, line, hard=False)
                self.may_change[name] = None
            if not self._is_definition(name, piece.position):
                self.writes[name] = None
        for name in outcome.may_change:
            if name not in self.bound:
                self.may_change[name] = None
        for name, line in outcome.binds.items():
            self.maybe.setdefault(name, (piece, line))
            self.writes[name] = None
        effects.follow_aliases(statement, self._aliases)
        for _, old in statement.aliases:
            if old not in self.bound:
                self.may_change[old] = None  # another name for it goes on to later steps
        self._bind(piece)

    def _bind(self, piece: Piece) -> None:
        statement = piece.statement
        carried = any(
            b.piece.position == piece.position and b.origin is Origin.SYMBOL
            for name in statement.binds[:1]
            for b in self.timeline.scope.above(name, (piece.position[0], piece.position[1] + 1))
        )
        for name in statement.binds:
            self.bound.add(name)
            self.deleted.discard(name)
            if not carried:
                self.writes[name] = None
                if statement.kind not in {StatementKind.FUNCTION, StatementKind.CLASS, StatementKind.IMPORT}:
                    self.simple[name] = None
        for name in statement.may_bind:
            self.maybe.setdefault(name, (piece, statement.line))
            self.deleted.discard(name)
            self.writes[name] = None
        for name in statement.deletes:
            self.bound.discard(name)
            self.deleted.add(name)
            self.writes.pop(name, None)
            self.simple.pop(name, None)

    def _everything(self, piece: Piece) -> None:
        """Code that cannot be followed may read and change whatever is there."""
        for name in sorted(self.timeline.scope.names(piece.position)):
            binding = self._outside(name, piece.position)
            if binding is not None and name not in self.bound and binding.origin is not Origin.LOST:
                self.need(name, piece, piece.statement.line, hard=False)
                self.may_change[name] = None

    # --- outside -----------------------------------------------------------------------------------------------

    def _outside(self, name: str, position: Position) -> Binding | None:
        own = {cell.index for cell in self.cells}
        for binding in self.timeline.scope.above(name, position):
            if binding.piece.cell.index not in own:
                return binding
        return None

    def _take(self, name: str, binding: Binding, piece: Piece, line: int, hard: bool) -> None:
        assert binding.owner is not None
        if binding.how == "deletes":
            if hard:
                self.timeline.report(
                    "deleted",
                    f"`{name}` is read here, but step {binding.owner} deletes it "
                    f"in cell {binding.piece.cell.index + 1}",
                    piece,
                    line=line,
                    name=name,
                    step=self.name,
                    fix=f"take out the `del {name}`, or bind it again",
                )
            return
        self.reads.setdefault(name, line)
        self.inputs.setdefault(name, binding.owner)
        provider = self.earlier.get(binding.owner)
        if provider is not None:
            provider.provide(name)

    def _carry(self, symbol: Piece, reader: Piece, at: Position | None = None) -> None:
        at = reader.position if at is None else at
        own = {cell.index for cell in self.cells}
        if symbol.cell.index not in own and symbol.position not in self.symbols:
            self.symbols[symbol.position] = symbol
            for name in symbol.statement.binds if symbol.statement.mutable else ():
                # ``OTHER = BASE``: whichever of the two the step changes, it changes both, so it needs both.
                for other in self.timeline.one_object.get(name, ()):
                    self._aliases.setdefault(name, set()).add(other)
                    self.need(other, reader, reader.statement.line, hard=False, at=at)
            for reference in symbol.statement.reads:
                self.need(reference.name, symbol, reference.line)
            for name in symbol.statement.binds:
                for piece in self.timeline.registers.get(name, ()):
                    if symbol.position < piece.position < at:
                        self._carry(piece, reader, at)
        for reference in symbol.statement.deferred:
            if reference.name not in self.bound:
                self.need(reference.name, symbol, reference.line, hard=False, at=max(at, symbol.position))
        for reference in symbol.statement.mentions:
            self._mentioned(reference.name, symbol, reference.line, max(at, symbol.position))
        function = symbol.statement.function
        if function is not None:
            effect = effects.of_function(function, self._function_at(at))
            for name in effect.global_changes | effect.global_may_change | effect.global_binds:
                self.may_change[name] = None

    def before(self) -> Iterator[Piece]:
        """Statements that run ahead of the inputs whether or not the step names them: setup, ambient, star imports."""
        own = {cell.index for cell in self.cells}
        for cell in self.timeline.setups:
            if cell.index < self.first[0]:
                yield from self.timeline.statements(cell)
        for piece in (*self.timeline.ambient, *self.timeline.stars):
            if piece.position < self.first and piece.cell.index not in own:
                yield piece

    def _classes_of_inputs(self) -> dict[Position, tuple[Piece, str]]:
        """Definitions of classes that the inputs may be instances of, each with a step that uses it.

        They must exist before the inputs are loaded.
        """
        found: dict[Position, tuple[Piece, str]] = {}
        for step in dict.fromkeys(self.inputs.values()):
            if step in self.earlier:
                found.update(self.earlier[step].classes)
        return found

    def _refuse_redefined(self, piece: Piece, provider: str) -> None:
        for name in piece.statement.binds:
            here = self.timeline.scope.nearest(name, (self.cells[-1].index + 1, 0))
            if here is None or here.piece.statement.fingerprint == piece.statement.fingerprint:
                continue
            self.timeline.report(
                "class-redefined",
                f"class `{name}` is defined again here, but step {self.name} takes values from step {provider}, "
                f"which uses the definition in cell {piece.cell.index + 1}",
                here.piece,
                name=name,
                step=self.name,
                fix="give one of the two definitions another name",
            )

    def _is_symbol(self, piece: Piece) -> bool:
        after = (piece.position[0], piece.position[1] + 1)
        nearest = (self.timeline.scope.nearest(name, after) for name in piece.statement.binds[:1])
        return any(b is not None and b.origin is Origin.SYMBOL and b.piece.position == piece.position for b in nearest)

    def _is_definition(self, name: str, position: Position) -> bool:
        binding = self.timeline.scope.nearest(name, position)
        return (
            binding is not None
            and binding.origin is Origin.SYMBOL
            and binding.piece.statement.kind is not StatementKind.CONSTANT
        )

    def _written_above(self, name: str) -> bool:
        return any(name in step.writes and self._outside(name, step.first) is None for step in self.earlier.values())

    def _function_at(self, position: Position) -> effects.Lookup:
        return lambda name: self.timeline.scope.function(name, position)

    # --- refusals ----------------------------------------------------------------------------------------------

    def _unbound(self, name: str, piece: Piece, line: int, hard: bool) -> None:
        timeline = self.timeline
        opaque = [step for step, position in timeline.opaque.items() if position < piece.position and step != self.name]
        if is_history_name(name):
            timeline.report(
                "history",
                f"`{name}` is the session's history and depends on what was run before",
                piece,
                line=line,
                name=name,
                step=self.name,
                fix="give the value a name in the cell that makes it, and read that name",
            )
        elif is_ambient_name(name) or not hard or timeline.stars:
            return
        elif opaque:
            self.reads.setdefault(name, line)
            self.inputs.setdefault(name, opaque[-1])
            self.earlier[opaque[-1]].writes[name] = None
        else:
            text, fix = self._explain_unbound(name, piece), self._fix_unbound(name)
            timeline.report("undefined", text, piece, line=line, name=name, step=self.name, fix=fix)

    def _explain_unbound(self, name: str, piece: Piece) -> str:
        below = self.timeline.scope.below(name, piece.position)
        if name in self.timeline.skipped:
            return f"`{name}` is bound only in cell {self.timeline.skipped[name] + 1}, which is tagged %%skip"
        if below is not None and below.piece.cell.index != piece.cell.index:
            return f"`{name}` is read here, but bound only further down, in cell {below.piece.cell.index + 1}"
        return f"no cell above binds `{name}`"

    def _fix_unbound(self, name: str) -> str:
        if name in self.timeline.skipped:
            return "tag that cell as a step, or as %%setup"
        close = difflib.get_close_matches(name, self.timeline.scope.all_names() - {name}, 1)
        if close and self.timeline.scope.below(name, (0, 0)) is None:
            return f"did you mean `{close[0]}`?"
        return "bind it in a cell above; a notebook runs from top to bottom"

    def _refuse_lost(self, name: str, binding: Binding, piece: Piece, line: int) -> None:
        cell = binding.piece.cell.index + 1
        provider = next(
            (b for b in self.timeline.scope.above(name, binding.piece.position) if b.origin is not Origin.LOST), None
        )
        if binding.how == "deletes":
            text = f"`{name}` is read here, but the untagged cell {cell} deletes it"
        elif provider is None:
            text = f"`{name}` is read here, but only the untagged cell {cell} binds it"
        else:
            verb = "binds it anew" if binding.how == "binds" else "changes it"
            made = f" after step {provider.owner} made it" if provider.owner else ""
            text = f"`{name}` is read here, but the untagged cell {cell} {verb}{made}"
        self.timeline.report(
            "untagged",
            text + "; untagged cells are left out of the pipeline",
            piece,
            line=line,
            name=name,
            step=self.name,
            fix=f"tag cell {cell} `%%step NAME`, or `%%skip` it if step {self.name} should not see what it does",
        )


def finish(assembly: Assembly, position: int, later: set[str], wanted: set[str], seeded: bool) -> Step:
    """The record of an assembled step.

    Args:
        later: names that later steps and tests read.
        wanted: names that some later step or test takes from this one.
    """
    timeline = assembly.timeline
    options = assembly.options
    _check_outputs(assembly)
    outputs = [n for n in assembly.writes if n in wanted]
    outputs += [n for n in (*options.outputs, *options.metrics) if n not in outputs]
    optional = [n for n in assembly.simple if n not in outputs and not n.startswith("_") and n not in assembly.deleted]
    return Step(
        name=assembly.name,
        position=position,
        cells=tuple(_cell_code(timeline, cell, number) for number, cell in enumerate(assembly.cells, 1)),
        carried=tuple(_carried(assembly)),
        parameters=tuple(p.name for p in timeline.parameters if p.name in assembly.parameters),
        reads=tuple(sorted(assembly.reads)),
        writes=tuple(assembly.writes),
        may_change=tuple(sorted(name for name in assembly.may_change if name in assembly.reads)),
        later=tuple(sorted(later)),
        inputs={name: assembly.inputs[name] for name in sorted(assembly.inputs)},
        outputs=tuple(outputs),
        optional=tuple(optional),
        deletes=tuple(sorted(assembly.deleted)),
        after=tuple(sorted({*assembly.inputs.values(), *options.after})),
        options=options,
        draws=seeded and options.seed is None,
        chain=sum(seed < assembly.first for seed in timeline.seeds),
    )


def _check_outputs(assembly: Assembly) -> None:
    for name in (*assembly.options.outputs, *assembly.options.metrics):
        if name not in assembly.writes and name not in assembly.reads and assembly.name not in assembly.timeline.opaque:
            close = difflib.get_close_matches(name, assembly.writes, 1)
            cell = assembly.cells[0]
            assembly.timeline.diagnostics.append(
                Diagnostic(
                    "error",
                    "unknown-output",
                    f"`{name}` is asked for as an output, but step {assembly.name} does not bind it",
                    cell.index,
                    1,
                    name,
                    assembly.name,
                    fix=f"did you mean `{close[0]}`?" if close else "name a variable that the step binds",
                )
            )


def _carried(assembly: Assembly) -> Iterator[Code]:
    timeline = assembly.timeline
    found: list[tuple[Position, Piece | Cell]] = []
    found += [((cell.index, 0), cell) for cell in timeline.setups if cell.index < assembly.first[0]]
    symbols = dict(assembly.symbols)
    symbols.update({p.position: p for p in assembly.before() if p.cell.role is not Role.SETUP})
    found += list(symbols.items())
    counts: dict[str, int] = {}
    for _, item in sorted(found, key=lambda pair: pair[0]):
        if isinstance(item, Piece):
            statement = item.statement
            base = ", ".join(statement.binds) or _title(statement.source)
        else:
            base = "setup"
        counts[base] = counts.get(base, 0) + 1
        name = base if counts[base] == 1 and base != "setup" else f"{base} {counts[base]}"
        if isinstance(item, Piece):
            yield Code(
                "symbol",
                name,
                item.statement.binds,
                item.statement.source,
                item.statement.fingerprint,
                item.cell.index,
                item.line,
                item.cell.id,
                item.statement.modules,
                item.statement.mutable,
            )
        else:
            yield _whole_cell(timeline, item, "setup", name)


def _cell_code(timeline: Timeline, cell: Cell, number: int) -> Code:
    return _whole_cell(timeline, cell, "cell", f"cell {number}")


def _whole_cell(timeline: Timeline, cell: Cell, role: str, name: str) -> Code:
    names = timeline.names[cell.index]
    binds = dict.fromkeys(n for s in names.statements for n in (*s.binds, *s.may_bind))
    modules = dict.fromkeys(m for s in names.statements for m in s.modules)
    return Code(
        role, name, tuple(binds), cell.body, names.fingerprint, cell.index, cell.offset + 1, cell.id, tuple(modules)
    )


def _makes_class(piece: Piece) -> bool:
    statement = piece.statement
    return statement.kind is StatementKind.CLASS or (
        statement.kind is StatementKind.CONSTANT and _CLASS_FACTORY.search(statement.source) is not None
    )


def _title(source: str) -> str:
    """A short name in the key for a statement that binds nothing: ``pd.set_option``."""
    first = source.strip().split("\n", 1)[0]
    return re.split(r"[(=\[]", first, maxsplit=1)[0].strip()[:40] or first[:40]


def _names(expression: str | None) -> list[str]:
    if not expression:
        return []
    try:
        tree = ast.parse(expression, mode="eval")
    except SyntaxError:
        return []
    return sorted({n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and not is_ambient_name(n.id)})
