"""Kernels for step notebooks: papermill's engine ``cellway``, and where its kernels come from."""

from __future__ import annotations

from typing import Any

__all__ = ["Engine"]


class _Delegating(type):
    def __getattr__(cls, name: str) -> Any:
        from cellway.kernels.engine import Engine as Real

        return getattr(Real, name)


class Engine(metaclass=_Delegating):
    """What papermill's entry point names: :class:`cellway.kernels.engine.Engine`, loaded when it is first used.

    papermill loads every engine while it is being imported itself. The real one needs papermill, so it must not be
    imported from there; and who uses papermill without cellway does not pay for it.
    """
