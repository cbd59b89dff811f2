"""numpy arrays as ``.npy`` files (format 1.0-3.0, https://numpy.org/neps/nep-0001-npy-format.html), mapped on read.

A read-only array gets a short mark behind its data, which other readers of ``.npy`` do not look at.
"""

from __future__ import annotations

import sys
from typing import Any, BinaryIO

_READ_ONLY = b"cellway:read-only"


class Array:
    """Arrays of numbers, times, texts of fixed width and structures, exactly ``numpy.ndarray``."""

    name = "array"
    suffix = ".npy"
    executes = False

    def accepts(self, value: Any) -> bool:
        """Whether the array comes back with its dtype, shape and order; views with odd strides are left to pickle."""
        np = sys.modules.get("numpy")
        if np is None or type(value) is not np.ndarray or value.dtype.hasobject:
            return False
        return _plain_dtype(value.dtype) and layout(value) != "strided"

    def write(self, value: Any, file: BinaryIO) -> None:
        """Write header and data; Fortran order is kept."""
        import numpy as np

        array = value if layout(value) == "contiguous" else np.ascontiguousarray(value)
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        if array.size:
            flat = array if array.flags.c_contiguous else array.T
            # A view as bytes: datetimes and structures export no buffer of their own.
            file.write(flat.reshape(-1).view(np.uint8).data if array.dtype.itemsize else b"")
        if not value.flags.writeable:
            file.write(_READ_ONLY)

    def read(self, path: str) -> Any:
        """A plain ``numpy.ndarray`` on a private mapping of the file: writable, and the file stays as it is."""
        import io

        import numpy as np

        from cellway.materializers.mapping import private

        mapping = private(path)
        head = io.BytesIO(mapping[: 1 << 16])
        version = np.lib.format.read_magic(head)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = reader(head)
        start, count = head.tell(), 1
        for length in shape:
            count *= length
        if count == 0 or dtype.itemsize == 0:
            array = np.zeros(shape, dtype, order="F" if fortran else "C")
        else:
            flat = np.frombuffer(mapping, dtype, count, start)
            array = flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)
        if mapping[start + count * dtype.itemsize :] == _READ_ONLY:
            array.flags.writeable = False
        return array

    def describe(self, value: Any) -> dict[str, Any]:
        """Sidecar, see :mod:`cellway.materializers.sidecar`."""
        from cellway.materializers.sidecar import describe

        return describe(value)


def layout(array: Any) -> str:
    """How the memory of an array is best kept.

    Returns:
        ``contiguous`` (C or Fortran order), ``strided`` (a view of nearly all of some memory: sums over it may differ
        in the last bit from sums over a contiguous copy, so its strides are kept), or ``sparse`` (a view that leaves
        out most of the memory it spans: kept as a contiguous copy).
    """
    if array.flags.c_contiguous or array.flags.f_contiguous or array.size == 0:
        return "contiguous"
    low, high = extent(array)
    return "strided" if high - low <= 2 * array.nbytes else "sparse"


def extent(array: Any) -> tuple[int, int]:
    """First address of an array's items, and the address behind the last one."""
    low = high = array.__array_interface__["data"][0]
    if array.size == 0:
        return low, low
    for length, stride in zip(array.shape, array.strides, strict=True):
        if stride < 0:
            low += (length - 1) * stride
        else:
            high += (length - 1) * stride
    return low, high + array.dtype.itemsize


def _plain_dtype(dtype: Any) -> bool:
    """Whether the header of a ``.npy`` file keeps the dtype: no metadata, no third-party dtype, padding and titles."""
    import numpy as np

    if dtype.metadata is not None or (dtype.fields and any(field[0].metadata for field in dtype.fields.values())):
        return False
    try:
        description = np.lib.format.dtype_to_descr(dtype)
        if len(repr(description).encode("latin1")) > 8_000:  # what version 1.0 of the header can hold
            return False
        restored = np.lib.format.descr_to_dtype(description)
    except (ValueError, TypeError):  # UnicodeEncodeError is a ValueError
        return False
    return bool(restored == dtype and restored.num == dtype.num and restored.isalignedstruct == dtype.isalignedstruct)
