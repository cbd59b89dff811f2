"""What people see of a value without loading it: type, schema, shape, first rows, summary, short text, picture.

Everything here is bounded: it never prints a huge value, and never reads a huge one twice. It runs at the end of a
step, so it must not change the value, and its errors never fail the step (the caller drops them).
"""

from __future__ import annotations

import base64
import io
import sys
from typing import Any

_ROWS, _COLUMNS, _CELL = 20, 50, 80
_TEXT = 2_000
_SUMMARY_CELLS = 5_000_000
"""Values that a summary may look at; above that it is left out."""
_PICTURE = 60_000
"""Bytes of a picture's data URI."""


def describe(value: Any) -> dict[str, Any]:
    """The sidecar of a value.

    Returns:
        JSON-like, whichever apply: ``schema`` (``[{"name", "dtype"}]``), ``shape``, ``rows``, ``preview``
        (``{"columns": [...], "rows": [[...]]}``, texts), ``summary`` (``{column: {"min", "max", "nulls"}}``, texts and
        counts), ``text`` (short repr), ``picture`` (data URI of a PNG).
    """
    home, kind = type(value).__module__.partition(".")[0], type(value).__name__
    for homes, describer in _DESCRIBERS:
        if home in homes:
            found = describer(value, kind)
            if found is not None:
                return dict(found)
    picture = _picture(value)
    return {"text": text(value), **({"picture": picture} if picture else {}), **_length(value)}


def type_name(value: Any) -> str:
    """Full name of a value's type as people write it: ``pandas.DataFrame``, ``int``, ``Model`` (of the notebook)."""
    kind = type(value)
    home, name = kind.__module__, kind.__qualname__
    if home in {"builtins", "__main__"}:
        return name
    top = sys.modules.get(home.partition(".")[0])
    if getattr(top, name, None) is kind:
        return f"{home.partition('.')[0]}.{name}"
    return f"{home}.{name}"


# --- tables ----------------------------------------------------------------------------------------------------


def _pandas(value: Any, kind: str) -> dict[str, Any] | None:
    pd = sys.modules["pandas"]
    if kind == "Series" or isinstance(value, pd.Index):
        shape = [len(value)]
        if isinstance(value, pd.MultiIndex):
            frame = value.to_frame(name=[_label(name) or str(level) for level, name in enumerate(value.names)])
        else:
            frame = value.to_frame(name=_label(value.name) or "values")
    elif isinstance(value, pd.DataFrame):
        shape, frame = list(value.shape), value
    else:
        return None
    shown = frame.iloc[:, :_COLUMNS]
    head = shown.iloc[:_ROWS]
    names = [_label(label) for label in shown.columns]
    index = [] if isinstance(frame.index, pd.RangeIndex) or isinstance(value, pd.Index) else [frame.index[:_ROWS]]
    columns = [head.iloc[:, place].tolist() for place in range(len(names))]
    rows = [[_cell(item) for item in row] for row in zip(*(part.tolist() for part in index), *columns, strict=True)]
    found: dict[str, Any] = {
        "schema": [
            {"name": _label(label), "dtype": str(dtype)}
            for label, dtype in zip(frame.columns, frame.dtypes, strict=True)
        ][: 20 * _COLUMNS],
        "shape": shape,
        "rows": len(frame),
        "preview": {"columns": [_label(frame.index.name) or "index" for _ in index] + names, "rows": rows},
    }
    if frame.shape[0] * len(names) <= _SUMMARY_CELLS:
        found["summary"] = {
            name: _extremes(shown.iloc[:, place]) for place, name in enumerate(names) if names.index(name) == place
        }
    return found


def _extremes(column: Any) -> dict[str, Any]:
    """Least and greatest value and the number of missing ones, where they are cheap."""
    found: dict[str, Any] = {"nulls": int(column.isna().sum())}
    if column.dtype != object and len(column) > found["nulls"]:
        try:
            found["min"], found["max"] = _cell(column.min()), _cell(column.max())
        except (
            TypeError,
            ValueError,
            NotImplementedError,
        ):  # unordered categories, nested values: no order, no extremes
            found.pop("min", None)
    return found


def _polars(value: Any, kind: str) -> dict[str, Any] | None:
    if kind not in {"DataFrame", "Series"}:
        return None
    frame = value if kind == "DataFrame" else value.to_frame()
    head = frame[:_ROWS, :_COLUMNS] if frame.width else frame
    found: dict[str, Any] = {
        "schema": [{"name": name, "dtype": str(dtype)} for name, dtype in frame.schema.items()],
        "shape": list(value.shape),
        "rows": frame.height,
        "preview": {"columns": head.columns, "rows": [[_cell(item) for item in row] for row in head.rows()]},
    }
    if frame.height * min(frame.width, _COLUMNS) <= _SUMMARY_CELLS:
        found["summary"] = {name: _polars_extremes(frame[name]) for name in frame.columns[:_COLUMNS]}
    return found


def _polars_extremes(column: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"nulls": int(column.null_count())}
    if column.dtype.is_numeric() or column.dtype.is_temporal() or str(column.dtype) == "String":
        low, high = column.min(), column.max()
        if low is not None:
            found["min"], found["max"] = _cell(low), _cell(high)
    return found


def _pyarrow(value: Any, kind: str) -> dict[str, Any] | None:
    if kind not in {"Table", "RecordBatch"}:
        return None
    head = value.slice(0, _ROWS).select(list(range(min(value.num_columns, _COLUMNS))))
    columns = [column.to_pylist() for column in head.columns]
    return {
        "schema": [{"name": field.name, "dtype": str(field.type)[:_CELL]} for field in value.schema],
        "shape": [value.num_rows, value.num_columns],
        "rows": value.num_rows,
        "preview": {
            "columns": list(head.schema.names),
            "rows": [[_cell(item) for item in row] for row in zip(*columns, strict=True)],
        },
        "summary": {
            head.schema.names[place]: {"nulls": value.column(place).null_count} for place in range(head.num_columns)
        },
    }


def _numpy(value: Any, kind: str) -> dict[str, Any] | None:
    import numpy as np

    if not isinstance(value, np.ndarray):
        return None
    found: dict[str, Any] = {"schema": [{"name": "", "dtype": str(value.dtype)[:_TEXT]}], "shape": list(value.shape)}
    if value.ndim:
        found["rows"] = len(value)
    few = value[tuple(slice(0, 6) for _ in value.shape)]
    found["text"] = _cut(np.array2string(few, max_line_width=100), _TEXT) + ("" if few.size == value.size else "\n…")
    if value.dtype.kind in "iufbmM" and 0 < value.size <= _SUMMARY_CELLS:
        missing = np.isnan(value) if value.dtype.kind == "f" else np.isnat(value) if value.dtype.kind in "mM" else None
        nulls = 0 if missing is None else int(missing.sum())
        found["summary"] = {"": {"nulls": nulls}}
        if nulls < value.size:
            there = value if missing is None else value[~missing]
            found["summary"][""].update(min=_cell(there.min()), max=_cell(there.max()))
    return found


# --- pictures --------------------------------------------------------------------------------------------------


def _picture(value: Any) -> str | None:
    home = type(value).__module__.partition(".")[0]
    if home == "PIL" and hasattr(value, "thumbnail"):
        small = value.copy()
        small.thumbnail((480, 360))
        return _data_uri(lambda file, _: small.convert("RGBA").save(file, "PNG"))
    figures = sys.modules.get("matplotlib.figure")
    if figures is None:
        return None
    figure = value if isinstance(value, figures.Figure) else getattr(value, "figure", None)
    if not isinstance(figure, figures.Figure):
        return None
    # Drawing settles layouts and caches: a copy is drawn, the user's figure stays as it was.
    from cellway.materializers.pickled import dumps, loads

    copy = loads(*dumps(figure))
    width, height = copy.get_size_inches()

    def draw(file: io.BytesIO, scale: float) -> None:
        copy.savefig(file, format="png", dpi=max(10.0, scale * 480 / max(width, height, 1)))

    try:
        return _data_uri(draw)
    finally:
        # A figure that pyplot manages has a copy that pyplot manages, which would be shown at the end of the cell.
        if (pyplot := sys.modules.get("matplotlib.pyplot")) is not None:
            pyplot.close(copy)


def _data_uri(draw: Any) -> str | None:
    """A PNG that fits, at most two attempts smaller than the first; ``None`` if none fits."""
    for scale in (1.0, 0.6, 0.3):
        file = io.BytesIO()
        draw(file, scale)
        uri = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
        if len(uri) <= _PICTURE:
            return uri
    return None


# --- texts -----------------------------------------------------------------------------------------------------


def text(value: Any, limit: int = _TEXT) -> str:
    """A short repr that never walks through a huge value."""
    return _cut(_short(value, 3), limit)


def _short(value: Any, depth: int) -> str:
    import itertools

    kind = type(value)
    if kind is str or kind is bytes:
        return repr(value[:_TEXT])
    if kind is int and value.bit_length() > 4 * _TEXT:
        return f"<int of {value.bit_length():,} bits>"
    if kind in {list, tuple, set, frozenset, dict}:
        if not value:
            return repr(value)
        if depth == 0:
            return f"<{kind.__name__} of {len(value):,}>"
        if kind is dict:
            items = [
                f"{_short(key, depth - 1)}: {_short(item, depth - 1)}"
                for key, item in itertools.islice(value.items(), 20)
            ]
        else:
            items = [_short(item, depth - 1) for item in itertools.islice(value, 20)]
        if len(value) > len(items):
            items.append("…")
        inner = ", ".join(items)
        if kind is tuple:
            return f"({inner},)" if len(value) == 1 else f"({inner})"
        if kind is list:
            return f"[{inner}]"
        return f"{{{inner}}}" if kind is not frozenset else f"frozenset({{{inner}}})"
    fields = getattr(kind, "__dataclass_fields__", None)
    if fields is not None and "__repr__" in kind.__dict__:
        if depth == 0:
            return f"<{kind.__name__}>"
        parts = [f"{name}={_short(getattr(value, name, None), depth - 1)}" for name in itertools.islice(fields, 20)]
        return f"{kind.__name__}({', '.join(parts)})"
    if _is_large(value):
        return f"<{type_name(value)}{_shape(value)}>"
    return repr(value)


def _is_large(value: Any) -> bool:
    """Whether the repr of an object could be long or slow: tables, arrays, and containers with many items."""
    home = type(value).__module__.partition(".")[0]
    if home in {"pandas", "polars", "pyarrow", "numpy", "scipy"} and hasattr(value, "shape") and value.shape != ():
        return True
    try:
        return len(value) > 1_000
    except Exception:  # noqa: BLE001 (no length, or a strange one)
        return False


def _shape(value: Any) -> str:
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        return " of shape " + "×".join(map(str, shape))
    try:
        return f" of {len(value):,}"
    except TypeError:
        return ""


def _length(value: Any) -> dict[str, Any]:
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and shape and all(type(length) is int for length in shape):
        return {"shape": list(shape)}
    return {"shape": [len(value)]} if type(value) in {list, tuple, dict, set, frozenset} else {}


def _cut(long: str, limit: int) -> str:
    return long if len(long) <= limit else long[: limit - 1] + "…"


def _label(label: object) -> str:
    return "" if label is None else _cut(_clean(str(label)), _CELL)


def _cell(item: Any) -> str:
    """One value of a table as text."""
    short = item if type(item) is str else _short(item, 1) if isinstance(item, (list, dict, tuple, set)) else str(item)
    return _cut(_clean(short), _CELL)


def _clean(raw: str) -> str:
    return raw.encode("utf-8", "replace").decode()


_DESCRIBERS: tuple[tuple[frozenset[str], Any], ...] = (
    (frozenset({"pandas"}), _pandas),
    (frozenset({"polars"}), _polars),
    (frozenset({"pyarrow"}), _pyarrow),
    (frozenset({"numpy"}), _numpy),
)
