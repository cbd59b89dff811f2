"""How functions and classes that the notebook itself defines travel: a pickler on top of cloudpickle's.

The names of the functions that stand in reduce tuples (``main_globals``, ``settle``, ``fill``, ``notebook_class``) are
part of the format of pickles.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import sys
import types
from collections.abc import Iterator
from typing import Any

from cellway.errors import CannotStore


def make_cloud(cloudpickle: Any, common: Any, errors: tuple[type[Exception], ...]) -> Any:
    """The pickler class.

    Args:
        cloudpickle: the package.
        common: base class, with the treatment of everything that is no function or class.
        errors: what a pickler raises for a value that it cannot take apart.
    """
    internals = cloudpickle.cloudpickle
    refused: tuple[type[Exception], ...] = (*errors, CannotStore)

    class Cloud(common, cloudpickle.Pickler):  # type: ignore[misc]
        own: Any = None
        """The notebook class that this pickler takes apart."""
        open: tuple[Any, ...] = ()
        """Notebook classes that are being taken apart: met again, they go by name."""

        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, type):
                if _top_level(obj) and obj is not self.own:
                    return NotImplemented if obj in self.open else (notebook_class, (obj.__qualname__, self.spare(obj)))
                if obj in self.open or _importable(obj):
                    return super().reducer_override(obj)
                # Of no module, or of no name in it: by value, under an identity that comes from its content.
                with self.identified(obj):
                    return super().reducer_override(obj)
            if isinstance(obj, types.FunctionType):
                return _detached(super().reducer_override(obj), obj)
            if isinstance(obj, types.CellType):
                return _reduce_cell(obj)
            if isinstance(obj, types.CodeType) and "ipykernel" in obj.co_filename:
                # The cell's temporary file carries the kernel's process id: equal functions would have unequal bytes.
                return internals._code_reduce(obj.replace(co_filename="<notebook>"))
            return self.special(obj)

        def spare(self, kind: Any) -> bytes | None:
            """The class by value, for a step that does not define it; ``None`` where that is not possible."""
            try:
                with self.identified(kind):
                    return self.by_value(kind)
            except refused:
                return None

        @contextlib.contextmanager
        def identified(self, kind: Any) -> Iterator[None]:
            """Let cloudpickle know the class by its content: a random identity would give other bytes each time."""
            known = getattr(internals, "_DYNAMIC_CLASS_TRACKER_BY_CLASS", None)
            if known is None or known.get(kind):
                yield
                return
            from cellway.fingerprint import digest

            known[kind] = ""
            try:
                known[kind] = digest("class", self.by_value(kind))[:32]
                yield
            finally:
                known.pop(kind, None)

        def by_value(self, kind: Any) -> bytes:
            file = io.BytesIO()
            pickler = Cloud(file, protocol=5)
            pickler.hulls, pickler.own, pickler.open = {}, kind, (*self.open, kind)
            pickler.dump(kind)
            return file.getvalue()

    return Cloud


def _top_level(kind: type) -> bool:
    """Whether the notebook's namespace has this very class under its name."""
    main = sys.modules.get("__main__")
    return kind.__module__ == "__main__" and getattr(main, kind.__qualname__, None) is kind


def _importable(kind: type) -> bool:
    """Whether a class is found under its name in a module."""
    found: Any = sys.modules.get(kind.__module__)
    for part in kind.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is kind and kind.__module__ != "__main__"


def _detached(reduced: Any, function: types.FunctionType) -> Any:
    """cloudpickle's reduce tuple of a function, with two changes.

    Its cells are stored as themselves, so that two functions which share a variable go on sharing it. And the globals
    of a function of the notebook are the notebook's at the other end.
    """
    if not isinstance(reduced, tuple) or len(reduced) != 6:
        return reduced
    make, (code, space, name, defaults, _), (attributes, slots), _, _, setter = reduced
    state = attributes, {**slots, "__closure__": None}
    main = sys.modules.get("__main__")
    if main is None or function.__globals__ is not main.__dict__:
        return make, (code, space, name, defaults, function.__closure__), state, None, None, setter
    return make, (code, _NAMESPACE, name, defaults, function.__closure__), (setter, state), None, None, settle


def _reduce_cell(cell: types.CellType) -> Any:
    # Made empty and filled afterwards: what is in it may refer back to it (a recursive inner function).
    try:
        return types.CellType, (), (cell.cell_contents,), None, None, fill
    except ValueError:
        return types.CellType, ()


def fill(cell: types.CellType, content: tuple[Any]) -> None:
    """Give a loaded cell its content."""
    (cell.cell_contents,) = content


class _Namespace:
    """Stands for the notebook's namespace, wherever it is loaded."""

    def __reduce__(self) -> Any:
        return main_globals, ()


_NAMESPACE = _Namespace()


def main_globals() -> dict[str, Any]:
    """The namespace of the notebook that loads."""
    return sys.modules["__main__"].__dict__


def settle(function: Any, state: Any) -> None:
    """Give a loaded function its state; globals that the namespace has already win over the ones that came along."""
    setter, (attributes, slots) = state
    space = function.__globals__
    builtins = space.get("__builtins__")
    for name, value in slots.pop("__globals__").items():
        space.setdefault(name, value)
    setter(function, (attributes, {**slots, "__globals__": {}}))
    space["__builtins__"] = builtins


def notebook_class(name: str, spare: bytes | None) -> Any:
    """The notebook's class of that name; where there is none, the one that came along."""
    space = main_globals()
    kind = space.get(name)
    if isinstance(kind, type):
        return kind
    if spare is None:
        raise AttributeError(f"class {name} of the notebook")
    return space.setdefault(name, pickle.loads(spare))
