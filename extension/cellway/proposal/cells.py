"""What a cell does, as far as proposing tags goes."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from cellway.records import Statement, StatementKind

SYMBOLS = frozenset({StatementKind.IMPORT, StatementKind.FUNCTION, StatementKind.CLASS, StatementKind.CONSTANT})
"""What can be carried into the steps that use it."""


class CellFacts:
    """A code cell in the words of this module.

    Attributes:
        reads: names that it takes from elsewhere, also those that its functions read later.
        binds: names that it binds, on some path at least.
        changes: names whose object it definitely changes.
        data: whether it computes something that cannot simply be carried.
    """

    def __init__(self, index: int, statements: Sequence[Statement]) -> None:
        self.index = index
        self.statements = statements
        self.reads: set[str] = set()
        self.binds: set[str] = set()
        self.changes: set[str] = set()
        bound: set[str] = set()
        for statement in statements:
            self.reads |= {reference.name for reference in statement.reads} - bound
            bound |= set(statement.binds)
            self.binds |= {*statement.binds, *statement.may_bind}
            self.changes |= {reference.name for reference in statement.changes} | set(statement.deletes)
        for statement in statements:
            self.reads |= {reference.name for reference in (*statement.deferred, *statement.mentions)} - bound
        self.data = False

    def classify(self, symbols: set[str]) -> None:
        """Decide whether the cell computes something, given the names that can be carried."""
        self.data = any(
            statement.kind is StatementKind.OTHER
            or (statement.kind in SYMBOLS and not set(statement.binds) <= symbols and not statement.opaque)
            for statement in self.statements
        )

    @property
    def sets_attributes(self) -> bool:
        """Whether it assigns to attributes or items of something in a way that is not carried by itself."""
        return any(
            "attribute" in statement.ambient and statement.kind is not StatementKind.AMBIENT
            for statement in self.statements
        )

    @property
    def seeds(self) -> bool:
        """Whether the cell seeds a global generator."""
        return any("seed" in statement.ambient for statement in self.statements)


def called(call: ast.Call) -> str:
    """The last name of what is called: ``head`` for ``df.head()``."""
    function = call.func
    return (
        function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
    )
