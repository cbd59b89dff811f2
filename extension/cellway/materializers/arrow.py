"""Tables as uncompressed Arrow IPC files (https://arrow.apache.org/docs/format/Columnar.html#ipc-file-format).

The file can be read by anything that knows Arrow; what Arrow has no word for (index, block layout, flags) stands in the
schema's metadata under ``cellway``. Values are taken out of the mapped file without a copy.
"""

from __future__ import annotations

import json
import sys
from typing import Any, BinaryIO

_KEY = b"cellway"


class Arrow:
    """pandas frames, series and indexes, polars frames and series, pyarrow tables and record batches."""

    name = "arrow"
    suffix = ".arrow"
    executes = False

    def __init__(self) -> None:
        # What accepts() made of a value is what write() needs a moment later.
        self._last: tuple[Any, Any] | None = None

    def accepts(self, value: Any) -> bool:
        """Whether the way back gives the same types, dtypes, index, flags and memory layout: a check of the schema."""
        kind = type(value)
        home = kind.__module__.partition(".")[0]
        if home not in {"pandas", "polars", "pyarrow"} or sys.modules.get(home) is None:
            return False
        try:
            import pyarrow as pa
        except ImportError:
            return False
        try:
            batch = _encode(value, home)
        except (pa.ArrowException, NotImplementedError, TypeError, ValueError, OverflowError, AttributeError):
            # Not promised: pickle is the one that keeps everything.
            return False
        self._last = None if batch is None else (value, batch)
        return batch is not None

    def write(self, value: Any, file: BinaryIO) -> None:
        """Write one record batch, or several where one column is larger than Arrow allows for one."""
        import pyarrow as pa

        last, self._last = self._last, None
        if last is not None and last[0] is value:
            encoded = last[1]
        else:
            encoded = _encode(value, type(value).__module__.partition(".")[0])
        with pa.ipc.new_file(file, encoded.schema) as writer:
            writer.write(encoded)

    def read(self, path: str) -> Any:
        """The value on a private mapping of the file; numeric columns are writable."""
        import pyarrow as pa

        from cellway.materializers.mapping import Window

        window = Window(path)
        table = pa.ipc.open_file(window.buffer).read_all()
        meta = dict(table.schema.metadata or {})
        spec = json.loads(meta.pop(_KEY))
        if spec["kind"].startswith("pandas."):
            from cellway.materializers.frames import decode

            return decode(table, spec, window.view)
        if spec["kind"].startswith("polars."):
            return _to_polars(table, spec)
        table = table.replace_schema_metadata(None if spec["metadata"] is None else meta)
        if spec["kind"] == "pyarrow.Table":
            return table
        batches = table.to_batches()
        return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)

    def describe(self, value: Any) -> dict[str, Any]:
        """Sidecar, see :mod:`cellway.materializers.sidecar`."""
        from cellway.materializers.sidecar import describe

        return describe(value)


def _encode(value: Any, home: str) -> Any:
    """An Arrow table or record batch with the way back in its metadata; ``None`` if the way back is not exact."""
    if home == "pandas":
        from cellway.materializers.frames import encode

        encoded = encode(value)
        if encoded is None:
            return None
        batch, spec = encoded
        return _marked(batch, spec)
    if home == "polars":
        return _from_polars(value)
    return _from_pyarrow(value)


def _marked(table: Any, spec: dict[str, Any]) -> Any:
    meta = dict(table.schema.metadata or {})
    if _KEY in meta:
        return None
    meta[_KEY] = json.dumps(spec, separators=(",", ":"), ensure_ascii=False).encode()
    return table.replace_schema_metadata(meta)


def _from_pyarrow(value: Any) -> Any:
    import pyarrow as pa

    if type(value) is pa.Table:
        # Equal tables, equal bytes: one chunk for each column, one dictionary for each dictionary column.
        table = value.unify_dictionaries().combine_chunks()
    elif type(value) is pa.RecordBatch:
        table = value
    else:
        return None
    if any(unregistered(field.type) for field in value.schema):
        return None
    kind = f"pyarrow.{type(value).__name__}"
    meta = None if value.schema.metadata is None else len(value.schema.metadata)
    marked = _marked(table, {"kind": kind, "metadata": meta})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, marked.schema) as writer:  # refuses what the format cannot say
        writer.write(marked.slice(0, 0))
    restored = pa.ipc.open_file(sink.getvalue()).schema
    return marked if restored.equals(marked.schema, check_metadata=True) else None


def unregistered(kind: Any) -> bool:
    """Extension types come back only where the same package has registered them."""
    import pyarrow as pa

    if isinstance(kind, pa.BaseExtensionType):
        return True
    return any(unregistered(kind.field(i).type) for i in range(kind.num_fields))


def _from_polars(value: Any) -> Any:
    import polars as pl

    if type(value) is pl.DataFrame:
        frame, spec = value, {"kind": "polars.DataFrame"}
    elif type(value) is pl.Series:
        frame, spec = value.to_frame(), {"kind": "polars.Series"}
    else:
        return None
    newest = pl.CompatLevel.newest()
    empty = _marked(frame.clear().to_arrow(compat_level=newest), spec)
    restored = pl.from_arrow(empty)
    if not isinstance(restored, pl.DataFrame) or restored.schema != frame.schema:
        return None
    table = frame.to_arrow(compat_level=newest).combine_chunks()
    restored = pl.from_arrow(table.slice(0, 1))
    return _marked(table, spec) if isinstance(restored, pl.DataFrame) and restored.schema == frame.schema else None


def _to_polars(table: Any, spec: dict[str, Any]) -> Any:
    import polars as pl

    frame = pl.from_arrow(table, rechunk=False)
    assert isinstance(frame, pl.DataFrame)
    return frame.to_series(0) if spec["kind"] == "polars.Series" else frame
