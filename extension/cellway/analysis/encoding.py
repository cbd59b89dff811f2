"""Names ↔ bytes, for the cache of analyses.

The bytes are a `marshal` dump of nested tuples. ``marshal`` is several times faster than JSON and needs no import; its
format depends on the interpreter, which is part of the digest under which the bytes are kept. The first element is a
digest of the records' field names: bytes written before a field was added, renamed or moved are not misread.

A damaged entry is an error, never wrong names: the dump is preceded by its SHA-256, because ``marshal`` does not notice
a changed letter (and may crash on bytes that it did not write).
"""

from __future__ import annotations

import hashlib
import marshal
from dataclasses import fields
from typing import Any

from cellway import fingerprint
from cellway.records import Call, Function, Names, Reference, Statement, StatementKind

_RECORDS: tuple[Any, ...] = (Names, Statement, Function, Call, Reference)
_SHAPE = fingerprint.digest("names", [[kind.__name__, *(f.name for f in fields(kind))] for kind in _RECORDS])[:16]
_KINDS = {kind.value: kind for kind in StatementKind}
_REFERENCES = ("reads", "deferred", "changes", "may_change", "mentions")
_STATEMENT = tuple(f.name for f in fields(Statement))
_FUNCTION = tuple(f.name for f in fields(Function))
_DIGEST_SIZE = 32


def dump(names: Names) -> bytes:
    """Bytes of the names of a cell."""
    statements = [_from_statement(statement) for statement in names.statements]
    data = marshal.dumps((_SHAPE, names.fingerprint, statements, names.error))
    return hashlib.sha256(data).digest() + data


def load(data: bytes) -> Names:
    """The names that :func:`dump` made bytes of.

    Raises:
        ValueError: the bytes are damaged, or were written by another version.
    """
    body = memoryview(data)[_DIGEST_SIZE:]
    if hashlib.sha256(body).digest() != data[:_DIGEST_SIZE]:
        raise ValueError("the stored analysis is damaged")
    try:
        shape, digest, statements, error = marshal.loads(body)  # noqa: S302 - holds values only, and is intact
        if shape != _SHAPE:
            raise ValueError("the stored analysis was written by another version")
        return Names(digest, tuple(map(_to_statement, statements)), error)
    except (EOFError, TypeError, KeyError, AttributeError) as problem:
        raise ValueError(f"the stored analysis cannot be read: {problem}") from problem


def _from_statement(statement: Statement) -> tuple[Any, ...]:
    row = {name: getattr(statement, name) for name in _STATEMENT}
    row["kind"] = statement.kind.value
    for name in _REFERENCES:
        row[name] = [(reference.name, reference.line) for reference in row[name]]
    row["calls"] = _from_calls(statement.calls)
    if statement.function is not None:
        row["function"] = _from_function(statement.function)
    return tuple(row.values())


def _to_statement(row: tuple[Any, ...]) -> Statement:
    values = dict(zip(_STATEMENT, row, strict=True))
    values["kind"] = _KINDS[values["kind"]]
    for name in _REFERENCES:
        values[name] = tuple([Reference(*pair) for pair in values[name]])
    values["calls"] = _to_calls(values["calls"])
    if values["function"] is not None:
        values["function"] = _to_function(values["function"])
    return Statement(**values)


def _from_function(function: Function) -> tuple[Any, ...]:
    row = {name: getattr(function, name) for name in _FUNCTION}
    row["calls"] = _from_calls(function.calls)
    return tuple(row.values())


def _to_function(row: tuple[Any, ...]) -> Function:
    values = dict(zip(_FUNCTION, row, strict=True))
    values["calls"] = _to_calls(values["calls"])
    return Function(**values)


def _from_calls(calls: tuple[Call, ...]) -> list[tuple[Any, ...]]:
    return [(call.function, call.line, call.arguments) for call in calls]


def _to_calls(rows: list[tuple[Any, ...]]) -> tuple[Call, ...]:
    return tuple([Call(*row) for row in rows])
