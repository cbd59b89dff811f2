"""Name → implementation, through entry points.

Built-in backends and stores come through the same door as a stranger's: one entry-point group per protocol
(``cellway.backends``, ``cellway.stores``, ``cellway.materializers``), see docs/plugins.md.
"""

from __future__ import annotations

import difflib
from typing import Any

from cellway.errors import PluginError

GROUPS = {"backends": "backend", "stores": "store", "materializers": "materializer"}
"""Entry-point groups (without the ``cellway.`` prefix) and what one member is called."""


def names(group: str) -> tuple[str, ...]:
    """Names that are installed in a group, sorted."""
    from importlib.metadata import entry_points

    return tuple(sorted({point.name for point in entry_points(group=f"cellway.{group}")}))


def targets(group: str) -> tuple[str, ...]:
    """``module:attribute`` of every member of a group, by name: what a kernel is told to load."""
    from importlib.metadata import entry_points

    return tuple(dict.fromkeys(point.value for point in sorted(entry_points(group=f"cellway.{group}"))))


def load(group: str, name: str) -> Any:
    """The object that an entry point names: a class or factory.

    Raises:
        PluginError: no package offers the name, or its module cannot be imported.
    """
    from importlib.metadata import entry_points

    found = [point for point in entry_points(group=f"cellway.{group}") if point.name == name]
    if not found:
        known = names(group)
        close = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"installed: {', '.join(known) or 'none'}"
        raise PluginError(f"no {GROUPS[group]} is called {name!r}", name=name, fix=hint)
    try:
        return found[0].load()
    except Exception as error:
        raise PluginError(
            f"the {GROUPS[group]} {name!r} cannot be loaded from {found[0].value}: {error}",
            name=name,
            fix="install what it needs, or choose another one",
        ) from error
