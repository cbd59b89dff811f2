"""Everything else: pickle protocol 5, the large buffers out of band in the same file, mapped on read.

Layout of a file (little endian): 16 bytes of magic, the pickle stream, the buffers, each at a multiple of 64, then a table
of ``(offset, size)`` pairs (the stream first) and at the very end the number of pairs and a closing mark. The names of the
module-level functions with an underscore that stand in reduce tuples are part of the format.

What the standard pickle does not keep is kept here: arrays that share memory go on sharing it, and so do strides.
Functions of the notebook travel by value and look their globals up in the namespace where they arrive; classes of the
notebook are the ones of that namespace, so that ``isinstance`` holds, and travel by value as a spare.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import struct
import sys
import types
from collections.abc import Iterator
from typing import Any, BinaryIO

from cellway.errors import CannotStore, StoreError
from cellway.materializers.mapping import private

_MAGIC = b"cellway pickle1\n"
_END = b"CWPICKLE"
_ALIGNMENT = 64
_IN_BAND = 1024
"""Bytes below which a buffer stays in the stream: aligning it would cost more than it saves."""


class Pickled:
    """Any value that pickle, or else cloudpickle, can take apart."""

    name = "pickle"
    suffix = ".pickle"
    executes = True

    def accepts(self, value: Any) -> bool:
        """Always; :meth:`write` says what cannot be stored."""
        return True

    def write(self, value: Any, file: BinaryIO) -> None:
        """Write stream, buffers and table.

        Raises:
            CannotStore: something in the value has no stored form.
        """
        stream, buffers = dumps(value, getattr(file, "limit", None))
        file.write(_MAGIC)
        file.write(stream)
        table = [(len(_MAGIC), len(stream))]
        position = len(_MAGIC) + len(stream)
        for buffer in buffers:
            raw = buffer.raw()
            padding = -position % _ALIGNMENT
            file.write(b"\0" * padding)
            file.write(raw)
            table.append((position + padding, raw.nbytes))
            position += padding + raw.nbytes
        file.write(b"".join(struct.pack("<QQ", *entry) for entry in table))
        file.write(struct.pack("<Q8s", len(table), _END))

    def read(self, path: str) -> Any:
        """Load; arrays lie on a private mapping of the file, writable.

        Raises:
            StoreError: the file is damaged, or a class of the notebook is missing here.
        """
        mapping = private(path)
        damaged = StoreError(f"{path} is damaged", fix="delete the file and run the step again")
        if mapping[: len(_MAGIC)] != _MAGIC or mapping[-len(_END) :] != _END:
            raise damaged
        (count,) = struct.unpack_from("<Q", mapping, len(mapping) - 16)
        start = len(mapping) - 16 - 16 * count
        if count < 1 or start < len(_MAGIC):
            raise damaged
        view = memoryview(mapping)
        table = [struct.unpack_from("<QQ", mapping, start + 16 * i) for i in range(count)]
        stream, *buffers = (view[offset : offset + size] for offset, size in table)
        try:
            return pickle.loads(stream, buffers=buffers)
        except (AttributeError, ImportError) as error:
            raise StoreError(
                f"a stored value needs something that this step lacks: {error}",
                fix="define or import it in an untagged cell above the step, or in a %%setup cell",
            ) from error

    def describe(self, value: Any) -> dict[str, Any]:
        """Sidecar, see :mod:`cellway.materializers.sidecar`."""
        from cellway.materializers.sidecar import describe

        return describe(value)


def dumps(
    value: Any, limit: int | None = None, *, canonical: bool = False
) -> tuple[memoryview, list[pickle.PickleBuffer]]:
    """Take a value apart: the stream, and the buffers that it refers to (not copied).

    Args:
        limit: give up above that many bytes.
        canonical: for :func:`essence`, not for loading.

    Raises:
        CannotStore: something in the value has no stored form, or it is larger than the limit.
    """
    try:
        return _dumps(value, _CanonicalPlain if canonical else _Plain, limit, {})
    except _Dynamic:
        return _dumps(value, _cloud(canonical), limit, {})
    except (pickle.PicklingError, AttributeError, TypeError, ValueError, NotImplementedError) as refused:
        try:
            cloud = _cloud(canonical)
        except CannotStore:
            raise CannotStore(_reason(refused)) from refused
        try:
            return _dumps(value, cloud, limit, {})
        except _ERRORS as error:
            raise CannotStore(_reason(error)) from error
    except RecursionError as error:
        raise CannotStore("it is nested too deeply") from error


def essence(value: Any) -> str:
    """Digest of what a value is, whatever its texts' identities: equal before and after a round trip.

    pickle writes a text once and refers to it by identity afterwards. Loading can make two equal texts one (names of
    attributes), so the bytes of a value that nobody touched may differ from those it came from.

    Raises:
        CannotStore: something in the value has no stored form.
    """
    from cellway.fingerprint import blob_hasher

    stream, buffers = dumps(value, canonical=True)
    state = blob_hasher()
    state.update(stream)
    for buffer in buffers:
        state.update(struct.pack("<Q", buffer.raw().nbytes))
        state.update(buffer.raw())
    return state.hexdigest()


def loads(stream: Any, buffers: Any) -> Any:
    """Put a value together again; buffers that are not copied are shared with the original, so they are copied."""
    return pickle.loads(stream, buffers=[bytearray(buffer.raw()) for buffer in buffers])


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__


_ERRORS = (pickle.PicklingError, AttributeError, TypeError, ValueError, NotImplementedError, RecursionError)


def _dumps(
    value: Any, kind: Any, limit: int | None, hulls: dict[int, Any]
) -> tuple[memoryview, list[pickle.PickleBuffer]]:
    stream = io.BytesIO() if limit is None else _Limited(limit)
    buffers: list[pickle.PickleBuffer] = []
    total = 0

    def keep(buffer: pickle.PickleBuffer) -> bool:
        nonlocal total
        size = buffer.raw().nbytes
        if size < _IN_BAND:
            return True
        total += size
        if limit is not None and total > limit:
            raise TooLarge(limit)
        buffers.append(buffer)
        return False

    pickler = kind(stream, protocol=5, buffer_callback=keep)
    pickler.hulls = hulls
    try:
        pickler.dump(value)
    except _ERRORS as error:
        if issubclass(kind, _Plain) or isinstance(error, CannotStore):
            raise
        raise CannotStore(_reason(error)) from error
    if not hulls:
        # Only now is it known which arrays there are. Sharing is rare, so the second pass is.
        hulls = _hulls(pickler.arrays, pickler.framed)
        if hulls:
            return _dumps(value, kind, limit, hulls)
    return stream.getbuffer(), buffers


class TooLarge(CannotStore):
    """A value is larger than it may be."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"it is larger than {limit:,} bytes")


class _Limited(io.BytesIO):
    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def write(self, data: Any) -> int:
        if self.tell() > self._limit:
            raise TooLarge(self._limit)
        return super().write(data)


class _Dynamic(Exception):
    """Met a function or class that the plain pickler would store by a name which means nothing elsewhere."""


class _Common:
    """What both picklers do to arrays, frames and open files."""

    hulls: dict[int, Any]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.arrays: dict[int, Any] = {}
        self.framed: set[int] = set()

    def special(self, obj: Any) -> Any:
        """A reduce tuple, or ``NotImplemented``."""
        kind = type(obj)
        home = kind.__module__
        if home == "numpy":
            if kind.__name__ == "ndarray":
                return self.array(obj)
            if kind.__name__ == "memmap" and obj.mode in {"r+", "w+"}:
                raise TypeError("cannot pickle a numpy.memmap that is open for writing")
        elif home.startswith("pandas") and copies_on_write():
            self.framed.update(map(id, frame_arrays(obj)))
        elif isinstance(obj, io.IOBase) and not isinstance(obj, (io.BytesIO, io.StringIO)):
            # cloudpickle would turn an open file into its text.
            raise TypeError(f"cannot pickle an open file ({kind.__module__}.{kind.__name__})")
        elif kind is memoryview:
            raise TypeError("cannot pickle 'memoryview' object")
        return NotImplemented

    def array(self, array: Any) -> Any:
        if array.dtype.hasobject:
            return NotImplemented
        hull = self.hulls.get(id(array))
        if hull is not None:
            base, start = hull
            offset = array.__array_interface__["data"][0] - start
            return _placed, (base, array.dtype, array.shape, array.strides, offset, array.flags.writeable)
        self.arrays[id(array)] = array
        return NotImplemented


class _Plain(_Common, pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, (type, types.FunctionType)):
            if obj.__module__ == "__main__" or "<" in obj.__qualname__:
                raise _Dynamic
            return NotImplemented
        return self.special(obj)


class _Canonical:
    """Refers to equal texts as one."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._texts: dict[Any, Any] = {}

    def persistent_id(self, obj: Any) -> Any:
        return self._texts.setdefault(obj, obj) if type(obj) is str else None


class _CanonicalPlain(_Canonical, _Plain):
    pass


def _cloud(canonical: bool = False) -> Any:
    """The pickler for what the notebook itself defines; a class made on first use, as it derives from cloudpickle's."""
    global _cloud_picklers  # noqa: PLW0603
    if _cloud_picklers is None:
        try:
            import cloudpickle
        except ImportError as error:
            raise CannotStore(
                "functions and classes of the notebook are stored with cloudpickle, which is not installed here",
                fix="install cloudpickle in the kernel's environment",
            ) from error
        cloud = _make_cloud(cloudpickle)
        _cloud_picklers = cloud, type("CanonicalCloud", (_Canonical, cloud), {})
    return _cloud_picklers[canonical]


_cloud_picklers: tuple[Any, Any] | None = None


def _make_cloud(cloudpickle: Any) -> Any:
    internals = cloudpickle.cloudpickle

    class Cloud(_Common, cloudpickle.Pickler):  # type: ignore[misc]
        own: Any = None
        """The notebook class that this pickler takes apart."""
        open: tuple[Any, ...] = ()
        """Notebook classes that are being taken apart: met again, they go by name."""

        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, type):
                if _top_level(obj) and obj is not self.own:
                    return (
                        NotImplemented if obj in self.open else (_notebook_class, (obj.__qualname__, self.spare(obj)))
                    )
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
            except (*_ERRORS, CannotStore):
                return None

        @contextlib.contextmanager
        def identified(self, kind: Any) -> Iterator[None]:
            """Let cloudpickle know the class by its content: a random identity would make equal classes unequal bytes."""
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

    Its cells are stored as themselves, so that two functions which share a variable go on sharing it. And the globals of a
    function of the notebook are the notebook's at the other end.
    """
    if not isinstance(reduced, tuple) or len(reduced) != 6:
        return reduced
    make, (code, space, name, defaults, _), (attributes, slots), _, _, setter = reduced
    state = attributes, {**slots, "__closure__": None}
    main = sys.modules.get("__main__")
    if main is None or function.__globals__ is not main.__dict__:
        return make, (code, space, name, defaults, function.__closure__), state, None, None, setter
    return make, (code, _NAMESPACE, name, defaults, function.__closure__), (setter, state), None, None, _settle


def _reduce_cell(cell: types.CellType) -> Any:
    # Made empty and filled afterwards: what is in it may refer back to it (a recursive inner function).
    try:
        return types.CellType, (), (cell.cell_contents,), None, None, _fill
    except ValueError:
        return types.CellType, ()


def _fill(cell: types.CellType, content: tuple[Any]) -> None:
    (cell.cell_contents,) = content


class _Namespace:
    """Stands for the notebook's namespace, wherever it is loaded."""

    def __reduce__(self) -> Any:
        return _main_globals, ()


_NAMESPACE = _Namespace()


def _main_globals() -> dict[str, Any]:
    return sys.modules["__main__"].__dict__


def _settle(function: Any, state: Any) -> None:
    """Give a loaded function its state; globals that the namespace has already win over the ones that came along."""
    setter, (attributes, slots) = state
    space = function.__globals__
    builtins = space.get("__builtins__")
    for name, value in slots.pop("__globals__").items():
        space.setdefault(name, value)
    setter(function, (attributes, {**slots, "__globals__": {}}))
    space["__builtins__"] = builtins


def _notebook_class(name: str, spare: bytes | None) -> Any:
    """The notebook's class of that name; where there is none, the one that came along."""
    space = _main_globals()
    kind = space.get(name)
    if isinstance(kind, type):
        return kind
    if spare is None:
        raise AttributeError(f"class {name} of the notebook")
    return space.setdefault(name, pickle.loads(spare))


def _placed(base: Any, dtype: Any, shape: Any, strides: Any, offset: int, writeable: bool) -> Any:
    """An array on shared memory."""
    import numpy as np

    array: Any = np.ndarray(shape, dtype, buffer=base, offset=offset, strides=strides)
    if not writeable:
        array.flags.writeable = False
    return array


def copies_on_write() -> bool:
    """Whether pandas objects never see each other's changes, though they may share memory (pandas 3, or its option)."""
    pandas = sys.modules.get("pandas")
    if pandas is None:
        return True
    return int(pandas.__version__.partition(".")[0]) >= 3 or pandas.options.mode.copy_on_write is True


def frame_arrays(obj: Any) -> list[Any]:
    """The numpy arrays inside a pandas object (their sharing is pandas' own business: copy-on-write)."""
    found = []
    manager = getattr(obj, "_mgr", None)
    with contextlib.suppress(AttributeError):
        values = [block.values for block in manager.blocks] if manager is not None else [obj._values]
        for value in values:
            found += [part for part in (value, *vars_of(value)) if type(part).__name__ == "ndarray"]
    return found


def vars_of(value: Any) -> list[Any]:
    """The arrays that a pandas extension array is made of."""
    return [getattr(value, name, None) for name in ("_ndarray", "_codes", "_data", "_mask")]


def _hulls(arrays: dict[int, Any], framed: set[int]) -> dict[int, Any]:
    """Shared memory among arrays.

    Returns:
        For each array (by ``id``) that shares memory with another, or whose strides are worth keeping: the memory as an
        array of bytes, and its address.
    """
    from cellway.materializers.array import extent, layout

    spans = sorted(((*extent(array), key) for key, array in arrays.items() if array.nbytes), key=lambda span: span[:2])
    found: dict[int, Any] = {}
    group: list[int] = []
    low = high = 0
    for start, end, key in [*spans, (sys.maxsize, sys.maxsize, 0)]:
        if group and start >= high:
            if _worth_sharing(group, arrays, framed) or (len(group) == 1 and layout(arrays[group[0]]) == "strided"):
                base = _memory(low, high, [arrays[member] for member in group])
                found.update((member, (base, low)) for member in group)
            group = []
        if not group:
            low, high = start, end
        group.append(key)
        high = max(high, end)
    return found


def _worth_sharing(group: list[int], arrays: dict[int, Any], framed: set[int]) -> bool:
    free = [arrays[key] for key in group if key not in framed]
    return len(free) > 1 or (len(group) > 1 and any(array.flags.writeable for array in free))


def _memory(low: int, high: int, owners: list[Any]) -> Any:
    """The bytes between two addresses as an array; ``owners`` keep them alive."""
    import numpy as np

    class Memory:
        __array_interface__ = {"data": (low, False), "shape": (high - low,), "typestr": "|u1", "version": 3}  # noqa: RUF012
        keep = owners

    return np.asarray(Memory())
