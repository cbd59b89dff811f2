"""Which values share mutable objects: they are stored together, so that an alias stays an alias (design §5.4).

A value is walked the way pickle would walk it, into nothing. Two values share if one mutable object, or writable
memory, is met from both. What cannot change (numbers, texts, classes, Arrow tables) may be shared by any number of
values unseen.
"""

from __future__ import annotations

import copyreg
import pickle
import sys
import types
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from cellway.materializers.array import extent
from cellway.materializers.memory import copies_on_write, frame_arrays

_ATOMS = frozenset({
    type(None), bool, int, float, complex, str, bytes, range, slice, type(...), type(NotImplemented), type,
    types.ModuleType, types.BuiltinFunctionType, types.MethodDescriptorType,
})  # fmt: skip
_CONTAINERS = frozenset({list, dict, set, tuple, frozenset})
_LONG = 32
"""Items from which on a look at all types at once pays."""


class Span(NamedTuple):
    """Memory of an array: first address, address behind the last byte, and how it may be written.

    Attributes:
        framed: it belongs to a pandas object that copies on write; two of those never see each other's changes.
    """

    low: int
    high: int
    writable: bool
    framed: bool


class Graph:
    """What a value consists of, as far as sharing goes.

    Attributes:
        objects: mutable objects by ``id`` (kept alive, so that no ``id`` is used twice).
        spans: memory of arrays.
        culprits: types that pickle cannot take apart, in the order in which they were met.
    """

    def __init__(self, value: Any) -> None:
        self.objects: dict[int, Any] = {}
        self.spans: list[Span] = []
        self.culprits: list[str] = []
        self._walker = _Walker(self)
        self._walker.walk(value)

    @property
    def inert(self) -> bool:
        """Whether nothing in the value can be shared in a way that shows."""
        return not self.objects and not self.spans


def groups(graphs: Mapping[str, Graph]) -> list[list[str]]:
    """Names that share something, directly or through others.

    Args:
        graphs: name → graph; the order decides about the order of the result.

    Returns:
        Every name once, in groups.
    """
    parent = {name: name for name in graphs}

    def find(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    owner: dict[int, str] = {}
    for name, graph in graphs.items():
        for key in graph.objects:
            other = owner.setdefault(key, name)
            if other != name:
                parent[find(name)] = find(other)
    for one, other in _overlaps(graphs):
        parent[find(one)] = find(other)
    found: dict[str, list[str]] = {}
    for name in graphs:
        found.setdefault(find(name), []).append(name)
    return list(found.values())


def _overlaps(graphs: Mapping[str, Graph]) -> Iterable[tuple[str, str]]:
    spans = sorted(
        ((span, name) for name, graph in graphs.items() for span in graph.spans), key=lambda pair: pair[0][:2]
    )
    open_: list[tuple[Span, str]] = []
    for span, name in spans:
        open_ = [pair for pair in open_ if pair[0].high > span.low]
        for other, owner in open_:
            if owner != name and _visible(span, other):
                yield name, owner
        open_.append((span, name))


def _visible(one: Span, other: Span) -> bool:
    """Whether a change through one can be seen through the other."""
    if one.framed and other.framed:
        return False
    if one.framed or other.framed:
        # A read-only view of a frame (``df["y"].to_numpy()``) counts as what it showed when it was taken.
        return one.writable and other.writable
    return one.writable or other.writable


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


class _Nowhere:
    def write(self, data: Any) -> int:
        return len(data)


class _Walker(pickle.Pickler):
    def __init__(self, graph: Graph) -> None:
        super().__init__(_Nowhere(), protocol=5, buffer_callback=lambda _: False)
        self._graph = graph
        self._todo: list[Any] = []
        self._met: dict[int, Any] = {}

    def walk(self, value: Any) -> None:
        self._todo.append(value)
        while self._todo:
            try:
                self.dump(self._todo.pop())
            except RecursionError:
                self._graph.culprits.append("nested too deeply")
            except Exception as error:  # noqa: BLE001 (a broken __reduce__: storing it will say so, too)
                self._graph.culprits.append(str(error))

    def persistent_id(self, obj: Any) -> Any:
        """``None`` to go on into the object, anything else to stop here."""
        kind = type(obj)
        if kind in _ATOMS or isinstance(obj, type):
            return 0
        if kind in _CONTAINERS:
            return self._container(obj, kind)
        if kind is types.FunctionType:
            return self._later(obj, obj.__closure__, obj.__defaults__, obj.__kwdefaults__, obj.__dict__ or None)
        if kind is types.CellType:
            self._graph.objects[id(obj)] = obj
            return self._later(obj, _content(obj))
        home = kind.__module__.partition(".")[0]
        special = getattr(self, "_" + home, None) if home in {"numpy", "pandas", "polars", "pyarrow", "torch"} else None
        return special(obj, kind) if special is not None else None

    def _later(self, obj: Any, *parts: Any) -> int:
        if id(obj) not in self._met:
            self._met[id(obj)] = obj
            self._todo.extend(part for part in parts if part is not None)
        return 0

    def _container(self, obj: Any, kind: type) -> Any:
        if kind is not tuple and kind is not frozenset:
            self._graph.objects[id(obj)] = obj
        if len(obj) < _LONG:
            return None
        items = set(map(type, obj)) if kind is not dict else {*map(type, obj), *map(type, obj.values())}
        return 0 if items <= _ATOMS else None

    def _numpy(self, obj: Any, kind: type) -> Any:
        np = sys.modules["numpy"]
        if isinstance(obj, np.ndarray):
            self._graph.objects[id(obj)] = obj
            self._span(obj, framed=False)
            if kind is not np.ndarray:
                return None
            if obj.dtype.hasobject:
                self._elements(obj)
            return 0
        return 0 if isinstance(obj, (np.generic, np.dtype)) else None

    def _elements(self, array: Any) -> None:
        items = array.ravel().tolist()
        if not set(map(type, items)) <= _ATOMS:
            self._later(array, items)

    def _pandas(self, obj: Any, _: type) -> Any:
        pd = sys.modules["pandas"]
        frame = isinstance(obj, (pd.DataFrame, pd.Series))
        if not frame and not isinstance(obj, pd.Index):
            return None
        if frame:
            self._graph.objects[id(obj)] = obj
            self._later(obj, dict(obj.attrs) or None)
        for array in frame_arrays(obj):
            if array.dtype.hasobject:
                self._elements(array)
            elif frame:
                self._span(array, framed=copies_on_write())
        return 0

    def _polars(self, obj: Any, _: type) -> Any:
        self._graph.objects[id(obj)] = obj
        return 0

    def _pyarrow(self, _: Any, __: type) -> Any:
        return 0

    def _torch(self, obj: Any, kind: type) -> Any:
        if kind.__name__ in {"Tensor", "Parameter"}:
            self._graph.objects[id(obj)] = obj
            storage = obj.untyped_storage()
            if storage.nbytes():
                self._graph.spans.append(Span(storage.data_ptr(), storage.data_ptr() + storage.nbytes(), True, False))
            return 0
        return None

    def _span(self, array: Any, *, framed: bool) -> None:
        low, high = extent(array)
        if high > low and array.size:
            self._graph.spans.append(Span(low, high, bool(array.flags.writeable), framed))

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        try:
            reduce = copyreg.dispatch_table.get(kind)
            reduced = reduce(obj) if reduce is not None else obj.__reduce_ex__(5)
        except Exception:  # noqa: BLE001 (whatever a class raises: pickle cannot take it apart)
            self._graph.culprits.append(f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins."))
            return int, ()
        if not isinstance(reduced, tuple):
            return int, ()
        # With state or items it can change; without, it is as good as its arguments (dates, paths, decimals, loggers).
        if any(part is not None for part in reduced[2:5]) or kind.__name__ in {"bytearray", "array"}:
            self._graph.objects[id(obj)] = obj
        return reduced
