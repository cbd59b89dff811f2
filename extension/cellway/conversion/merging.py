"""Cells of step notebooks → the one notebook that they came from.

Steps carry copies of shared code (symbols, setup). A copy that says something else than the others has two meanings,
and is refused with the names of both files.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cellway.conversion.notebooks import about, mark, source_of
from cellway.errors import UsageError
from cellway.records import Cell, Parameter, Role, StepOptions

_LAST = 1_000_000
"""Line of what has no place yet."""


@dataclass
class _Own:
    """A cell that stands in the merged notebook as it is."""

    order: tuple[float, int]
    fixed: int | None
    """Its place in the notebook; ``None`` for a cell that somebody added."""
    role: Role
    id: str
    body: str
    offset: int
    file: str
    step: str | None = None
    options: StepOptions = field(default_factory=StepOptions)


@dataclass
class _Copy:
    """A carried statement, with a file in which it was found."""

    line: int
    text: str
    file: str


class Merge:
    """Collects step by step, then gives the cells."""

    def __init__(self) -> None:
        self._own: list[_Own] = []
        self._setups: dict[int, _Own] = {}
        self._copies: dict[int, dict[tuple[int, str], _Copy]] = {}
        self._ids: dict[int, str] = {}
        self._parameters: dict[int, list[tuple[int, str]]] = {}

    def add_step(self, step: str, file: str, cells: Sequence[Mapping[str, Any]], options: StepOptions) -> None:
        """Add the code cells of a step notebook.

        Raises:
            UsageError: shared code differs from another step's, or no cell of the step is left.
        """
        found = False
        added: list[_Own] = []
        last: float = -1
        for cell in cells:
            said, source = about(cell), source_of(cell)
            role, index = said.get("role"), said.get("cell")
            if role == "symbol" and isinstance(index, int):
                self._ids.setdefault(index, str(said.get("id", "")))
                for line, name, text in _pieces(said, source):
                    self._copy(index, line, name, text, file)
            elif role == "setup" and isinstance(index, int):
                self._setup(index, cell, file)
            elif role == "cell" and isinstance(index, int):
                found = True
                taken = any(own.fixed == index for own in self._own)  # a cell that was split keeps its metadata twice
                number = len(self._own)
                self._own.append(_own(cell, (index, number), None if taken else index, file, step, options))
                for late, extra in enumerate(added):
                    extra.order = (index - 0.5, late)
                added, last = [], index
            elif role is None and source.strip():
                extra = _own(cell, (last + 0.5, len(self._own)), None, file, step, options)
                added.append(extra)
                self._own.append(extra)
        if not found and not added:
            raise UsageError(
                f"{file} has no cell of step {step} left",
                name=file,
                fix="put one back, or take the step out of pipeline.yaml",
            )

    def add_parameter(self, parameter: Parameter, text: str) -> None:
        """Add a parameter as an assignment."""
        index = parameter.cell if parameter.line else next(iter(self._parameters), -1)
        self._parameters.setdefault(index, []).append((parameter.line or _LAST, text))

    def add_test(self, entry: Mapping[str, Any]) -> None:
        """Add a test as ``pipeline.yaml`` holds it."""
        body, index = str(entry.get("source", "")), entry.get("cell")
        where = (float(index), 0) if isinstance(index, int) else (float("inf"), len(self._own))
        offset = max(0, int(entry.get("line", 1)) - 1)
        fixed = index if isinstance(index, int) else None
        self._own.append(
            _Own(
                where,
                fixed,
                Role.TEST,
                f"test-{len(self._own)}",
                body,
                offset,
                "pipeline.yaml",
                str(entry.get("step", "")),
            )
        )

    def cells(self) -> tuple[Cell, ...]:
        """The cells in notebook order; where nothing was kept stands an empty text cell.

        Raises:
            UsageError: a carried definition differs from the step's that it comes from.
        """
        whole = [*self._own, *self._setups.values()]
        fixed = {own.fixed: own for own in whole if own.fixed is not None}
        for index in {*self._copies, *self._parameters}:
            if index in fixed:
                self._same_as(fixed[index], self._copies.get(index, {}))
            else:
                whole.append(self._joined(index))
        found: list[Cell] = []
        for own in sorted(whole, key=lambda own: own.order):
            while own.fixed is not None and len(found) < own.fixed:
                index = len(found)
                found.append(Cell(index, f"text-{index}", "markdown", "", "", 0, Role.TEXT))
            source = "\n" * own.offset + own.body
            found.append(
                Cell(len(found), own.id, "code", source, own.body, own.offset, own.role, own.step, own.options)
            )
        return tuple(found)

    def _copy(self, index: int, line: int, name: str, text: str, file: str) -> None:
        copies = self._copies.setdefault(index, {})
        known = copies.setdefault((line, name), _Copy(line, text, file))
        if known.text != text:
            raise _two_meanings(f"`{name}`", known.file, file)

    def _setup(self, index: int, cell: Mapping[str, Any], file: str) -> None:
        setup = _own(cell, (index, 0), index, file, None, StepOptions(), Role.SETUP)
        known = self._setups.setdefault(index, setup)
        if known.body != setup.body:
            raise _two_meanings("the setup cell", known.file, file)

    def _same_as(self, own: _Own, copies: Mapping[tuple[int, str], _Copy]) -> None:
        for (_, name), copy in copies.items():
            if copy.text not in own.body:
                raise _two_meanings(f"`{name}`", own.file, copy.file)

    def _joined(self, index: int) -> _Own:
        """Parameters and carried statements of one cell, each at its line."""
        placed = list(dict.fromkeys(self._parameters.get(index, [])))
        role = Role.PARAMETERS if placed else Role.EXPLORATION
        placed += [(copy.line, copy.text) for copy in self._copies.get(index, {}).values()]
        lines: list[str] = []
        above = 0
        for line, text in sorted(placed, key=lambda pair: pair[0]):
            if line == above == len(lines) and "#" not in lines[-1] and "\n" not in text:
                lines[-1] += f"; {text}"
                continue
            if line < _LAST:
                lines += [""] * (line - 1 - len(lines))
            lines += text.split("\n")
            above = line
        identity = self._ids.get(index) or f"{role}-{index}"
        return _Own((index, 0), index if index >= 0 else None, role, identity, "\n".join(lines), 0, "")


def parameter_sources(cells: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Name and assignment, verbatim, of the parameters in a step notebook."""
    for cell in cells:
        if about(cell).get("role") == "parameters":
            for names, _, text in _statements(source_of(cell)):
                for name in names:
                    yield name, text


def _own(
    cell: Mapping[str, Any],
    order: tuple[float, int],
    fixed: int | None,
    file: str,
    step: str | None,
    options: StepOptions,
    role: Role = Role.STEP,
) -> _Own:
    offset = about(cell).get("offset", 0)
    offset = offset if isinstance(offset, int) and offset > 0 else 0
    return _Own(order, fixed, role, str(cell.get("id", "")), source_of(cell), offset, file, step, options)


def _two_meanings(what: str, first: str, second: str) -> UsageError:
    return UsageError(
        f"{what} differs between {first} and {second}, and can mean only one thing in a pipeline",
        name=second,
        fix="make the same change in both, or give one of them another name",
    )


def _pieces(said: Mapping[str, Any], source: str) -> Iterator[tuple[int, str, str]]:
    """Line in the notebook, name and text of each carried statement of a cell."""
    pieces = said.get("pieces", [])
    if said.get("written") == mark(source):
        lines = source.split("\n")
        ends = [piece["at"] - 1 for piece in pieces[1:]] + [len(lines)]
        for piece, end in zip(pieces, ends, strict=True):
            yield piece["line"], piece["name"], "\n".join(lines[piece["at"] - 1 : end]).rstrip("\n")
        return
    # Edited: statements are known again by what they bind; a new one stands below the one above it.
    known = {tuple(sorted(piece.get("binds", ()))): piece for piece in pieces}
    line = said.get("offset", 0) + 1
    for names, _, text in _statements(source):
        piece = known.pop(tuple(sorted(names)), None) if names else None
        if piece is not None:
            line = piece["line"]
        yield line, piece["name"] if piece is not None else ", ".join(names) or text.split("\n")[0], text


def _statements(source: str) -> Iterator[tuple[tuple[str, ...], int, str]]:
    """Bound names, first line and text of the top-level statements of a cell.

    Whole lines: a comment block right above a statement belongs to it, as do decorators and a trailing comment.
    """
    lines = source.split("\n")
    try:
        tree = ast.parse(re.sub(r"(?m)^[%!].*", "pass", source))
    except (SyntaxError, ValueError):
        yield (), 1, source
        return
    end = 0
    for node in tree.body:
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        while first - 1 > end and lines[first - 2].lstrip().startswith("#"):
            first -= 1
        end = node.end_lineno or node.lineno
        yield _bound(node), first, "\n".join(lines[first - 1 : end])


def _bound(node: ast.stmt) -> tuple[str, ...]:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return (node.name,)
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return tuple((alias.asname or alias.name).split(".")[0] for alias in node.names)
    names = (n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
    return tuple(dict.fromkeys(names))
