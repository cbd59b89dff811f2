"""Plain values as JSON: readable by anything, the same bytes for the same value.

Only what JSON gives back exactly, in value *and* in type, is accepted: ``(1, 2)`` would come back as a list, ``NaN`` is
not JSON, a subclass of ``str`` would be a ``str``, and a list that stands twice in another would be two lists.
"""

from __future__ import annotations

import json
from typing import Any, BinaryIO

_DEPTH = 50
_ITEMS = 100_000
_DIGITS_SAFE = 1 << 12
"""Bits of the largest integer: far below the interpreter's limit on decimal digits, wherever that is set."""


class Plain:
    """``None``, booleans, numbers, strings, and lists and dictionaries of those."""

    name = "json"
    suffix = ".json"
    executes = False

    def accepts(self, value: Any) -> bool:
        """Whether JSON gives the same value with the same types."""
        return exact(value)

    def write(self, value: Any, file: BinaryIO) -> None:
        """Write compact UTF-8 JSON; dictionaries keep their order."""
        file.write(json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode())

    def read(self, path: str) -> Any:
        """Read it back."""
        with open(path, "rb") as file:
            return json.loads(file.read())

    def describe(self, value: Any) -> dict[str, Any]:
        """Sidecar, see :mod:`cellway.materializers.sidecar`."""
        from cellway.materializers.sidecar import describe

        return describe(value)


def exact(value: Any) -> bool:
    """Whether a value comes back from JSON with the same value and types, and without having lost an alias."""
    return _exact(value, set(), 0)


def _exact(value: Any, seen: set[int], depth: int) -> bool:
    kind = type(value)
    if value is None or kind is bool:
        return True
    if kind is int:
        return bool(value.bit_length() <= _DIGITS_SAFE)
    if kind is float:
        return bool(value - value == 0.0)  # neither NaN nor infinite; -0.0 and every digit come back
    if kind is str:
        return _encodable(value)
    if kind is not list and kind is not dict:
        return False
    # The same container met again is an alias (or a cycle), which JSON would turn into a copy.
    if id(value) in seen or depth >= _DEPTH or len(seen) + len(value) > _ITEMS:
        return False
    seen.add(id(value))
    if kind is list:
        return all(_exact(item, seen, depth + 1) for item in value)
    return all(type(key) is str and _encodable(key) and _exact(item, seen, depth + 1) for key, item in value.items())


def _encodable(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:  # lone surrogates: two of them would come back as one character
        return False
    return True
