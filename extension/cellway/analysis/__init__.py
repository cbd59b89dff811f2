"""Notebook → names per cell: what each statement binds, reads, and changes or may change.

The promise "never silently different" rests here: a change or a read that is missed makes a wrong pipeline, one that is
seen too many costs a comparison. docs/analysis.md says what is seen and what is assumed.
"""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from cellway import fingerprint

if TYPE_CHECKING:
    from cellway.records import Names, Notebook

__all__ = ["Cache", "analyse", "analyse_source"]

FORMAT = 2
"""Goes up whenever the analysis of the same text gives something else."""

_METHOD = re.compile(r"^[ \t]+(?:async[ \t]+)?def[ \t]+(\w+)", re.MULTILINE)


class Cache(Protocol):
    """Bytes by digest, kept between runs (the ledger implements it)."""

    def get_many(self, digests: Sequence[str], /) -> Mapping[str, bytes]:
        """What is known of these digests; unknown ones are left out."""

    def put_many(self, items: Mapping[str, bytes], /) -> None:
        """Keep bytes by digest."""


def analyse(notebook: Notebook, cache: Cache | None = None) -> tuple[Names, ...]:
    """Names of every cell, in order; markdown cells have none.

    Args:
        notebook: as read.
        cache: where results are kept by the digest of the text; damaged entries are made anew.
    """
    from cellway.records import Names, Role

    bodies = [cell.body if cell.kind == "code" and cell.role is not Role.TEXT else None for cell in notebook.cells]
    code = [body for body in bodies if body is not None]
    impure = _impure(code)
    digests = {body: _digest(body, impure) for body in code}
    known = _cached(cache, list(digests.values()))
    new: dict[str, Names] = {}
    collecting = gc.isenabled()
    gc.disable()  # thousands of small objects that all stay: collections in between find nothing
    try:
        for body, digest in digests.items():
            if digest not in known:
                known[digest] = new[digest] = _read(body, impure)
    finally:
        if collecting:
            gc.enable()
    if cache is not None and new:
        from cellway.analysis import encoding

        cache.put_many({digest: encoding.dump(names) for digest, names in new.items()})
    empty = Names(fingerprint.text("cell", ""))
    return tuple(empty if body is None else known[digests[body]] for body in bodies)


def analyse_source(body: str) -> Names:
    """Names of one piece of source, regarded by itself."""
    return _read(body, _impure([body]))


def _read(body: str, impure: frozenset[str]) -> Names:
    from cellway.analysis import statements

    return statements.read(body, impure)


def _impure(bodies: Sequence[str]) -> frozenset[str]:
    """Methods of the notebook's own classes whose names promise elsewhere that nothing is changed."""
    methods = {name for body in bodies if "class" in body for name in _METHOD.findall(body)}
    if not methods:
        return frozenset()
    from cellway.analysis import known

    return frozenset(methods & (known.FRESH | known.VIEWS))


def _digest(body: str, impure: frozenset[str]) -> str:
    return fingerprint.digest("analysis", FORMAT, list(sys.version_info[:2]), body, sorted(impure))


def _cached(cache: Cache | None, digests: list[str]) -> dict[str, Names]:
    if cache is None:
        return {}
    from cellway.analysis import encoding

    found: dict[str, Names] = {}
    for digest, data in cache.get_many(digests).items():
        try:
            found[digest] = encoding.load(data)
        except ValueError:
            continue
    return found
