"""First pass: the statements of all cells in notebook order, and what each does to the names."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cellway.pipeline import effects, parameters
from cellway.pipeline.scope import Binding, Origin, Piece, Position, Scope, is_ambient_name
from cellway.records import Cell, Diagnostic, Names, Notebook, Parameter, Role, Statement, StatementKind

_CARRIED_KINDS = {StatementKind.IMPORT, StatementKind.FUNCTION, StatementKind.CLASS, StatementKind.AMBIENT}
_PORTABLE = {Origin.PARAMETER, Origin.SYMBOL, Origin.SETUP}
_SEEDING_CALL = re.compile(r"\b\w*seed\w*\s*\(")
_NOT_REPEATED = re.compile(r"^\s*(%(re)?load_ext\s+(cellway|autoreload)\b|%autoreload\b|[%!]\s*(pip|conda|mamba|uv)\b)")
"""Session chores: installing and reloading are for the notebook on screen, not for each step."""


class Timeline:
    """Everything that the assembly of steps asks about the notebook as a whole.

    Attributes:
        scope: history of every name.
        pieces: step → its statements in order.
        cells: step → its cells in order.
        setups: ``%%setup`` cells.
        ambient: statements that change process state only; carried like setup.
        stars: star imports, carried into every later step (what they bind cannot be known).
        opaque: steps with code that cannot be followed, with the position of that code.
        seeds: positions of seeding outside steps: each begins a new chain of generator state.
        seeded: whether anything in the notebook seeds the global generators.
        registers: name of a constant → definitions that enter themselves into it (``@register``).
        one_object: constant → other constants that are the same object, or hold it.
    """

    def __init__(self, notebook: Notebook, names: Sequence[Names]) -> None:
        self.notebook = notebook
        self.names = names
        self.scope = Scope()
        self.pieces: dict[str, list[Piece]] = {}
        self.cells: dict[str, list[Cell]] = {}
        self.setups: list[Cell] = []
        self.tests: list[Cell] = []
        self.ambient: list[Piece] = []
        self.stars: list[Piece] = []
        self.opaque: dict[str, Position] = {}
        self.seeds: list[Position] = []
        self.seeded = False
        self.parameters: list[Parameter] = []
        self.diagnostics: list[Diagnostic] = []
        self.modules: dict[str, None] = {}
        self.skipped: dict[str, int] = {}
        self._aliases: dict[str, dict[str, set[str]]] = {}
        self.one_object: dict[str, set[str]] = {}
        self.registers: dict[str, list[Piece]] = {}
        for cell, cell_names in zip(notebook.cells, names, strict=True):
            self._read(cell, cell_names)

    def statements(self, cell: Cell) -> list[Piece]:
        """The statements of a cell with their positions."""
        found = self.names[cell.index].statements
        return [Piece((cell.index, number), cell, statement) for number, statement in enumerate(found)]

    def portable(self, statement: Statement, position: Position) -> bool:
        """Whether all that a statement reads when it runs is available in every step: symbols, parameters, setup."""
        for reference in statement.reads:
            binding = self.scope.nearest(reference.name, position)
            if binding is None:
                continue
            if binding.origin not in _PORTABLE:
                return False
        return True

    def report(self, code: str, message: str, piece: Piece, *, level: str = "error", **more: str | int | None) -> None:
        """Add a diagnostic that points at a statement."""
        line = more.pop("line", None)
        where = piece.line if line is None else piece.cell.offset + int(line)
        found = Diagnostic(level, code, message, piece.cell.index, where, **more)  # type: ignore[arg-type]
        if found not in self.diagnostics:
            self.diagnostics.append(found)

    def _read(self, cell: Cell, names: Names) -> None:
        if cell.role is Role.TEXT:
            return
        if cell.role is Role.SKIP:
            for piece in self.statements(cell):
                for name in (*piece.statement.binds, *piece.statement.may_bind):
                    self.skipped.setdefault(name, cell.index)
            return
        if names.error is not None and not self._survives(cell, names.error):
            return
        if cell.role is Role.TEST:
            self.tests.append(cell)
            return
        pieces = self.statements(cell)
        self.seeded = self.seeded or any(_seeds(piece.statement) for piece in pieces)
        if cell.role is Role.PARAMETERS:
            self._read_parameters(cell, pieces)
        elif cell.role is Role.SETUP:
            self._read_setup(cell, pieces)
        elif cell.role is Role.STEP:
            assert cell.step is not None
            self.cells.setdefault(cell.step, []).append(cell)
            for piece in pieces:
                self._read_step(cell.step, piece)
            self.pieces.setdefault(cell.step, [])
        else:
            for piece in pieces:
                self._read_exploration(piece)
        if cell.role is not Role.EXPLORATION:
            for piece in pieces:
                self.modules.update(dict.fromkeys(piece.statement.modules))

    def _survives(self, cell: Cell, error: tuple[str, int]) -> bool:
        message, line = error
        if cell.role is Role.EXPLORATION:
            self.diagnostics.append(
                Diagnostic(
                    "warning",
                    "not-python",
                    f"this untagged cell is not Python ({message}); nothing of it is carried",
                    cell.index,
                    cell.offset + line,
                )
            )
            return False
        self.diagnostics.append(
            Diagnostic(
                "error",
                "not-python",
                f"this cell is not Python: {message}",
                cell.index,
                cell.offset + line,
                step=cell.step,
                fix="mend the syntax; a cell in another language needs a cell magic such as %%bash above it",
            )
        )
        return False

    def _read_parameters(self, cell: Cell, pieces: list[Piece]) -> None:
        found, problems = parameters.read(cell)
        self.diagnostics.extend(problems)
        known = {parameter.name: parameter for parameter in self.parameters}
        for parameter in found:
            if parameter.name in known:
                first = known[parameter.name].cell + 1
                self.diagnostics.append(
                    Diagnostic(
                        "error",
                        "parameter-twice",
                        f"parameter `{parameter.name}` is assigned in cell {first} already",
                        cell.index,
                        parameter.line,
                        parameter.name,
                        fix="keep one of the two",
                    )
                )
            known[parameter.name] = parameter
        self.parameters = list(known.values())
        for piece in pieces:
            symbol = piece.statement.kind is StatementKind.IMPORT
            for name in piece.statement.binds:
                self.scope.add(Binding(name, Origin.SYMBOL if symbol else Origin.PARAMETER, piece))

    def _read_setup(self, cell: Cell, pieces: list[Piece]) -> None:
        self.setups.append(cell)
        for piece in pieces:
            statement = piece.statement
            for reference in statement.reads:
                binding = self.scope.nearest(reference.name, piece.position)
                if binding is not None and binding.origin is Origin.STEP:
                    self.report(
                        "setup-reads-step",
                        f"this setup cell reads `{reference.name}`, which step {binding.owner} makes; "
                        "setup runs before every step",
                        piece,
                        line=reference.line,
                        name=reference.name,
                        fix=f"tag the cell `%%step {binding.owner}`, or take `{reference.name}` out of it",
                    )
            if statement.function is not None:
                self.scope.add_function(piece.position, statement.function)
            if "seed" in statement.ambient:
                self.seeds.append(piece.position)
            for name in (*statement.binds, *statement.may_bind):
                self.scope.add(Binding(name, Origin.SETUP, piece))

    def _read_step(self, step: str, piece: Piece) -> None:
        statement = piece.statement
        self.pieces.setdefault(step, []).append(piece)
        if self._carry(piece, owner=step, constants=False):
            return
        aliases = self._aliases.setdefault(step, {})
        for name, others in self.one_object.items():
            aliases.setdefault(name, set()).update(others)
        outcome = effects.of_statement(statement, self._lookup(piece.position), aliases)
        effects.follow_aliases(statement, aliases)
        if statement.opaque:
            self.opaque.setdefault(step, piece.position)
        hard = set(statement.ambient) & {"chdir", "environ", "sys.path"}
        if self._changes_module(piece):
            if self.portable(statement, piece.position) and not statement.binds:
                self.ambient.append(piece)
                return
            hard.add("an attribute of a module")
        if hard:
            self.report(
                "ambient",
                f"this changes process-wide state ({', '.join(sorted(hard))}) with values of step {step}; "
                "later steps would not see it",
                piece,
                step=step,
                fix="move the line into a %%setup cell, with values from parameters or constants",
            )
        for name, line in outcome.changes.items():
            self._change(name, piece, line, Origin.STEP, step)
        for name in dict.fromkeys((*statement.binds, *statement.may_bind, *outcome.binds)):
            self.scope.add(Binding(name, Origin.STEP, piece, step))
        for name in statement.deletes:
            self.scope.add(Binding(name, Origin.STEP, piece, step, "deletes"))

    def _read_exploration(self, piece: Piece) -> None:
        statement = piece.statement
        if _NOT_REPEATED.match(statement.source) or self._carry(piece, owner=None, constants=True):
            return
        module = self._changes_module(piece)
        if module and self.portable(statement, piece.position) and not statement.binds:
            self.ambient.append(piece)
            return
        if module:
            self.scope.add(Binding(module, Origin.LOST, piece, how="changes"))
        outcome = effects.of_statement(statement, self._lookup(piece.position), {})
        for name, line in outcome.changes.items():
            self._change(name, piece, line, Origin.LOST, None)
        for name in dict.fromkeys((*statement.binds, *statement.may_bind, *outcome.binds)):
            self.scope.add(Binding(name, Origin.LOST, piece))
        for name in statement.deletes:
            self.scope.add(Binding(name, Origin.LOST, piece, how="deletes"))
        if statement.opaque:
            self.report(
                "opaque",
                f"this untagged line cannot be followed ({statement.opaque}) and is left out of the pipeline",
                piece,
                level="warning",
                fix="if steps need what it does, tag the cell %%setup",
            )

    def _changes_module(self, piece: Piece) -> str:
        """The imported module to whose attribute it assigns: ``config.DEBUG = True``; ``""`` if it does not."""
        if "attribute" not in piece.statement.ambient:
            return ""
        for reference in piece.statement.changes:
            binding = self.scope.nearest(reference.name, piece.position)
            if binding is None or binding.piece.statement.kind is not StatementKind.IMPORT:
                continue
            # Not `x.a = np.append(...)`, where numpy only looks like being appended to.
            target = rf"^\s*{re.escape(reference.name)}\s*[.\[][^=\n]*=(?!=)"
            if re.search(target, piece.statement.source, re.MULTILINE):
                return reference.name
        return ""

    def _carry(self, piece: Piece, *, owner: str | None, constants: bool) -> bool:
        """Enter a statement as a symbol if it can stand in any step; ``False`` if it cannot."""
        statement = piece.statement
        kind = statement.kind
        if statement.opaque and kind is StatementKind.IMPORT:
            self.stars.append(piece)
            return True
        if kind not in _CARRIED_KINDS and not (constants and kind is StatementKind.CONSTANT):
            return False
        if not self.portable(statement, piece.position):
            return False
        if kind is StatementKind.AMBIENT:
            if _NOT_REPEATED.match(statement.source) is None:
                self.ambient.append(piece)
                if "seed" in statement.ambient and owner is None:
                    self.seeds.append(piece.position)
            return True
        if statement.function is not None:
            self.scope.add_function(piece.position, statement.function)
        for name in statement.binds:
            self.scope.add(Binding(name, Origin.SYMBOL, piece, owner))
            self.one_object.pop(name, None)
        if kind in {StatementKind.FUNCTION, StatementKind.CLASS} and statement.calls:
            outcome = effects.of_statement(statement, self._lookup(piece.position), {})
            for name in {*outcome.changes, *outcome.may_change} - {*statement.binds}:
                self.registers.setdefault(name, []).append(piece)
        if kind is StatementKind.CONSTANT:
            for new, old in statement.aliases:
                # ``OTHER = BASE``: whichever of the two a step changes, it changes both.
                self.one_object.setdefault(new, set()).add(old)
                self.one_object.setdefault(old, set()).add(new)
        return True

    def _change(self, name: str, piece: Piece, line: int, origin: Origin, step: str | None) -> None:
        """A definite change in place of what a name means here."""
        binding = self.scope.nearest(name, piece.position)
        if binding is not None and binding.origin is Origin.SYMBOL:
            kind = binding.piece.statement.kind
            if kind is StatementKind.IMPORT:
                return
            if kind in {StatementKind.CLASS, StatementKind.FUNCTION} and origin is Origin.STEP:
                self.report(
                    "definition-changed",
                    f"`{name}` is defined in cell {binding.piece.cell.index + 1} and changed here; "
                    "later steps would get the definition without the change",
                    piece,
                    line=line,
                    name=name,
                    step=step,
                    fix=f"make the change in cell {binding.piece.cell.index + 1} itself, or in a %%setup cell",
                )
                return
        if binding is None and (origin is Origin.LOST or is_ambient_name(name)):
            return
        self.scope.add(Binding(name, origin, piece, step, "changes"))

    def _lookup(self, position: Position) -> effects.Lookup:
        return lambda name: self.scope.function(name, position)


def _seeds(statement: Statement) -> bool:
    return "seed" in statement.ambient or _SEEDING_CALL.search(statement.source) is not None
