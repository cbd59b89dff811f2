"""Arrow arrays back into a pandas object, as the description says, on the memory of the file."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from cellway.materializers.frames.writing import Spec

View = Callable[..., Any]
"""``view(buffer, dtype, count, offset)``: items of an Arrow buffer as a numpy array."""


def borrowed(buffer: Any, dtype: Any, count: int, offset: int = 0) -> Any:
    """A :data:`View` on any memory, for the check before writing, where types count and values do not."""
    import numpy as np

    if count == 0 or buffer is None:
        return np.empty(count, dtype)
    return np.frombuffer(buffer, dtype, count, offset * dtype.itemsize)


class Reader:
    """Takes pandas objects out of a table or record batch.

    Args:
        table: what the file holds.
        view: makes arrays of its buffers.
    """

    def __init__(self, table: Any, view: View) -> None:
        self.table = table
        self.view = view

    def field(self, position: int) -> Any:
        """A column as one array."""
        column = self.table.column(position)
        if hasattr(column, "chunks"):
            (column,) = column.chunks if column.num_chunks == 1 else (column.combine_chunks(),)
        return column

    def value(self, spec: Spec) -> Any:
        """The described object."""
        import pandas as pd

        if spec["kind"] == "pandas.DataFrame":
            value = self.frame(spec)
        elif spec["kind"] == "pandas.Series":
            index = self.index(spec["index"])
            value = pd.Series(self.column(spec["values"]), index=index, name=spec["name"], copy=False)
        else:
            return self.index(spec["index"])
        value.attrs = spec["attrs"]
        if not spec["duplicates"]:
            value.flags.allows_duplicate_labels = False
        return value

    def frame(self, spec: Spec) -> Any:
        """A frame, built of its blocks."""
        import numpy as np
        from pandas.api import internals

        blocks = []
        for block in spec["blocks"]:
            where = np.array(block["columns"], np.intp)
            if "values" in block:
                blocks.append((self.column(block["values"]), where))
            else:
                rows = [self.field(position) for position in block["fields"]]
                values = self.block(rows, np.dtype(block["numpy"]), spec["rows"])
                blocks.append((np.asarray(values, order=block.get("order", "C")), where))
        return internals.create_dataframe_from_blocks(blocks, self.index(spec["index"]), _from_labels(spec["labels"]))

    def block(self, rows: list[Any], dtype: Any, count: int) -> Any:
        """Adjacent columns as one array, without a copy where they follow each other without a gap."""
        import numpy as np

        if dtype.kind != "b" and count and rows:
            buffers = [row.buffers()[1] for row in rows]
            step = count * dtype.itemsize
            if all(right.address - left.address == step for left, right in itertools.pairwise(buffers)):
                if len(rows) == 1:
                    return self.view(buffers[0], dtype, count, 0).reshape(1, count)
                if self.view is not borrowed:
                    return self.view(buffers[0], dtype, count * len(rows), 0).reshape(len(rows), count)
        block = np.empty((len(rows), count), dtype)
        if self.view is not borrowed:  # the check before writing looks at types, not at values
            for target, row in zip(block, rows, strict=True):
                target[:] = self.number(row, dtype)
        return block

    def number(self, array: Any, dtype: Any) -> Any:
        """A column of numbers; booleans are unpacked."""
        import numpy as np

        data = array.buffers()[1]
        if dtype.kind != "b":
            return self.view(data, dtype, len(array), array.offset)
        return self.bits(data, array).astype(np.bool_)

    def bits(self, buffer: Any, array: Any) -> Any:
        """A bitmap as bytes of 0 and 1."""
        import numpy as np

        count = array.offset + len(array)
        packed = self.view(buffer, np.dtype(np.uint8), -(-count // 8), 0)
        return np.unpackbits(packed, count=count, bitorder="little")[array.offset :]

    def column(self, spec: Spec) -> Any:
        """One column, as a numpy or pandas array."""
        import numpy as np
        import pandas as pd
        import pyarrow as pa

        array = self.field(spec["field"])
        kind = spec["array"]
        if kind == "numpy":
            return self.number(array, np.dtype(spec["dtype"]))
        if kind == "time":
            return self.time(array, spec)
        if kind == "string":
            missing = pd.NA if spec["missing"] == "NA" else np.nan
            dtype = pd.StringDtype("pyarrow", na_value=missing)
            return pd.arrays.ArrowStringArray(pa.chunked_array([array]), dtype=dtype)
        if kind == "arrow":
            return pd.arrays.ArrowExtensionArray(pa.chunked_array([array]))
        if kind == "masked":
            data = self.number(array, np.dtype(spec["dtype"]))
            bits = array.buffers()[0]
            mask = np.zeros(len(array), np.bool_) if bits is None else ~self.bits(bits, array).astype(np.bool_)
            kinds = {"b": pd.arrays.BooleanArray, "f": pd.arrays.FloatingArray}
            return kinds.get(data.dtype.kind, pd.arrays.IntegerArray)(data, mask)
        codes = self.number(array.indices, np.dtype(array.type.index_type.to_pandas_dtype()))
        categories = Reader(_Single(array.dictionary), self.view).index(spec["categories"])
        dtype = pd.CategoricalDtype(categories, spec["ordered"])
        return pd.Categorical.from_codes(codes, dtype=dtype, validate=False)

    def time(self, array: Any, spec: Spec) -> Any:
        """A column of times or durations."""
        import numpy as np
        import pandas as pd

        values = self.view(array.buffers()[1], np.dtype(spec["dtype"]), len(array), array.offset)
        if values.dtype.kind == "m":
            return pd.TimedeltaIndex(values, copy=False)._data
        if not spec["zone"]:
            return pd.DatetimeIndex(values, copy=False)._data
        dtype = pd.DatetimeTZDtype(np.datetime_data(values.dtype)[0], spec["zone"])
        # The public ways to a zone copy the values; the result is compared with the frame before anything is written.
        return pd.arrays.DatetimeArray._simple_new(values, dtype=dtype)

    def index(self, spec: Spec) -> Any:
        """An index."""
        import numpy as np
        import pandas as pd

        if spec["index"] == "range":
            return pd.RangeIndex(*spec["range"], name=spec["name"])
        if spec["index"] == "multi":
            levels, codes = [], []
            for level in spec["levels"]:
                array = self.field(level["codes"])
                codes.append(self.number(array.indices, np.dtype(array.type.index_type.to_pandas_dtype())))
                levels.append(Reader(_Single(array.dictionary), self.view).index(level["level"]))
            return pd.MultiIndex(levels=levels, codes=codes, names=spec["names"], verify_integrity=False)
        values = self.column(spec["values"])
        if type(values).__name__ in {"DatetimeArray", "TimedeltaArray"}:
            kind = pd.DatetimeIndex if values.dtype.kind == "M" else pd.TimedeltaIndex
            return kind(values, freq=spec["freq"], name=spec["name"], copy=False)
        return pd.Index(values, dtype=values.dtype, name=spec["name"], copy=False)


class _Single:
    """A table of one column: the dictionary of another."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def column(self, _: int) -> Any:
        return self._array


def _from_labels(spec: Spec) -> Any:
    import pandas as pd

    if spec["index"] == "range":
        return pd.RangeIndex(*spec["range"], name=spec["name"])
    if spec["index"] == "multi":
        levels = [_from_labels(level) for level in spec["levels"]]
        return pd.MultiIndex(levels=levels, codes=spec["codes"], names=spec["names"], verify_integrity=False)
    return pd.Index(spec["values"], dtype=spec["dtype"], name=spec["name"], tupleize_cols=False)
