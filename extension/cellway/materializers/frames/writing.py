"""A pandas object as Arrow arrays on the same memory, and the description that leads back."""

from __future__ import annotations

import json
import math
from typing import Any

from cellway.materializers.array import layout

Spec = dict[str, Any]
"""JSON-like: which columns of the file are what."""

_COPY_LIMIT = 64 << 20
"""Bytes of a block that may be copied when it is read: packed booleans, Fortran order, rows that end off 8 bytes."""

_NUMBERS = frozenset("iufb")
_UNITS = ("s", "ms", "us", "ns")


class Unknown(Exception):
    """Something that the description has no word for."""


class Writer:
    """Collects the columns of one file."""

    def __init__(self) -> None:
        self.arrays: list[Any] = []
        self.names: list[str] = []

    def batch(self) -> Any:
        """The columns as a record batch."""
        import pyarrow as pa

        arrays = self.arrays
        if len({len(array) for array in arrays}) > 1:
            raise Unknown
        return pa.RecordBatch.from_arrays(arrays, names=self.names)

    def add(self, array: Any, name: object) -> int:
        """Add a column; its position."""
        self.arrays.append(array)
        self.names.append(str(name))
        return len(self.arrays) - 1

    def value(self, value: Any) -> Spec:
        """Description of a frame, series or index."""
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
        raise Unknown

    def frame(self, frame: Any) -> Spec:
        """Description of a frame, block by block."""
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
                    raise Unknown
                return {"values": self.column(values[0], labels[0])}
            values = values._ndarray
        if type(values) is not np.ndarray or layout(values) == "strided":
            raise Unknown
        turned = bool(values.size and values.flags.f_contiguous and not values.flags.c_contiguous)
        fields = [self.add(_number(row), label) for row, label in zip(values, labels, strict=True)]
        masked = any(self.arrays[field].null_count for field in fields)
        packed = values.dtype.kind == "b"
        copied = packed or turned or (len(values) > 1 and (masked or values[0].nbytes % 8))
        if values.nbytes > _COPY_LIMIT and copied:
            raise Unknown
        return {"numpy": values.dtype.str, "fields": fields, **({"order": "F"} if turned else {})}

    def column(self, values: Any, label: object) -> Spec:
        """One column: a numpy array or one of pandas' extension arrays."""
        import numpy as np
        import pandas as pd

        kind, dtype = type(values).__name__, values.dtype
        if type(values) is np.ndarray:
            if layout(values) == "strided" or (values.dtype.kind == "b" and values.nbytes > _COPY_LIMIT):
                raise Unknown
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
        raise Unknown

    def dictionary(self, index: Any) -> tuple[Any, Spec]:
        """An index as the dictionary of a dictionary array; a range has values there, too."""
        import numpy as np
        import pandas as pd

        inner = Writer()
        if type(index) is pd.RangeIndex:
            return _number(np.asarray(index)), _range(index)
        spec = inner.index(index)
        if len(inner.arrays) != 1:
            raise Unknown
        return inner.arrays[0], spec

    def index(self, index: Any) -> Spec:
        """Description of an index; a range needs no column."""
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
            raise Unknown
        spec = {"index": "plain", "values": self.column(index._values, index.name), "name": _scalar(index.name)}
        return {**spec, "freq": _frequency(getattr(index, "freq", None))}


def _number(values: Any, zone: str | None = None, mask: Any = None) -> Any:
    """A numpy array as an Arrow array on the same memory; what is missing gets its bit, what lies under it stays."""
    import numpy as np
    import pyarrow as pa

    dtype = values.dtype
    if not dtype.isnative or values.ndim != 1:
        raise Unknown
    if dtype.kind in "mM":
        unit = np.datetime_data(dtype)
        if unit[0] not in _UNITS or unit[1] != 1:
            raise Unknown
        kind = pa.timestamp(unit[0], zone) if dtype.kind == "M" else pa.duration(unit[0])
        mask, values = np.isnat(values), values.view(np.int64)
    elif dtype.kind in _NUMBERS and dtype == np.dtype(dtype.str) and dtype.num == np.dtype(dtype.str).num:
        kind = pa.from_numpy_dtype(dtype)
    else:
        raise Unknown
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
        raise Unknown
    combined = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if isinstance(combined, pa.ChunkedArray):  # larger than one Arrow array can be
        raise Unknown
    return combined


def _range(index: Any) -> Spec:
    return {"index": "range", "range": [index.start, index.stop, index.step], "name": _scalar(index.name)}


def _zone(dtype: Any) -> str:
    """Name of a time zone, if the name gives the same zone back."""
    import pandas as pd

    name = str(dtype.tz)
    restored = pd.DatetimeTZDtype(dtype.unit, name)
    if type(restored.tz) is not type(dtype.tz) or restored != dtype:
        raise Unknown
    return name


def _frequency(freq: Any) -> str | None:
    from pandas.tseries.frequencies import to_offset

    if freq is None:
        return None
    if to_offset(freq.freqstr) != freq:
        raise Unknown
    return str(freq.freqstr)


def _scalar(label: Any) -> Any:
    """A label that JSON keeps."""
    if label is None or type(label) in {str, bool, int} or (type(label) is float and not math.isnan(label)):
        json.dumps(label).encode()
        return label
    raise Unknown


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
        raise Unknown
    if dtype == "str" and type(index._values).__name__ != "ArrowStringArray":
        raise Unknown
    values = [_scalar(label) for label in index.tolist()]
    return {"index": "labels", "dtype": dtype, "values": values, "name": _scalar(index.name)}


def _extras(value: Any) -> Spec:
    from cellway.materializers.plain import exact

    if set(vars(value)) - {"_mgr", "_attrs", "_flags", "_name", "_item_cache", "_cacher", "_is_copy"}:
        raise Unknown  # an attribute of the user's own (``df.source = ...``)
    attributes = dict(value.attrs)
    if not exact(attributes):
        raise Unknown
    return {"attrs": attributes, "duplicates": bool(value.flags.allows_duplicate_labels)}
