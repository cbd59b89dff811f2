"""cellway: from a tagged notebook to a cached pipeline that runs headless.

Public names are loaded on first use: this module is imported in the user's kernel and on every fully cached run, where
milliseconds count.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself takes milliseconds to import
if TYPE_CHECKING:
    from typing import Any

    from cellway._version import __version__ as __version__
    from cellway.errors import CellwayError as CellwayError
    from cellway.errors import Refusal as Refusal
    from cellway.project import Project as Project

_HOMES = {
    "CellwayError": "cellway.errors",
    "Refusal": "cellway.errors",
    "Project": "cellway.project",
    "__version__": "cellway._version",
}

__all__ = ["CellwayError", "Project", "Refusal", "__version__"]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'cellway' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    return [{"src": "labextension", "dest": "cellway"}]


def load_ipython_extension(shell: Any) -> None:
    """``%load_ext cellway``: the kernel's side lives in its own package."""
    import importlib

    importlib.import_module("cellway_magics.magics").register(shell)


def unload_ipython_extension(shell: Any) -> None:
    """``%unload_ext cellway``: takes the magics away again."""
    import importlib

    importlib.import_module("cellway_magics.magics").unregister(shell)
