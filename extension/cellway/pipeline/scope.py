"""Which binding of a name a statement sees: the history of every name in notebook order."""

from __future__ import annotations

import builtins
import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from cellway.records import Cell, Function, Statement

Position = tuple[int, int]
"""Cell index and statement index within the cell."""

_IPYTHON_NAMES = frozenset(
    {"get_ipython", "display", "exit", "quit", "__builtins__", "__name__", "__doc__", "__debug__"}
)
_HISTORY_NAMES = re.compile(r"^(Out|In|_oh|_ih|_dh|_{1,3}|_i{1,3}|_i?\d+)$")


class Origin(StrEnum):
    """Where a binding comes from, which decides how a step gets it."""

    PARAMETER = "parameter"
    SYMBOL = "symbol"
    """A statement that is carried into the steps that use it."""
    SETUP = "setup"
    STEP = "step"
    LOST = "lost"
    """Bound, changed or deleted by an untagged cell in a way that cannot be carried."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A top-level statement in its cell, with whom it belongs to."""

    position: Position
    cell: Cell
    statement: Statement

    @property
    def line(self) -> int:
        """Line as the author sees it."""
        return self.cell.offset + self.statement.line


@dataclass(frozen=True, slots=True)
class Binding:
    """One event in the life of a name.

    Attributes:
        owner: the step, for ``STEP``.
        how: ``binds``, ``changes`` or ``deletes``.
    """

    name: str
    origin: Origin
    piece: Piece
    owner: str | None = None
    how: str = "binds"


class Scope:
    """History of all names; asked for the binding that stands nearest above a position."""

    def __init__(self) -> None:
        self._history: dict[str, list[Binding]] = {}
        self._functions: dict[str, list[tuple[Position, Function]]] = {}

    def add(self, binding: Binding) -> None:
        """Append an event; events of a name come in notebook order."""
        self._history.setdefault(binding.name, []).append(binding)

    def add_function(self, position: Position, function: Function) -> None:
        """Remember the summary of a function defined at a position."""
        self._functions.setdefault(function.name, []).append((position, function))

    def above(self, name: str, position: Position) -> Iterator[Binding]:
        """Events of a name above a position, nearest first."""
        history = self._history.get(name, [])
        end = bisect_left(history, position, key=lambda binding: binding.piece.position)
        yield from reversed(history[:end])

    def nearest(self, name: str, position: Position) -> Binding | None:
        """The event nearest above a position, or ``None``."""
        return next(self.above(name, position), None)

    def below(self, name: str, position: Position) -> Binding | None:
        """The first event at or below a position that binds the name: for "it is bound only further down"."""
        return next((b for b in self._history.get(name, []) if b.piece.position >= position and b.how == "binds"), None)

    def function(self, name: str, position: Position) -> Function | None:
        """Summary of the function that a name means at a position, if its nearest binding is a function."""
        defined = [entry for entry in self._functions.get(name, []) if entry[0] < position]
        if not defined:
            return None
        nearest = self.nearest(name, position)
        return defined[-1][1] if nearest is not None and nearest.piece.position == defined[-1][0] else None

    def names(self, position: Position) -> set[str]:
        """Every name with an event above a position."""
        return {name for name, history in self._history.items() if history[0].piece.position < position}

    def all_names(self) -> set[str]:
        """Every name with an event anywhere."""
        return set(self._history)


def is_ambient_name(name: str) -> bool:
    """Whether every cell may read the name without anyone binding it: builtins and what IPython puts there."""
    return hasattr(builtins, name) or name in _IPYTHON_NAMES


def is_history_name(name: str) -> bool:
    """Whether it is IPython's input and output history (``_``, ``Out``, ``_3``): depends on the session."""
    return _HISTORY_NAMES.match(name) is not None
