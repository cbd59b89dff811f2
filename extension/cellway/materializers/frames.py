"""pandas ↔ Arrow with nothing lost: dtypes, index, labels, flags, and the blocks in which the columns lie.

pandas' own conversion changes things without a word (``None`` in a float column, frequencies, mixed labels, object columns),
so the arrays are put into Arrow columns as they are, a description says what they were, and before anything is written
the description is followed backwards and the result compared with the frame. What is not understood is not accepted.

Blocks matter twice: columns that share a block lie side by side in the file, so the block comes back as one view of the
mapping; and the memory order of ``to_numpy()`` stays the same, which decides about the last bit of sums and products.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from typing import Any

from cellway.materializers.array import layout

View = Callable[..., Any]
"""``view(buffer, dtype, count, offset)``: items of an Arrow buffer as a numpy array."""

Spec = dict[str, Any]

_COPY_LIMIT = 64 << 20
"""Bytes of a block that may be copied when it is read (bit-packed booleans, Fortran order, rows that do not end at 8 bytes)."""

_NUMBERS = frozenset("iufb")
_UNITS = ("s", "ms", "us", "ns")


class _Unknown(Exception):
    """Something that the description has no word for."""


def encode(value: Any) -> tuple[Any, Spec] | None:
    """A pandas object as one record batch and the way back.

    Returns:
        ``None`` if the way back would not give exactly this object.
    """
    import pandas as pd

    if not hasattr(pd.api, "internals"):  # before pandas 3: no public way to build a frame from blocks
        return None
    writer = _Writer()
    try:
        spec = writer.value(value)
        batch = writer.batch()
    except _Unknown:
        return None
    spec = json.loads(json.dumps(spec))  # the way back must start from what will stand in the file
    return (batch, spec) if _same(value, decode(batch, spec, _borrowed)) else None


def decode(table: Any, spec: Spec, view: View) -> Any:
    """The pandas object in an Arrow table.

    Args:
        table: a table or record batch, as :func:`encode` made it.
        spec: the description that goes with it.
        view: makes numpy arrays of Arrow buffers.
    """
    return _Reader(table, view).value(spec)


def _borrowed(buffer: Any, dtype: Any, count: int, offset: int = 0) -> Any:
    import numpy as np

    if count == 0 or buffer is None:
        return np.empty(count, dtype)
    return np.frombuffer(buffer, dtype, count, offset * dtype.itemsize)


# --- writing ---------------------------------------------------------------------------------------------------


class _Writer:
    def __init__(self) -> None:
        self.arrays: list[Any] = []
        self.names: list[str] = []

    def batch(self) -> Any:
        import pyarrow as pa

        arrays = self.arrays
        if len({len(array) for array in arrays}) > 1:
            raise _Unknown
        return pa.RecordBatch.from_arrays(arrays, names=self.names)

    def add(self, array: Any, name: object) -> int:
        self.arrays.append(array)
        self.names.append(str(name))
        return len(self.arrays) - 1

    def value(self, value: Any) -> Spec:
        import pandas as pd

        if type(value) is pd.DataFrame:
            return self.frame(value)
        if type(value) is pd.Series:
            index = value.index
            (block,) = value._mgr.blocks
            return {
                "kind": "pandas.Series",
                **_extras(value),
                "name": _scalar(value.name),
                "values": self.column(block.values, value.name),
                "index": self.index(index),
                "rows": len(value),
            }
        if isinstance(value, pd.Index):
            return {"kind": "pandas.Index", "index": self.index(value), "rows": len(value)}
        raise _Unknown

    def frame(self, frame: Any) -> Spec:
        labels = [str(label) for label in frame.columns]
        blocks = []
        for block in frame._mgr.blocks:
            where = [int(place) for place in block.mgr_locs.as_array]
            values = block.values
            if getattr(values, "ndim", 1) == 1:
                blocks.append({"columns": where, "values": self.column(values, labels[where[0]])})
            else:
                blocks.append({"columns": where, **self.block(values, [labels[place] for place in where])})
        return {
            "kind": "pandas.DataFrame",
            **_extras(frame),
            "blocks": blocks,
            "labels": _labels(frame.columns),
            "index": self.index(frame.index),
            "rows": len(frame),
        }

    def block(self, values: Any, labels: list[str]) -> Spec:
        """Several columns of one dtype: a row of the block for each."""
        import numpy as np

        kind = type(values).__name__
        if kind in {"DatetimeArray", "TimedeltaArray"}:
            if getattr(values.dtype, "tz", None) is not None:
                if len(values) != 1:
                    raise _Unknown
                return {"values": self.column(values[0], labels[0])}
            values = values._ndarray
        if type(values) is not np.ndarray or layout(values) == "strided":
            raise _Unknown
        turned = bool(values.size and values.flags.f_contiguous and not values.flags.c_contiguous)
        fields = [self.add(_number(row), label) for row, label in zip(values, labels, strict=True)]
        masked = any(self.arrays[field].null_count for field in fields)
        packed = values.dtype.kind == "b"
        copied = packed or turned or (len(values) > 1 and (masked or values[0].nbytes % 8))
        if values.nbytes > _COPY_LIMIT and copied:
            raise _Unknown
        return {"numpy": values.dtype.str, "fields": fields, **({"order": "F"} if turned else {})}

    def column(self, values: Any, label: object) -> Spec:
        """One column: a numpy array or one of pandas' extension arrays."""
        import numpy as np
        import pandas as pd

        kind, dtype = type(values).__name__, values.dtype
        if type(values) is np.ndarray:
            if layout(values) == "strided" or (values.dtype.kind == "b" and values.nbytes > _COPY_LIMIT):
                raise _Unknown
            return {"array": "numpy", "dtype": dtype.str, "field": self.add(_number(values), label)}
        if kind in {"DatetimeArray", "TimedeltaArray"}:
            zone = getattr(dtype, "tz", None)
            spec = {"array": "time", "dtype": values._ndarray.dtype.str, "zone": None if zone is None else _zone(dtype)}
            return {**spec, "field": self.add(_number(values._ndarray, spec["zone"]), label)}
        if kind == "ArrowStringArray" and isinstance(dtype, pd.StringDtype):
            missing = "NA" if dtype.na_value is pd.NA else "nan"
            return {"array": "string", "missing": missing, "field": self.add(_one_chunk(values._pa_array), label)}
        if kind == "ArrowExtensionArray":
            return {"array": "arrow", "field": self.add(_one_chunk(values._pa_array), label)}
        if kind in {"IntegerArray", "FloatingArray", "BooleanArray"}:
            field = self.add(_number(values._data, mask=values._mask), label)
            return {"array": "masked", "dtype": values._data.dtype.str, "field": field}
        if kind == "Categorical":
            categories, spec = self.dictionary(values.categories)
            field = self.add(_dictionary(values.codes, categories, values.ordered), label)
            return {"array": "category", "ordered": bool(values.ordered), "categories": spec, "field": field}
        raise _Unknown

    def dictionary(self, index: Any) -> tuple[Any, Spec]:
        """An index as the dictionary of a dictionary array; a range has values there, too."""
        import numpy as np
        import pandas as pd

        inner = _Writer()
        if type(index) is pd.RangeIndex:
            return _number(np.asarray(index)), _range(index)
        spec = inner.index(index)
        if len(inner.arrays) != 1:
            raise _Unknown
        return inner.arrays[0], spec

    def index(self, index: Any) -> Spec:
        import pandas as pd

        if type(index) is pd.RangeIndex:
            return _range(index)
        if type(index) is pd.MultiIndex:
            levels = []
            for level, codes in zip(index.levels, index.codes, strict=True):
                dictionary, spec = self.dictionary(level)
                levels.append({"codes": self.add(_dictionary(codes, dictionary, False), level.name), "level": spec})
            return {"index": "multi", "levels": levels, "names": [_scalar(name) for name in index.names]}
        if type(index) not in {pd.Index, pd.DatetimeIndex, pd.TimedeltaIndex, pd.CategoricalIndex}:
            raise _Unknown
        spec = {"index": "plain", "values": self.column(index._values, index.name), "name": _scalar(index.name)}
        return {**spec, "freq": _frequency(getattr(index, "freq", None))}


def _number(values: Any, zone: str | None = None, mask: Any = None) -> Any:
    """A numpy array as an Arrow array on the same memory; what is missing gets its bit, what lies under it stays."""
    import numpy as np
    import pyarrow as pa

    dtype = values.dtype
    if not dtype.isnative or values.ndim != 1:
        raise _Unknown
    if dtype.kind in "mM":
        unit = np.datetime_data(dtype)
        if unit[0] not in _UNITS or unit[1] != 1:
            raise _Unknown
        kind = pa.timestamp(unit[0], zone) if dtype.kind == "M" else pa.duration(unit[0])
        mask, values = np.isnat(values), values.view(np.int64)
    elif dtype.kind in _NUMBERS and dtype == np.dtype(dtype.str) and dtype.num == np.dtype(dtype.str).num:
        kind = pa.from_numpy_dtype(dtype)
    else:
        raise _Unknown
    count = len(values)
    if dtype.kind == "b":
        data = pa.py_buffer(np.packbits(values, bitorder="little"))
    else:
        data = pa.py_buffer(np.ascontiguousarray(values))
    missing = int(mask.sum()) if mask is not None else 0
    bits = pa.py_buffer(np.packbits(~mask, bitorder="little")) if missing else None
    return pa.Array.from_buffers(kind, count, [bits, data], null_count=missing)


def _dictionary(codes: Any, categories: Any, ordered: bool) -> Any:
    import numpy as np
    import pyarrow as pa

    codes = np.asarray(codes)
    return pa.DictionaryArray.from_arrays(_number(codes, mask=codes < 0), categories, ordered=bool(ordered), safe=False)


def _one_chunk(values: Any) -> Any:
    import pyarrow as pa

    from cellway.materializers.arrow import unregistered

    if unregistered(values.type):
        raise _Unknown
    combined = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if isinstance(combined, pa.ChunkedArray):  # larger than one Arrow array can be
        raise _Unknown
    return combined


def _range(index: Any) -> Spec:
    return {"index": "range", "range": [index.start, index.stop, index.step], "name": _scalar(index.name)}


def _zone(dtype: Any) -> str:
    """Name of a time zone, if the name gives the same zone back."""
    import pandas as pd

    name = str(dtype.tz)
    restored = pd.DatetimeTZDtype(dtype.unit, name)
    if type(restored.tz) is not type(dtype.tz) or restored != dtype:
        raise _Unknown
    return name


def _frequency(freq: Any) -> str | None:
    from pandas.tseries.frequencies import to_offset

    if freq is None:
        return None
    if to_offset(freq.freqstr) != freq:
        raise _Unknown
    return str(freq.freqstr)


def _scalar(label: Any) -> Any:
    """A label that JSON keeps."""
    if label is None or type(label) in {str, bool, int} or (type(label) is float and not math.isnan(label)):
        json.dumps(label).encode()
        return label
    raise _Unknown


def _labels(index: Any) -> Spec:
    """The columns' index, small enough to stand in the description itself."""
    import pandas as pd

    if type(index) is pd.RangeIndex:
        return _range(index)
    if type(index) is pd.MultiIndex:
        return {
            "index": "multi",
            "levels": [_labels(level) for level in index.levels],
            "codes": [[int(code) for code in codes] for codes in index.codes],
            "names": [_scalar(name) for name in index.names],
        }
    dtype = str(index.dtype)
    if type(index) is not pd.Index or dtype not in {"str", "object", "int64", "float64", "bool"}:
        raise _Unknown
    if dtype == "str" and type(index._values).__name__ != "ArrowStringArray":
        raise _Unknown
    values = [_scalar(label) for label in index.tolist()]
    return {"index": "labels", "dtype": dtype, "values": values, "name": _scalar(index.name)}


def _extras(value: Any) -> Spec:
    from cellway.materializers.plain import exact

    if set(vars(value)) - {"_mgr", "_attrs", "_flags", "_name", "_item_cache", "_cacher", "_is_copy"}:
        raise _Unknown  # an attribute of the user's own (``df.source = ...``)
    attributes = dict(value.attrs)
    if not exact(attributes):
        raise _Unknown
    return {"attrs": attributes, "duplicates": bool(value.flags.allows_duplicate_labels)}


# --- reading ---------------------------------------------------------------------------------------------------


class _Reader:
    def __init__(self, table: Any, view: View) -> None:
        self.table = table
        self.view = view

    def field(self, position: int) -> Any:
        column = self.table.column(position)
        if hasattr(column, "chunks"):
            (column,) = column.chunks if column.num_chunks == 1 else (column.combine_chunks(),)
        return column

    def value(self, spec: Spec) -> Any:
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
                if self.view is not _borrowed:
                    return self.view(buffers[0], dtype, count * len(rows), 0).reshape(len(rows), count)
        block = np.empty((len(rows), count), dtype)
        if self.view is not _borrowed:  # the check before writing looks at types, not at values
            for target, row in zip(block, rows, strict=True):
                target[:] = self.number(row, dtype)
        return block

    def number(self, array: Any, dtype: Any) -> Any:
        import numpy as np

        data = array.buffers()[1]
        if dtype.kind != "b":
            return self.view(data, dtype, len(array), array.offset)
        return self.bits(data, array).astype(np.bool_)

    def bits(self, buffer: Any, array: Any) -> Any:
        import numpy as np

        count = array.offset + len(array)
        packed = self.view(buffer, np.dtype(np.uint8), -(-count // 8), 0)
        return np.unpackbits(packed, count=count, bitorder="little")[array.offset :]

    def column(self, spec: Spec) -> Any:
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
        categories = _Reader(_Single(array.dictionary), self.view).index(spec["categories"])
        dtype = pd.CategoricalDtype(categories, spec["ordered"])
        return pd.Categorical.from_codes(codes, dtype=dtype, validate=False)

    def time(self, array: Any, spec: Spec) -> Any:
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
        import numpy as np
        import pandas as pd

        if spec["index"] == "range":
            return pd.RangeIndex(*spec["range"], name=spec["name"])
        if spec["index"] == "multi":
            levels, codes = [], []
            for level in spec["levels"]:
                array = self.field(level["codes"])
                codes.append(self.number(array.indices, np.dtype(array.type.index_type.to_pandas_dtype())))
                levels.append(_Reader(_Single(array.dictionary), self.view).index(level["level"]))
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


# --- the check -------------------------------------------------------------------------------------------------


def _same(value: Any, restored: Any) -> bool:
    """Whether the way back gives the same, as far as that can be seen without looking at the rows."""
    import pandas as pd

    if type(restored) is not type(value) or len(restored) != len(value):
        return False
    if isinstance(value, pd.Index):
        return _same_index(value, restored)
    if not _same_index(value.index, restored.index) or value.attrs != restored.attrs:
        return False
    if value.flags.allows_duplicate_labels != restored.flags.allows_duplicate_labels:
        return False
    if isinstance(value, pd.Series):
        same_name = type(value.name) is type(restored.name) and value.name == restored.name
        return same_name and _same_dtype(value.dtype, restored.dtype)
    columns = value.columns
    if not _same_index(columns, restored.columns) or not columns.identical(restored.columns):
        return False
    if [type(label) for label in columns] != [type(label) for label in restored.columns]:
        return False
    return all(map(_same_dtype, value.dtypes, restored.dtypes)) and _places(value) == _places(restored)


def _places(frame: Any) -> list[list[int]]:
    return [[int(place) for place in block.mgr_locs.as_array] for block in frame._mgr.blocks]


def _same_dtype(one: Any, other: Any) -> bool:
    import pandas as pd

    if type(one) is not type(other) or one != other:
        return False
    if isinstance(one, pd.CategoricalDtype):
        return one.ordered == other.ordered and _same_index(one.categories, other.categories)
    if isinstance(one, pd.StringDtype):
        return bool(one.storage == other.storage and (one.na_value is pd.NA) == (other.na_value is pd.NA))
    return repr(one) == repr(other)


def _same_index(one: Any, other: Any) -> bool:
    import pandas as pd

    if type(one) is not type(other) or len(one) != len(other):
        return False
    if [*map(type, one.names)] != [*map(type, other.names)] or list(one.names) != list(other.names):
        return False
    if isinstance(one, pd.RangeIndex):
        return (one.start, one.stop, one.step) == (other.start, other.stop, other.step)
    if isinstance(one, pd.MultiIndex):
        codes = [(code.dtype, len(code)) for code in one.codes] == [(code.dtype, len(code)) for code in other.codes]
        return codes and all(map(_same_index, one.levels, other.levels))
    return _same_dtype(one.dtype, other.dtype) and getattr(one, "freq", None) == getattr(other, "freq", None)
