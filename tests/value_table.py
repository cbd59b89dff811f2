"""Values of every kind, and a comparison that lets nothing pass: the table behind the tests of materializers.

Run as a program in a fresh process, it reads the files that a test wrote and compares them with values made anew:
``python value_table.py FILES.json`` prints ``{name: problem}``.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import json
import math
import pathlib
import re
import sys
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

from cellway.materializers.array import layout


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Frame(pd.DataFrame):
    @property
    def _constructor(self) -> type:
        return Frame


class Colour(enum.Enum):
    RED = 1
    BLUE = "blue"


class Point(NamedTuple):
    x: int
    y: float


@dataclasses.dataclass
class Record:
    name: str
    values: list[float]
    inner: Record | None = None


class Slots:
    __slots__ = ("a", "b")

    def __init__(self) -> None:
        self.a, self.b = 1, [2]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Slots) and (self.a, self.b) == (other.a, other.b)

    __hash__ = None  # type: ignore[assignment]


def recursive_list() -> list[Any]:
    value: list[Any] = [1]
    value.append(value)
    return value


def recursive_dict() -> dict[str, Any]:
    value: dict[str, Any] = {"n": 1}
    value["self"] = [value]
    return value


def aliased() -> list[Any]:
    inner = [1, 2]
    return [inner, inner]


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def numbers(rows: int = 6, columns: str = "abc") -> pd.DataFrame:
    return pd.DataFrame(rng().random((rows, len(columns))), columns=list(columns))


def mixed() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "i": np.arange(5, dtype="int64"),
            "f": [1.5, np.nan, -0.0, np.inf, 2],
            "s": ["a", None, "", "ä€", "x" * 300],
            "b": [True, False, True, True, False],
            "j": np.arange(5, dtype="int64")[::-1].copy(),
            "t": pd.to_datetime(["2020-01-01", None, "2021-01-01", "1999-12-31", "2000-01-01"]),
            "u": pd.to_timedelta([1, 2, None, 4, 5], unit="s"),
            "c": pd.Categorical(["u", "v", None, "u", "u"]),
        }
    )


def with_attrs() -> pd.DataFrame:
    frame = numbers()
    frame.attrs = {"source": "lab", "n": [1, 2]}
    return frame


def with_odd_attrs() -> pd.DataFrame:
    frame = numbers()
    frame.attrs = {"when": dt.date(2020, 1, 1), "pair": (1, 2)}
    return frame


def without_duplicates() -> pd.DataFrame:
    return numbers().set_flags(allows_duplicate_labels=False)


def masked_series(data: list[Any], dtype: str) -> pd.Series:
    return pd.Series(pd.array(data, dtype=dtype), name="m")


def read_only() -> np.ndarray:
    array = np.arange(5.0)
    array.flags.writeable = False
    return array


def structured() -> np.ndarray:
    return np.array([(1, 2.5, "ab"), (3, np.nan, "c")], dtype=[("x", "i4"), ("y", "f8"), ("z", "U3")])


def masked() -> np.ma.MaskedArray:
    return np.ma.MaskedArray([1.0, 2.0, 3.0], mask=[0, 1, 0], fill_value=-1)


def object_array() -> np.ndarray:
    array = np.empty(3, object)
    array[:] = [1, "a", [2, 3]]
    return array


def overlapping() -> dict[str, np.ndarray]:
    base = np.arange(12.0)
    return {"base": base, "tail": base[4:], "even": base[::2]}


def estimator() -> Any:
    from sklearn.linear_model import LinearRegression

    return LinearRegression().fit(np.arange(8.0).reshape(4, 2), [1.0, 2.0, 3.0, 5.0])


def forest() -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(5, random_state=0).fit(rng().random((20, 3)), [0, 1] * 10)


def sparse_matrix(kind: str) -> Any:
    import scipy.sparse

    return getattr(scipy.sparse, kind)(np.array([[0, 1, 0], [2, 0, 0]]))


def figure() -> Any:
    from matplotlib.figure import Figure

    made = Figure(figsize=(3, 2))
    made.subplots().plot([1, 2, 3], [3, 1, 2], label="line")
    return made


def image() -> Any:
    from PIL import Image

    return Image.fromarray(np.arange(48, dtype="uint8").reshape(4, 4, 3))


def polars_frame() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "i": [1, None, 3],
            "s": ["x", None, "ü"],
            "c": pl.Series(["u", "v", "u"], dtype=pl.Categorical),
            "e": pl.Series(["u", "v", None], dtype=pl.Enum(["u", "v"])),
            "l": [[1], [], [2, 3]],
            "st": [{"q": 1}, {"q": 2}, {"q": None}],
            "d": [dt.date(2020, 1, 1)] * 3,
            "t": pl.Series([dt.datetime(2020, 1, 1)] * 3).dt.replace_time_zone("Europe/Berlin"),  # noqa: DTZ001
            "b": [b"x", b"", None],
            "o": [True, None, False],
        }
    )


def arrow_table() -> pa.Table:
    table = pa.table(
        {
            "a": pa.array([1, None, 3]),
            "l": pa.array([[1], [], None]),
            "d": pa.array(["x", "y", "x"]).dictionary_encode(),
            "n": pa.array([decimal.Decimal("1.10"), None, decimal.Decimal("2.25")]),
        }
    )
    return table.replace_schema_metadata({"who": "me"})


MULTI = pd.MultiIndex.from_product([["a", "b"], [1, 2, 3]], names=["letter", None])

PLAIN: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "true": lambda: True,
    "int": lambda: 42,
    "negative": lambda: -(2**63) - 1,
    "float": lambda: 0.1 + 0.2,
    "tiny": lambda: 5e-324,
    "minus zero": lambda: -0.0,
    "text": lambda: "naïve €\n\t\u2028 \x00",
    "empty text": lambda: "",
    "list": lambda: [1, 1.0, True, None, "1"],
    "dict": lambda: {"b": 1, "a": [{"x": {}}, []]},
    "empty list": list,
    "same texts twice": lambda: ["ab" * 3, "ab" * 3],
}

ARROW: dict[str, Callable[[], Any]] = {
    "numbers": numbers,
    "mixed": mixed,
    "float32, odd rows": lambda: numbers(7).astype("float32"),
    "small ints": lambda: pd.DataFrame({"a": np.arange(5, dtype="int8"), "b": np.arange(5, dtype="uint16")}),
    "float16": lambda: pd.DataFrame({"a": np.arange(3, dtype="float16")}),
    "booleans": lambda: pd.DataFrame({"a": [True, False, True], "b": [False] * 3}),
    "two time columns": lambda: pd.DataFrame({
        "a": pd.to_datetime(["2020", None]),
        "b": pd.to_datetime(["2021", "2022"]),
    }),
    "consolidated times": lambda: mixed()[["t", "i"]].assign(v=mixed()["t"]).copy(),
    "units": lambda: pd.DataFrame({unit: pd.to_datetime(["2020"]).as_unit(unit) for unit in ("s", "ns")}),
    "zoned": lambda: pd.DataFrame({
        "z": pd.to_datetime(["2020-03-29 01:30", None], utc=True).tz_convert("Europe/Berlin"),
    }),
    "utc": lambda: pd.DataFrame({"z": pd.to_datetime(["2020-03-29 01:30"], utc=True)}),
    "empty frame": pd.DataFrame,
    "no rows": lambda: mixed().iloc[:0],
    "no columns": lambda: pd.DataFrame(index=[1, 2]),
    "empty column": lambda: pd.DataFrame({"a": np.array([], "int64")}),
    "filtered": lambda: mixed().query("i > 1"),
    "rows of a slice": lambda: numbers(100).iloc[:10],
    "text index": lambda: numbers(3).set_axis(["x", "y", "z"]),
    "named index": lambda: numbers(3).rename_axis("key"),
    "int index": lambda: numbers(3).set_axis([10, 5, 10]),
    "float index": lambda: numbers(3).set_axis([0.5, np.nan, 2.0]),
    "range index": lambda: numbers(3).set_axis(pd.RangeIndex(2, 8, 2, name="r")),
    "daily": lambda: numbers(5).set_axis(pd.date_range("2020", periods=5, freq="D", name="day")),
    "month ends, zoned": lambda: numbers(5).set_axis(pd.date_range("2020", periods=5, freq="ME", tz="Europe/Berlin")),
    "times without frequency": lambda: numbers(2).set_axis(pd.to_datetime(["2020-01-01", "2020-01-05"])),
    "timedelta index": lambda: numbers(3).set_axis(pd.timedelta_range("1h", periods=3)),
    "multi index": lambda: numbers(6).set_axis(MULTI),
    "multi index, unused level": lambda: numbers(6).set_axis(MULTI).iloc[:2],
    "multi index, missing": lambda: numbers(2).set_axis(pd.MultiIndex.from_arrays([["a", None], [1, 2]])),
    "category index": lambda: numbers(3).set_axis(pd.CategoricalIndex(["a", "b", "a"], name="k")),
    "int columns": lambda: numbers(3).set_axis([3, 1, 2], axis=1),
    "range columns": lambda: pd.DataFrame(rng().random((3, 2))),
    "mixed columns": lambda: numbers(3).set_axis(["a", 1, 2.5], axis=1),
    "duplicate columns": lambda: numbers(3).set_axis(["a", "a", "b"], axis=1),
    "multi columns": lambda: numbers(3).set_axis(pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)]), axis=1),
    "named columns": lambda: numbers(3).rename_axis(columns="which"),
    "none among the columns": lambda: numbers(3).set_axis(pd.Index([None, "a", "b"], dtype=object), axis=1),
    "attrs": with_attrs,
    "flags": without_duplicates,
    "nullable": lambda: pd.DataFrame({
        "i": pd.array([1, None, 3], dtype="Int64"),
        "f": pd.array([1.5, None, np.nan], dtype="Float64"),
        "b": pd.array([True, None, False], dtype="boolean"),
        "u": pd.array([1, None, 3], dtype="UInt8"),
    }),
    "string dtype": lambda: pd.DataFrame({"s": pd.array(["a", None], dtype="string[pyarrow]")}),
    "arrow dtype": lambda: pd.DataFrame({
        "i": pd.array([1, None], dtype="int32[pyarrow]"),
        "s": pd.array(["a", None], dtype=pd.ArrowDtype(pa.string())),
        "l": pd.array([[1], None], dtype=pd.ArrowDtype(pa.list_(pa.int64()))),
    }),
    "ordered category": lambda: pd.DataFrame({"c": pd.Categorical(["b", "a"], ["b", "a", "z"], ordered=True)}),
    "category of ints": lambda: pd.DataFrame({"c": pd.Categorical([3, None, 1], [3, 1, 2])}),
    "category of times": lambda: pd.DataFrame({"c": pd.Categorical(pd.to_datetime(["2020", "2021", "2020"]))}),
    "many categories": lambda: pd.DataFrame({"c": pd.Categorical([f"k{i}" for i in range(300)])}),
    "series": lambda: pd.Series([1.5, 2.5], name="x"),
    "series of texts": lambda: pd.Series(["a", None]),
    "series with int name": lambda: pd.Series([1, 2], name=0, index=["a", "b"]),
    "series of times": lambda: pd.Series(pd.date_range("2020", periods=3)),
    "fixed offset": lambda: pd.Series(pd.to_datetime(["2020-01-01T00:00+02:00"])),
    "transposed": lambda: numbers(5).T,
    "nullable series": lambda: masked_series([1, None], "Int64"),
    "value counts": lambda: pd.Series(["a", "b", "a"]).value_counts(),
    "index": lambda: pd.Index([3, 1, 2], name="i"),
    "range": lambda: pd.RangeIndex(5),
    "dates": lambda: pd.date_range("2020", periods=4, freq="h"),
    "index of tuples": lambda: MULTI,
    "grouped": mixed().groupby("b")[["i", "j"]].sum,
    "polars": polars_frame,
    "polars, empty": lambda: polars_frame().clear(),
    "polars, no columns": pl.DataFrame,
    "polars series": lambda: pl.Series("s", [1, None, 3]),
    "polars chunks": lambda: pl.concat([polars_frame(), polars_frame()], rechunk=False),
    "arrow table": arrow_table,
    "arrow table, no rows": lambda: arrow_table().slice(0, 0),
    "record batch": lambda: pa.record_batch({"a": [1, 2]}),
    "arrow slice": lambda: arrow_table().slice(1, 1),
}  # fmt: skip

ARRAY: dict[str, Callable[[], Any]] = {
    "array": lambda: np.arange(6.0),
    "matrix": lambda: np.arange(6).reshape(2, 3),
    "fortran": lambda: np.asfortranarray(np.arange(6).reshape(2, 3)),
    "zero-d": lambda: np.array(3.5),
    "empty": lambda: np.empty((0, 3)),
    "bool": lambda: np.array([True, False]),
    "complex": lambda: np.array([1 + 2j, np.nan]),
    "big endian": lambda: np.arange(3, dtype=">i4"),
    "times": lambda: np.array(["2020-01-01", "NaT"], "M8[D]"),
    "durations": lambda: np.array([1, 2], "m8[ms]"),
    "texts": lambda: np.array(["a", "bcd", ""]),
    "bytes": lambda: np.array([b"a", b"bc"]),
    "structured": structured,
    "half": lambda: np.arange(3, dtype="f2"),
    "long double": lambda: np.arange(3, dtype=np.longdouble),
    "read-only": read_only,
    "row of a matrix": lambda: np.arange(12.0).reshape(3, 4)[1],
    "few of many": lambda: np.arange(1000.0)[::100],
    "five dimensions": lambda: np.arange(32).reshape(2, 2, 2, 2, 2),
}

PICKLE: dict[str, Callable[[], Any]] = {
    "nan": lambda: math.nan,
    "infinity": lambda: [math.inf, -math.inf],
    "huge int": lambda: 10**5000,
    "tuple": lambda: (1, 2),
    "tuple in a list": lambda: [(1, 2)],
    "int keys": lambda: {1: "a", "1": "b"},
    "bool key": lambda: {True: 1},
    "bytes value": lambda: b"\x00\xff",
    "bytearray": lambda: bytearray(b"abc"),
    "set": lambda: {1, 2, 3},
    "frozen set": lambda: frozenset({"a"}),
    "complex number": lambda: 1 + 2j,
    "range object": lambda: range(3),
    "ellipsis": lambda: ...,
    "surrogates": lambda: "\ud83d\ude00",
    "text subclass": lambda: Text("abc"),
    "int subclass": lambda: [Number(3)],
    "recursive list": recursive_list,
    "recursive dict": recursive_dict,
    "aliased": aliased,
    "decimal": lambda: decimal.Decimal("1.10"),
    "fraction": lambda: fractions.Fraction(1, 3),
    "date": lambda: dt.date(2020, 2, 29),
    "zoned time": lambda: dt.datetime(2020, 3, 29, 1, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"), fold=1),
    "offset time": lambda: dt.datetime(2020, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=2))),
    "path": lambda: pathlib.PurePosixPath("a/b"),
    "uuid": lambda: uuid.UUID(int=5),
    "pattern": lambda: re.compile("a+", re.IGNORECASE),
    "ordered dict": lambda: collections.OrderedDict(b=1, a=2),
    "default dict": lambda: collections.defaultdict(list, a=[1]),
    "counter": lambda: collections.Counter("abca"),
    "deque": lambda: collections.deque([1, 2], maxlen=5),
    "enum": lambda: [Colour.RED, Colour.BLUE],
    "named tuple": lambda: Point(1, 2.5),
    "dataclass": lambda: Record("a", [1.0], Record("b", [])),
    "slots": Slots,
    "class": lambda: Record,
    "function": lambda: math.sqrt,
    "exception": lambda: ValueError("wrong", 3),
    "numpy scalar": lambda: np.float64(1.5),
    "numpy int in a list": lambda: [np.int64(3)],
    "numpy dtype": lambda: np.dtype("f4"),
    "strided": lambda: np.arange(12.0).reshape(3, 4)[:, 1:],
    "backwards": lambda: np.arange(5.0)[::-1],
    "permuted": lambda: np.arange(24.0).reshape(2, 3, 4).transpose(0, 2, 1),
    "broadcast": lambda: np.broadcast_to(np.arange(3.0), (1000, 3)),
    "object array": object_array,
    "masked array": masked,
    "matrix class": lambda: np.asmatrix([[1, 2], [3, 4]]),
    "dtype with metadata": lambda: np.zeros(2, np.dtype("f8", metadata={"unit": "m"})),
    "overlapping arrays": overlapping,
    "arrays": lambda: {"w": rng().random((50, 20)), "b": rng().random(500)},
    "generator of numbers": lambda: np.random.default_rng(3),
    "random state": lambda: np.random.RandomState(3),
    "frame of objects": lambda: pd.DataFrame({"o": [1, "a", None]}, dtype=object),
    "texts as objects": lambda: pd.DataFrame({"o": pd.Series(["a", None, "b"], dtype=object)}),
    "python strings": lambda: pd.DataFrame({"s": pd.array(["a", None], dtype="string[python]")}),
    "lists in cells": lambda: pd.DataFrame({"o": [[1], [2, 3]]}),
    "sparse frame": lambda: pd.DataFrame({"s": pd.arrays.SparseArray([0, 0, 1])}),
    "periods": lambda: pd.DataFrame({"p": pd.period_range("2020", periods=3, freq="M")}),
    "intervals": lambda: pd.DataFrame({"i": pd.interval_range(0, 3)}),
    "complex column": lambda: pd.DataFrame({"c": [1 + 2j]}),
    "big endian column": lambda: pd.DataFrame({"b": np.arange(3, dtype=">f8")}),
    "odd attrs": with_odd_attrs,
    "subclass of frame": lambda: Frame({"a": [1, 2]}),
    "tuple name": lambda: pd.Series([1], name=("a", 1)),
    "dates as columns": lambda: numbers(2, "ab").set_axis(pd.date_range("2020", periods=2), axis=1),
    "object index": lambda: numbers(2).set_axis(pd.Index([1, "a"], dtype=object)),
    "timestamp": lambda: pd.Timestamp("2020-01-01", tz="Europe/Berlin"),
    "missing": lambda: [pd.NA, pd.NaT],
    "categorical": lambda: pd.Categorical(["a", "b"]),
    "frames in a dict": lambda: {"train": numbers(), "test": mixed()},
    "polars 128 bits": lambda: pl.DataFrame({"a": pl.Series([1, 2], dtype=pl.Int128)}),
    "arrow array": lambda: pa.array([1, None]),
    "arrow scalar": lambda: pa.scalar(3),
    "estimator": estimator,
    "forest": forest,
    "csr": lambda: sparse_matrix("csr_matrix"),
    "coo array": lambda: sparse_matrix("coo_array"),
    "image": image,
}

FIGURE: dict[str, Callable[[], Any]] = {"figure": figure}

BY_MATERIALIZER = {"json": PLAIN, "arrow": ARROW, "array": ARRAY, "pickle": PICKLE, "figure": FIGURE}
VALUES = {name: make for table in BY_MATERIALIZER.values() for name, make in table.items()}


def differences(one: Any, other: Any, seen: set[int] | None = None) -> str:
    """The first difference between two values, however small, or ``""``."""
    seen = set() if seen is None else seen
    if id(one) in seen:
        return ""
    seen.add(id(one))
    if type(one) is not type(other):
        return f"type {type(one)} is {type(other)}"
    special = next((check for kinds, check in _CHECKS if isinstance(one, kinds)), None)
    if special is not None:
        return special(one, other, seen)
    if isinstance(one, enum.Enum):
        return "" if one is other else f"{one} is another {other}"
    if isinstance(one, BaseException):
        return differences(one.args, other.args, seen)
    if isinstance(one, float):
        return "" if one.hex() == other.hex() else f"{one!r} is {other!r}"
    if isinstance(one, (list, tuple, collections.deque)):
        return _sequences(list(one), list(other), seen)
    if isinstance(one, dict):
        return _sequences(list(one), list(other), seen) or _sequences(list(one.values()), list(other.values()), seen)
    if (
        hasattr(one, "__getstate__")
        and type(one).__eq__ is object.__eq__
        and type(one).__module__ != "matplotlib.figure"
    ):
        states = [value.__reduce_ex__(4)[2] if not callable(value) else value for value in (one, other)]
        return "" if states[0] is states[1] else differences(*states, seen)
    if type(one).__module__ == "matplotlib.figure":
        return (
            ""
            if one.axes[0].lines[0].get_xydata().tolist() == other.axes[0].lines[0].get_xydata().tolist()
            else "lines"
        )
    return "" if one is other or one == other or (one != one and other != other) else f"{one!r} is {other!r}"


def _sequences(one: list[Any], other: list[Any], seen: set[int]) -> str:
    if len(one) != len(other):
        return f"length {len(one)} is {len(other)}"
    aliases = [[id(a) == id(b) for b in one] for a in one] if len(one) < 50 and _mutable(one) else []
    if aliases and aliases != [[id(a) == id(b) for b in other] for a in other]:
        return "aliases differ"
    return next((found for a, b in zip(one, other, strict=True) if (found := differences(a, b, seen))), "")


def _mutable(items: list[Any]) -> bool:
    return all(isinstance(item, (list, dict)) for item in items)


def _arrays(one: Any, other: Any, seen: set[int]) -> str:
    if one.dtype != other.dtype or one.shape != other.shape:
        return f"{one.dtype} {one.shape} is {other.dtype} {other.shape}"
    if layout(one) != "sparse" and _strides(one) != _strides(other):
        return f"strides {one.strides} are {other.strides}"
    if one.dtype.metadata != other.dtype.metadata or one.dtype.num != other.dtype.num:
        return "dtype metadata or number"
    if one.flags.writeable != other.flags.writeable and one.base is None:
        return f"writeable {one.flags.writeable} is {other.flags.writeable}"
    if isinstance(one, np.ma.MaskedArray):
        return _arrays(one.data, other.data, seen) or _arrays(one.mask, other.mask, seen)
    if one.dtype.hasobject:
        return _sequences(one.ravel().tolist(), other.ravel().tolist(), seen)
    if one.dtype == np.longdouble:
        return "" if (one == other).all() else "values"
    return "" if one.tobytes() == other.tobytes() else "values"


def _strides(array: Any) -> list[int]:
    """Of the axes along which there is something to step over."""
    return [stride for length, stride in zip(array.shape, array.strides, strict=True) if length > 1 and array.size]


def _frames(one: Any, other: Any, seen: set[int]) -> str:
    try:
        if isinstance(one, pd.DataFrame):
            pd.testing.assert_frame_equal(one, other, check_exact=True, check_freq=True, check_flags=True)
        else:
            pd.testing.assert_series_equal(one, other, check_exact=True, check_freq=True, check_flags=True)
    except AssertionError as error:
        return str(error)
    for place, (left, right) in enumerate(zip(one._mgr.blocks, other._mgr.blocks, strict=True)):
        a, b = left.values, right.values
        if type(a) is not type(b) or left.mgr_locs.as_array.tolist() != right.mgr_locs.as_array.tolist():
            return f"block {place}"
        a, b = getattr(a, "_ndarray", a), getattr(b, "_ndarray", b)
        if isinstance(a, np.ndarray) and (found := _arrays(a, b, seen) if a.flags.c_contiguous else ""):
            return f"block {place}: {found}"
    index = _indexes(one.index, other.index, seen)
    if not index and isinstance(one, pd.DataFrame):
        index = _indexes(one.columns, other.columns, seen)
    return index or differences(one.attrs, other.attrs, seen)


def _indexes(one: Any, other: Any, seen: set[int]) -> str:
    try:
        pd.testing.assert_index_equal(one, other, exact=True, check_exact=True)
    except AssertionError as error:
        return str(error)
    if getattr(one, "freq", None) != getattr(other, "freq", None):
        return f"freq {one.freq} is {other.freq}"
    if isinstance(one, pd.MultiIndex):
        return next(
            (found for a, b in zip(one.levels, other.levels, strict=True) if (found := _indexes(a, b, seen))), ""
        )
    return differences(list(map(type, one)), list(map(type, other)), seen) if one.dtype == object else ""


def _equal(one: Any, other: Any, _: set[int]) -> str:
    schema = getattr(one, "schema", None)
    if schema is not None and not (
        schema.equals(other.schema, check_metadata=True) if hasattr(schema, "metadata") else schema == other.schema
    ):
        return f"schema {schema} is {other.schema}"
    return "" if one.equals(other) else f"{one} is {other}"


_CHECKS: list[tuple[Any, Callable[[Any, Any, set[int]], str]]] = [
    (np.ndarray, _arrays),
    ((pd.DataFrame, pd.Series), _frames),
    (pd.Index, _indexes),
    ((pl.DataFrame, pl.Series, pa.Table, pa.RecordBatch, pa.Array), _equal),
    (np.random.RandomState, lambda a, b, seen: differences(a.get_state(legacy=False), b.get_state(legacy=False), seen)),
    (np.random.Generator, lambda a, b, seen: differences(a.bit_generator.state, b.bit_generator.state, seen)),
    (pd.api.extensions.ExtensionArray, lambda a, b, seen: _frames(pd.Series(a), pd.Series(b), seen)),
]


def tree_differences(one: Any, other: Any) -> str:
    """For sparse matrices and the like: type and dense values."""
    return "" if type(one) is type(other) and (one.toarray() == other.toarray()).all() else "values"


def check(name: str, found: Any) -> str:
    """What is wrong with a value that was read back."""
    expected = VALUES[name]()
    if name in {"csr", "coo array"}:
        return tree_differences(expected, found)
    if name == "forest":
        points = rng().random((10, 3))
        return "" if (expected.predict_proba(points) == found.predict_proba(points)).all() else "predictions"
    return differences(expected, found)


def main(files: str) -> None:
    from cellway import materializers

    problems = {}
    for name, (materializer, path) in json.loads(pathlib.Path(files).read_text()).items():
        try:
            problem = check(name, materializers.by_name(materializer).read(path))
        except Exception as error:  # noqa: BLE001 (whatever goes wrong is the finding)
            problem = repr(error)
        if problem:
            problems[name] = problem
    print(json.dumps(problems))


if __name__ == "__main__":
    # Under its real name: classes of this file are imported, not the notebook's.
    import value_table

    value_table.main(sys.argv[1])
