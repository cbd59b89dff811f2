"""The part of cellway that runs in the user's kernel. Importing any of it costs milliseconds."""

from __future__ import annotations

from typing import Any


def load_ipython_extension(shell: Any) -> None:
    """``%load_ext cellway_magics``; ``%load_ext cellway`` does the same."""
    from cellway_magics import magics

    magics.register(shell)


def unload_ipython_extension(shell: Any) -> None:
    """``%unload_ext cellway_magics``."""
    from cellway_magics import magics

    magics.unregister(shell)
