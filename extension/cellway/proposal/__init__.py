"""Tags for a plain notebook: what ``cellway init`` proposes.

Headings say where a step begins, data flow says which cells matter. A proposal is always a valid pipeline: whatever a
later step needs is in a step, in the parameters, or carried (imports, functions, classes, constants). When in doubt, a
cell is part of a step: one cell too many costs seconds, one too few changes the result.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cellway.errors import UsageError
from cellway.proposal import looks, steps
from cellway.proposal.cells import SYMBOLS, CellFacts
from cellway.records import Names, Notebook, Role, Statement, StatementKind

__all__ = ["Proposal", "propose"]

_EXTENSION = re.compile(r"%(?:re)?load_ext\b")


@dataclass(frozen=True, slots=True)
class Proposal:
    """A tag for one cell.

    Attributes:
        cell: index of the cell.
        role: ``PARAMETERS``, ``SETUP`` or ``STEP``.
        step: name of the step.
        reason: for the author, why.
    """

    cell: int
    role: Role
    step: str | None
    reason: str


def propose(notebook: Notebook, names: Sequence[Names]) -> tuple[Proposal, ...]:
    """Tags for a notebook that has none.

    Args:
        notebook: as read.
        names: of its cells, from the analysis.

    Returns:
        Tags in notebook order; cells that are not named stay untagged.

    Raises:
        UsageError: the notebook is tagged already, or has no cell that could be a step.
    """
    tagged = next((cell for cell in notebook.cells if cell.role not in {Role.EXPLORATION, Role.TEXT}), None)
    if tagged is not None:
        raise UsageError(
            f"cell {tagged.index + 1} is tagged already, so there is nothing to propose",
            name=notebook.path,
            fix="`cellway check` says what the pipeline looks like; remove all tags to begin anew",
        )
    cells = _facts(notebook, names)
    symbols = _symbols(cells)
    for cell in cells:
        cell.classify(symbols)
    first_data = next((cell.index for cell in cells if cell.data), len(notebook.cells))
    result: list[Proposal] = []
    above: set[str] = set()
    for cell in cells:
        proposal = _before_data(cell, above) if cell.index < first_data else None
        if proposal:
            result.append(proposal)
        above |= cell.binds
    roles = {proposal.cell: proposal.role for proposal in result}
    # A constant that is computed from a parameter is not one that can be carried.
    parameters = {name for cell in cells if roles.get(cell.index) is Role.PARAMETERS for name in cell.binds}
    symbols = _symbols(cells, parameters)
    rest = [cell for cell in cells if cell.index not in roles]
    for cell in rest:
        cell.classify(symbols)
    kept = _kept(rest, cells, symbols)
    kept = _kept(rest, cells, symbols, _results(notebook, rest, {cell.index for cell in kept}))
    if not kept:
        raise UsageError(
            "no cell computes anything that could be a step", name=notebook.path, fix="tag one by hand: `%%step NAME`"
        )
    result.extend(Proposal(cell, Role.STEP, name, why) for cell, name, why in steps.name_steps(notebook, kept))
    return tuple(sorted(result, key=lambda proposal: proposal.cell))


# --- what a cell does ----------------------------------------------------------------------------


def _facts(notebook: Notebook, names: Sequence[Names]) -> list[CellFacts]:
    return [
        CellFacts(cell.index, found.statements)
        for cell, found in zip(notebook.cells, names, strict=True)
        if cell.kind == "code" and found.error is None
    ]


def _symbols(cells: Sequence[CellFacts], without: Iterable[str] = ()) -> set[str]:
    """Names that are only ever bound by something that can be carried, and depend on nothing else."""
    bound = {name for cell in cells for name in cell.binds}
    statements = [statement for cell in cells for statement in cell.statements]
    symbols = bound - set(without) - _changed_constants(statements)
    changed = True
    while changed:
        changed = False
        for statement in statements:
            eager = {reference.name for reference in statement.reads} & bound
            sound = statement.kind in SYMBOLS and eager <= symbols
            lost = symbols & ({*statement.may_bind} if sound else {*statement.binds, *statement.may_bind})
            if lost:
                symbols -= lost
                changed = True
    return symbols


def _changed_constants(statements: Sequence[Statement]) -> set[str]:
    """Names whose object does not stay as it was made: changed in place, directly, by an alias or by a function."""
    functions = {statement.function.name: statement.function for statement in statements if statement.function}
    changing = {name for name, function in functions.items() if function.changes}
    while (
        callers := {
            name for name, function in functions.items() if any(call.function in changing for call in function.calls)
        }
        - changing
    ):
        changing |= callers
    changed = {reference.name for statement in statements for reference in statement.changes}
    for function in functions.values():
        changed.update(function.global_changes, function.global_may_change)
    for statement in statements:
        for call in statement.calls:
            if call.function in changing:
                changed.update(name for _, name in call.arguments)
    aliases = [pair for statement in statements for pair in statement.aliases]
    while more := {name for pair in aliases if changed.intersection(pair) for name in pair} - changed:
        changed |= more
    rebound = {name for function in functions.values() for name in function.global_binds}
    fixed = {StatementKind.IMPORT, StatementKind.FUNCTION, StatementKind.CLASS}
    for statement in statements:
        if statement.kind in fixed or (statement.kind is StatementKind.CONSTANT and not statement.mutable):
            changed.difference_update(statement.binds)
    return changed | rebound


def _before_data(cell: CellFacts, above: set[str]) -> Proposal | None:
    """Parameters and setup stand above the first cell that computes something.

    Args:
        cell: one of those above.
        above: names bound before it; a parameter has one default, so none of them can be one.
    """
    kinds = {statement.kind for statement in cell.statements}
    if kinds == {StatementKind.CONSTANT} and not cell.binds & above and len(cell.binds) == len(cell.statements):
        values = [_literal(statement) for statement in cell.statements]
        if all(values) and "plain" in values:
            return Proposal(cell.index, Role.PARAMETERS, None, "plain values above the first step")
    extensions = all(_EXTENSION.match(statement.source) for statement in cell.statements)
    if kinds == {StatementKind.AMBIENT} and not extensions:
        return Proposal(cell.index, Role.SETUP, None, "settings that every step needs")
    return None


def _literal(statement: Statement) -> str:
    """``plain`` for a name given a number, text, boolean or None, ``many`` for one given several of them, else ""."""
    try:
        (node,) = ast.parse(statement.source).body
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target, expression = node.targets[0], node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            target, expression = node.target, node.value
        else:
            return ""
        value = ast.literal_eval(expression)
    except (SyntaxError, ValueError):
        return ""
    if not isinstance(target, ast.Name):
        return ""
    if value is None or isinstance(value, bool | int | float | str):
        return "plain"
    return "many" if isinstance(value, list | dict | tuple) else ""


# --- which cells matter ----------------------------------------------------------------------------


def _results(notebook: Notebook, candidates: Sequence[CellFacts], kept: set[int]) -> set[int]:
    """Cells under a heading of their own that bind something, though nobody needs it: the notebook's results."""
    sections = steps.headings(notebook)
    taken = {sections[index] for index in kept}
    return {
        cell.index
        for cell in candidates
        if cell.data and cell.binds and sections[cell.index] is not None and sections[cell.index] not in taken
    }


def _kept(
    candidates: Sequence[CellFacts],
    cells: Sequence[CellFacts],
    symbols: set[str],
    results: frozenset[int] | set[int] = frozenset(),
) -> list[CellFacts]:
    """Cells that must be in a step, by what the cells below them need; from the end upwards."""
    carried = _carried_reads(cells, symbols)
    shown = looks.plotting_names(cells)
    needed: set[str] = set()
    kept: list[CellFacts] = []
    imports = {n for cell in cells for s in cell.statements if s.kind is StatementKind.IMPORT for n in s.binds}
    first = next((cell.index for cell in candidates if cell.data), None)
    for cell in reversed(candidates):
        reseeds = cell.seeds and first is not None and cell.index > first
        # `np.append(...)` and `plt.step(...)` only look as if they changed what they are called on.
        changes = cell.changes if cell.sets_attributes else cell.changes - imports
        provides = ((cell.binds - symbols) | changes) & needed
        computes = cell.data and not looks.only_looks(cell, needed, shown)
        if not (provides or reseeds or computes or cell.index in results):
            continue
        kept.append(cell)
        for name in cell.reads:
            needed |= {name, *carried.get(name, ())}
    return kept[::-1]


def _carried_reads(cells: Sequence[CellFacts], symbols: set[str]) -> dict[str, set[str]]:
    """For each carried name, the names that it reads itself, through others too (a function that reads a table)."""
    reads: dict[str, set[str]] = {}
    for cell in cells:
        for statement in cell.statements:
            for name in symbols.intersection(statement.binds):
                found = {reference.name for reference in (*statement.reads, *statement.deferred, *statement.mentions)}
                reads.setdefault(name, set()).update(found)
    changed = True
    while changed:
        changed = False
        for known in reads.values():
            more = set().union(*(reads.get(name, ()) for name in known)) - known
            known.update(more)
            changed |= bool(more)
    return reads
