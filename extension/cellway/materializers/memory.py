"""Memory that arrays share: found among the arrays of a value, stored once, shared again when it is loaded."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

from cellway.materializers.array import extent, layout


def placed(base: Any, dtype: Any, shape: Any, strides: Any, offset: int, writeable: bool) -> Any:
    """An array on shared memory. Its name is part of the format of pickles."""
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
            found += [part for part in (value, *_parts(value)) if type(part).__name__ == "ndarray"]
    return found


def _parts(value: Any) -> list[Any]:
    """The arrays that a pandas extension array is made of."""
    return [getattr(value, name, None) for name in ("_ndarray", "_codes", "_data", "_mask")]


def hulls(arrays: dict[int, Any], framed: set[int]) -> dict[int, Any]:
    """Shared memory among arrays.

    Returns:
        For each array (by ``id``) that shares memory with another, or whose strides are worth keeping: the memory as an
        array of bytes, and its address.
    """
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
        def __init__(self) -> None:
            # What numpy looks at in an object that has memory to show.
            self.__array_interface__ = {"data": (low, False), "shape": (high - low,), "typestr": "|u1", "version": 3}
            self.owners = owners

    return np.asarray(Memory())
