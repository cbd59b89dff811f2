"""Value → digest, named digests → :class:`~cellway.records.Key`.

Every pre-image starts with its record type, and every piece is delimited by its length, so that no two structures share
a pre-image (``1`` and ``"1"``, ``["ab"]`` and ``["a", "b"]`` differ). What cannot be encoded is refused. The digests
are
pinned in ``tests/test_fingerprint.py``: changing one empties every cache, so it must be on purpose.

Small texts and keys use SHA-256 from the standard library (no import on a fully cached run); blobs use BLAKE3, which
hashes several gigabytes per second.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import ast

    from cellway.records import Key

APART = "-apart"
"""Ends the fingerprint of an artifact that shares objects with others and was stored without them: it is there to be
looked at, and no step may start from it."""
_CHUNK = 1 << 20


class Hasher(Protocol):
    """What :func:`blob_hasher` returns: fed with bytes, read once."""

    def update(self, data: Any, /) -> Any:
        """Add bytes, or anything with a contiguous buffer."""

    def hexdigest(self) -> str:
        """Hexadecimal digest of everything added."""


def digest(record: str, *values: Any) -> str:
    """Digest of values under a record type.

    Args:
        record: what the values mean, e.g. ``"parameter"``; equal values of different records differ.
        values: ``None``, booleans, numbers, strings, bytes, and lists, tuples, mappings of those.

    Returns:
        64 hexadecimal characters (SHA-256).

    Raises:
        TypeError: a value of another type.
    """
    state = hashlib.sha256()
    for piece in _encode((record, *values)):
        state.update(piece)
    return state.hexdigest()


def key(parts: Mapping[str, str]) -> Key:
    """The :class:`~cellway.records.Key` of named fingerprints."""
    from cellway.records import Key

    ordered = {name: parts[name] for name in sorted(parts)}
    return Key(_texts("key", ordered), ordered)


def _texts(record: str, ordered: Mapping[str, str]) -> str:
    """``digest(record, ordered)`` for a mapping of texts, in a fraction of the time: a plan makes one for each step."""
    pairs = []
    for name, value in ordered.items():
        left, right = name.encode("utf-8", "surrogatepass"), value.encode("utf-8", "surrogatepass")
        pairs.append(b"s%d:%bs%d:%b" % (len(left), left, len(right), right))
    pairs.sort()
    head = record.encode()
    return hashlib.sha256(b"u2:s%d:%bm%d:%b" % (len(head), head, len(pairs), b"".join(pairs))).hexdigest()


def tree(node: ast.AST) -> str:
    """Digest of a syntax tree without positions: comments, layout, quotes and parentheses do not count.

    Docstrings stay in (they are data). The digest depends on the Python minor version, which is part of every key
    anyway.
    """
    pieces = ["tree"]
    _encode_tree(node, pieces)
    return hashlib.sha256("".join(pieces).encode("latin-1")).hexdigest()


def text(record: str, value: str) -> str:
    """Digest of one text under a record type; the short form of :func:`digest` for the hot paths."""
    return hashlib.sha256(f"{len(record)}:{record}".encode() + value.encode("utf-8", "surrogatepass")).hexdigest()


def blob_hasher() -> Hasher:
    """A hasher for blobs: BLAKE3, or a marked BLAKE2b where the package is missing (kernels of other environments)."""
    try:
        from blake3 import blake3
    except ImportError:
        return _Blake2()
    return blake3()


def file(path: str) -> str:
    """Digest of a file's content, as :func:`blob_hasher` gives it.

    Raises:
        OSError: the file cannot be read.
    """
    state = blob_hasher()
    with open(path, "rb", buffering=0) as stream:
        while chunk := stream.read(_CHUNK):
            state.update(chunk)
    return state.hexdigest()


def listing(folder: str, pattern: str, recursive: bool, without: Collection[str] = ()) -> str:
    """Which files and folders match a pattern, as a text that begins with ``ls`` and ends with the pattern.

    Args:
        folder: where the pattern begins.
        pattern: as in :mod:`glob`; hidden files do not match.
        recursive: whether ``**`` stands for folders below.
        without: absolute paths that are taken as missing.
    """
    import glob
    import os

    found = sorted(name.replace(os.sep, "/") for name in glob.glob(pattern, root_dir=folder, recursive=recursive))
    if without:
        found = [name for name in found if os.path.normpath(os.path.join(folder, name)) not in without]
    return f"ls{int(recursive)}{digest('listing', found)}:{pattern}"


def listed(text: str) -> tuple[str, bool] | None:
    """Pattern and ``recursive`` of a :func:`listing`; ``None`` for any other digest."""
    return (text[68:], text[2] == "1") if text.startswith("ls") else None


class _Blake2:
    """Fallback whose digests can never be taken for BLAKE3's."""

    def __init__(self) -> None:
        self._state = hashlib.blake2b(digest_size=32)

    def update(self, data: Any, /) -> None:
        self._state.update(data)

    def hexdigest(self) -> str:
        return "2b" + self._state.hexdigest()


def _encode(value: Any) -> Iterator[bytes]:
    kind = type(value)
    if value is None:
        yield b"n"
    elif kind is bool:
        yield b"t" if value else b"f"
    elif kind is int:
        number = b"%d" % value
        yield b"i%d:" % len(number)
        yield number
    elif kind is float:
        yield b"d" + struct.pack(">d", value)
    elif isinstance(value, str):
        encoded = value.encode("utf-8", "surrogatepass")
        yield b"s%d:" % len(encoded)
        yield encoded
    elif kind is bytes:
        yield b"b%d:" % len(value)
        yield value
    elif kind is list or kind is tuple:
        yield b"%c%d:" % (b"l" if kind is list else b"u", len(value))
        for item in value:
            yield from _encode(item)
    elif isinstance(value, Mapping):
        yield b"m%d:" % len(value)
        yield from sorted(b"".join(_encode(k)) + b"".join(_encode(v)) for k, v in value.items())
    else:
        raise TypeError(f"cannot fingerprint a {kind.__module__}.{kind.__qualname__}")


# Fields that carry no meaning for the result: where a name stands (ctx is implied by the position), u"" prefixes.
_SILENT = frozenset({"ctx", "kind", "type_comment", "type_ignores"})


# Type of node → its opening, and (field, opening of a value, opening of a list, whether None counts) of each field.
_Shape = tuple[str, tuple[tuple[str, str, str, bool], ...]]
_SHAPES: dict[type, _Shape] = {}


def _shape(kind: type[ast.AST]) -> _Shape:
    name = kind.__name__
    fields = []
    for field in kind._fields:
        if field not in _SILENT:
            text = f"{len(field)}:{field}"
            fields.append((field, "." + text, "[" + text, field == "value" and name == "Constant"))
    shape = f"({len(name)}:{name}", tuple(fields)
    _SHAPES[kind] = shape
    return shape


def _encode_tree(node: ast.AST, pieces: list[str]) -> None:
    _encode_node(node, _SHAPES.get(node.__class__) or _shape(node.__class__), pieces.append)


def _encode_node(node: Any, shape: _Shape, add: Callable[[str], None]) -> None:
    # The analysis of a new cell spends much of its time here. Hence the bytes are put together as Latin-1 text, which
    # Python formats much faster than bytes, and nodes and texts, nearly all there is, are handled first.
    opening, fields = shape
    if not fields:
        add(f"{opening})")
        return
    add(opening)
    for field, one, many, none_counts in fields:
        value: Any = getattr(node, field, None)
        kind: type = value.__class__
        if (known := _SHAPES.get(kind)) is not None:
            add(one)
            _encode_node(value, known, add)
        elif kind is str:
            if not value.isascii():
                value = value.encode("utf-8", "surrogatepass").decode("latin-1")
            add(f"{one}s{len(value)}:{value}")
        elif kind is list:
            members: list[Any] = value
            if members:
                add(f"{many}{len(members)}:")
            for item in members:
                if (known := _SHAPES.get(item.__class__)) is not None:
                    _encode_node(item, known, add)
                else:
                    _encode_field(item, add)
        elif value is not None or none_counts:
            add(one)
            _encode_field(value, add)
    add(")")


def _encode_field(value: Any, add: Callable[[str], None]) -> None:
    if getattr(value, "_fields", None) is not None:
        _encode_node(value, _shape(value.__class__), add)
    elif isinstance(value, complex):
        add("c" + struct.pack(">dd", value.real, value.imag).decode("latin-1"))
    elif value is ...:
        add("e")
    else:
        add(b"".join(_encode(value)).decode("latin-1"))
