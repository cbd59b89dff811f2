"""Files mapped into memory so that user code may write: pages become private when they are touched.

The file itself never changes (``ACCESS_COPY``), and what is not touched costs no memory.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def private(path: str) -> mmap.mmap:
    """Map a whole file copy-on-write.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is empty.
    """
    with open(path, "rb", buffering=0) as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)


class Window:
    """A private mapping that hands out writable numpy views for addresses inside of it.

    pyarrow's buffers over a mapping are read-only, whatever the mapping allows; their addresses tell where the data
    lie, and numpy looks at the mapping itself.
    """

    def __init__(self, path: str) -> None:
        import pyarrow as pa

        self.mapping = private(path)
        self.buffer = pa.py_buffer(self.mapping)

    def view(self, buffer: Any, dtype: np.dtype[Any], count: int, offset: int = 0) -> np.ndarray[Any, Any]:
        """``count`` items of ``dtype`` at item ``offset`` of an Arrow buffer, as a writable array on the mapping."""
        import numpy as np

        if count == 0 or buffer is None:
            return np.empty(count, dtype)
        start = buffer.address - self.buffer.address + offset * dtype.itemsize
        return np.frombuffer(self.mapping, dtype, count, start)
