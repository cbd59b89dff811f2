"""Everything else: pickle protocol 5, the large buffers out of band in the same file, mapped on read.

Layout of a file (little endian): 16 bytes of magic, the pickle stream, the buffers, each at a multiple of 64, then a
table of ``(offset, size)`` pairs (the stream first) and at the very end the number of pairs and a closing mark. The
names of the module-level functions with an underscore that stand in reduce tuples are part of the format.

What the standard pickle does not keep is kept here: arrays that share memory go on sharing it, and so do strides.
Functions of the notebook travel by value and look their globals up in the namespace where they arrive; classes of the
notebook are the ones of that namespace, so that ``isinstance`` holds, and travel by value as a spare.
"""

from __future__ import annotations

import io
import pickle
import struct
import types
from typing import Any, BinaryIO

from cellway.errors import CannotStore, StoreError
from cellway.materializers.defined import make_cloud
from cellway.materializers.mapping import private
from cellway.materializers.memory import copies_on_write, frame_arrays, placed
from cellway.materializers.memory import hulls as hulls_of

_MAGIC = b"cellway pickle1\n"
_END = b"CWPICKLE"
_ALIGNMENT = 64
_OF_PROCESS = "_stop_words_id"
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
        hulls = hulls_of(pickler.arrays, pickler.framed)
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
        elif home == "sklearn.feature_extraction.text" and _OF_PROCESS in getattr(obj, "__dict__", ()):
            # An ``id()``: noise in the bytes, and after a round trip the vectorizer looks again anyway.
            make, arguments, state, *rest = obj.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
            if isinstance(state, dict):
                return make, arguments, {key: state[key] for key in state if key != _OF_PROCESS}, *rest
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
            return placed, (base, array.dtype, array.shape, array.strides, offset, array.flags.writeable)
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
        cloud = make_cloud(cloudpickle, _Common, _ERRORS)
        _cloud_picklers = cloud, type("CanonicalCloud", (_Canonical, cloud), {})
    return _cloud_picklers[canonical]


_cloud_picklers: tuple[Any, Any] | None = None
