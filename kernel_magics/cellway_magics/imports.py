"""What happens when the step imports something: callbacks afterwards, and project modules always from source.

Python trusts compiled bytecode if the source has the same size and the same second of change. A helper that is edited
twice within a second would run as it was before, so bytecode of project-local modules is neither read nor written.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
)
from types import CodeType, ModuleType
from typing import Any

Callback = Callable[[ModuleType], None]


def after(name: str, callback: Callback) -> None:
    """Call back when a module has been imported: at once if it is there already."""
    module = sys.modules.get(name)
    if module is not None and not _still_loading(module):
        callback(module)
        return
    _FINDER.waiting.setdefault(name, []).append(callback)
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)


def forget() -> None:
    """Drop the callbacks that still wait."""
    _FINDER.waiting.clear()


def always_from_source(roots: Sequence[str]) -> None:
    """Import modules below these folders without bytecode caches; installed packages keep theirs.

    Args:
        roots: absolute folders; ``site-packages`` and hidden folders in them are left alone.
    """
    _ROOTS[:] = [os.path.realpath(root) for root in roots]
    if _fresh_hook not in sys.path_hooks:
        sys.path_hooks.insert(0, _fresh_hook)
    # Finders made before this call, and listings of folders older than the last edit.
    for path in list(sys.path_importer_cache):
        if _is_local(path):
            del sys.path_importer_cache[path]
    importlib.invalidate_caches()


_ROOTS: list[str] = []


def _is_local(path: str) -> bool:
    place = os.path.realpath(path or os.getcwd())
    for root in _ROOTS:
        if place == root or place.startswith(os.path.join(root, "")):
            parts = place[len(root) :].split(os.sep)
            return not any(
                part in {"site-packages", "dist-packages", "node_modules"} or part[:1] == "." for part in parts
            )
    return False


def _fresh_hook(path: str) -> FileFinder:
    if not _is_local(path) or not os.path.isdir(path or os.getcwd()):
        raise ImportError("not a folder of the project")
    return FileFinder(path or os.getcwd(), (ExtensionFileLoader, EXTENSION_SUFFIXES), (_FromSource, SOURCE_SUFFIXES))


class _FromSource(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def _still_loading(module: ModuleType) -> bool:
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))


class _Finder:
    """Stands first on the meta path; finds nothing itself, but notices when a waited-for module is found."""

    def __init__(self) -> None:
        self.waiting: dict[str, list[Callback]] = {}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in self.waiting:
            return None
        callbacks = self.waiting.pop(name)
        for finder in sys.meta_path:
            if finder is self:
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None and hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader, callbacks)  # type: ignore[assignment]
                return spec
        self.waiting[name] = callbacks  # not installed (yet)
        return None


class _Loader:
    """Loads with the real loader, puts that back into its place, and calls back."""

    def __init__(self, loader: Any, callbacks: list[Callback]) -> None:
        self._loader = loader
        self._callbacks = callbacks

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        for callback in self._callbacks:
            callback(module)


_FINDER = _Finder()
