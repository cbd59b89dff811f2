"""Into which folders a step looks: which files are there decides what it does as much as what is in them."""

from __future__ import annotations

import glob
import os
from types import FrameType
from typing import Any, NamedTuple

EVENTS = ("os.listdir", "os.scandir", "glob.glob/2", "pathlib.Path.")
_MACHINERY = frozenset(
    "importlib importlib_metadata importlib_resources pkgutil pkg_resources zipimport site inspect linecache "
    "setuptools "
    "IPython ipykernel jedi tempfile shutil glob cellway cellway_magics".split()
)
"""Modules that list folders to find code, or whose listing is told by an event of its own."""
_WALKS = frozenset({"iterdir", "walk", "_walk"})


class Look(NamedTuple):
    """A look into a folder.

    Attributes:
        folder: absolute.
        pattern: what was looked for in it, as :mod:`glob` has it.
        recursive: whether ``**`` stands for folders below.
    """

    folder: str
    pattern: str
    recursive: bool


def look(name: str, args: tuple[Any, ...], frame: FrameType) -> Look | None:
    """What an audit event says of a step's look into a folder, if it does.

    Args:
        name: of the event.
        args: of the event.
        frame: the one that raised it.
    """
    if name == "glob.glob/2":
        pathname, recursive, root, _ = args
        return _pattern(os.path.join(os.fsdecode(root or ""), os.fsdecode(pathname)), bool(recursive))
    if name.startswith("pathlib."):
        if name.rpartition(".")[2] not in {"glob", "rglob"}:
            return None
        deep = "**" if name.endswith(".rglob") else ""
        return _pattern(os.path.join(os.fspath(args[0]), deep, os.fspath(args[1])), True)
    if not name.startswith("os.") or type(args[0]) is int:
        return None
    module = frame.f_globals.get("__name__", "").partition(".")[0]
    if module in _MACHINERY or (module == "pathlib" and not _walks(frame)):
        return None
    return Look(os.path.abspath(os.fsdecode(args[0] or ".")), "*", False)


def _walks(frame: FrameType) -> bool:
    """Whether ``pathlib`` lists the folder as such; what its ``glob`` looks for is told by an event of its own."""
    above = frame.f_back
    return frame.f_code.co_name in _WALKS or (above is not None and above.f_code.co_name in _WALKS)


def _pattern(path: str, recursive: bool) -> Look | None:
    """A path with wildcards taken apart at the last folder without any."""
    if not glob.has_magic(path):
        return None
    parts = os.path.abspath(path).split(os.sep)
    first = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    return Look(os.sep.join(parts[:first]) or os.sep, "/".join(parts[first:]), recursive)
