"""Thin wrappers around functions that open files in native code, where no audit event is raised.

Each notes the paths among its arguments and calls the original. They are put in place when the library is imported
(or at once, where the kernel had it already), and do nothing while no step is being recorded.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from types import FrameType, ModuleType
from typing import Any

from cellway_magics.imports import after
from cellway_magics.watching import active

_DONE = "__cellway__"
_QUOTED = re.compile(r"'((?:[^']|'')+)'|\"([^\"]+)\"")
_TARGET = re.compile(r"\b(?:to|export\s+database)\s+$", re.IGNORECASE)
"""What stands before a file that a SQL statement writes: ``COPY t TO 'file'``."""
_CALL = compile(
    "__cellway_result__ = __cellway_call__[0](*__cellway_call__[1], **__cellway_call__[2])", "<cellway>", "exec"
)
_ENOUGH = 10_000
"""Files of a folder or glob that are noted one by one."""


def watch_readers() -> None:
    """Wrap the readers of every library here, now or when it is imported."""
    for name, wrap in _LIBRARIES.items():
        after(name, wrap)


def paths(source: Any) -> Iterator[str]:
    """The local files that an argument stands for: a path, a folder, a glob, or several of those."""
    if isinstance(source, (str, os.PathLike)):
        text = os.fspath(source)
        if isinstance(text, bytes):
            text = os.fsdecode(text)
        if "://" in text:
            recorder = active()
            if not text.startswith("file://"):
                if recorder is not None:
                    recorder.touched.add("network")
                return
            text = text.removeprefix("file://")
        text = os.path.expanduser(text)
        if os.path.isdir(text):
            yield from _inside(text)
        elif not os.path.exists(text) and glob.has_magic(text):
            yield from (place for place in glob.iglob(text, recursive=True) if os.path.isfile(place))
        else:
            yield text
    elif isinstance(source, (list, tuple)):
        for part in source:
            yield from paths(part)


def _inside(folder: str) -> Iterator[str]:
    count = 0
    for parent, _, names in os.walk(folder):
        for name in sorted(names):
            count += 1
            if count > _ENOUGH:
                return
            yield os.path.join(parent, name)


def note_sources(source: Any, *, writing: bool = False) -> None:
    """Note the files that an argument stands for."""
    recorder = active()
    if recorder is None:
        return
    with contextlib.suppress(OSError, ValueError, TypeError):
        if writing and isinstance(source, (str, os.PathLike)) and os.path.isdir(source):
            recorder.note_write(source)
        for path in paths(source):
            if writing:
                recorder.note_write(path)
            else:
                recorder.note_read(path)


def note_sql(text: Any) -> None:
    """Note the files named in a SQL text: every quoted piece that is a file, a folder or a glob with matches."""
    if not isinstance(text, str) or active() is None:
        return
    for found in _QUOTED.finditer(text):
        piece = (found[1] or found[2]).replace("''", "'")
        if _TARGET.search(text, 0, found.start()):
            note_sources(piece, writing=True)
            continue
        with contextlib.suppress(OSError, ValueError):
            if "://" in piece or os.path.exists(piece) or (glob.has_magic(piece) and next(glob.iglob(piece), None)):
                note_sources(piece)


def is_lazy(value: Any) -> bool:
    """Whether a value only says what to read, from files that are opened once it is asked for its rows."""
    kinds = _LAZY.get(type(value).__module__.partition(".")[0], frozenset())
    return kinds is None or type(value).__name__ in kinds


def _wrap(owner: Any, name: str, note: Callable[..., None], *, unseen: bool = False) -> None:
    """Replace ``owner.name`` by a function that notes its arguments first.

    Args:
        unseen: the original looks at the variables of whoever calls it.
    """
    original = getattr(owner, name, None)
    if original is None or hasattr(original, _DONE):
        return

    @functools.wraps(original)
    def wrapper(*args: Any, **options: Any) -> Any:
        with contextlib.suppress(Exception):
            note(*args, **options)
        return original(*args, **options)

    @functools.wraps(original)
    def wrapper_in_place(*args: Any, **options: Any) -> Any:
        with contextlib.suppress(Exception):
            note(*args, **options)
        return _call_from(sys._getframe(1), original, args, options)  # noqa: SLF001 - who calls

    wrapper = wrapper_in_place if unseen else wrapper
    setattr(wrapper, _DONE, True)
    with contextlib.suppress(TypeError, AttributeError):  # a type that cannot be changed
        setattr(owner, name, wrapper)


def _call_from(frame: FrameType, original: Any, args: Any, options: Any) -> Any:
    """Call a function so that it finds the caller's variables in the frame above its own.

    duckdb looks there for tables: ``duckdb.sql("select * from df")``.
    """
    own = {(getattr(original, "__module__", None) or "").partition(".")[0], __name__.partition(".")[0]}
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in own:
        frame = frame.f_back
    names = {} if frame.f_locals is frame.f_globals else dict(frame.f_locals)
    names["__cellway_call__"] = (original, args, options)
    exec(_CALL, frame.f_globals, names)  # noqa: S102  # our own line, in the author's scope
    return names["__cellway_result__"]


def _first(*words: str, skip: int = 0, writing: bool = False) -> Callable[..., None]:
    """Notes the argument at position ``skip``, or passed by one of these keywords."""

    def note(*args: Any, **options: Any) -> None:
        source = args[skip] if len(args) > skip else next((options[word] for word in words if word in options), None)
        note_sources(source, writing=writing)

    return note


def _names(owner: Any, prefixes: tuple[str, ...]) -> Iterable[str]:
    return [name for name in dir(owner) if name.startswith(prefixes)]


def _parquet(module: ModuleType) -> None:
    source = ("source", "path_or_paths", "where", "metadata_path")
    for name in ("read_table", "read_pandas", "read_schema", "read_metadata"):
        _wrap(module, name, _first(*source))
    for name in ("ParquetFile", "ParquetDataset"):
        _wrap(getattr(module, name, None), "__init__", _first(*source, skip=1))
    _wrap(module, "write_table", _first("where", skip=1, writing=True))
    _wrap(getattr(module, "ParquetWriter", None), "__init__", _first("where", skip=1, writing=True))


def _arrow(module: ModuleType) -> None:
    _wrap(module, "memory_map", _first("path"))
    original: Any = getattr(module, "OSFile", None)
    if original is None or hasattr(original, _DONE):
        return

    class _Meta(type(original)):  # type: ignore[misc]
        def __instancecheck__(cls, instance: Any) -> bool:
            return isinstance(instance, original)

    class OSFile(original, metaclass=_Meta):  # type: ignore[misc]
        def __init__(self, path: Any, mode: str = "r", memory_pool: Any = None) -> None:
            note_sources(path, writing=mode != "r" and "r" not in mode)

    setattr(OSFile, _DONE, True)
    OSFile.__name__, OSFile.__qualname__, OSFile.__module__ = "OSFile", "OSFile", original.__module__
    module.OSFile = OSFile  # type: ignore[attr-defined]


def _arrow_text(module: ModuleType) -> None:
    for name in ("read_csv", "open_csv", "read_json", "open_json"):
        _wrap(module, name, _first("input_file"))
    _wrap(module, "write_csv", _first("output_file", skip=1, writing=True))


def _feather(module: ModuleType) -> None:
    for name in ("read_table", "read_feather"):
        _wrap(module, name, _first("source"))
    _wrap(module, "write_feather", _first("dest", skip=1, writing=True))


def _dataset(module: ModuleType) -> None:
    _wrap(module, "dataset", _first("source"))
    _wrap(module, "parquet_dataset", _first("metadata_path"))
    _wrap(module, "write_dataset", _first("base_dir", skip=1, writing=True))


def _orc(module: ModuleType) -> None:
    _wrap(module, "read_table", _first("source"))
    _wrap(getattr(module, "ORCFile", None), "__init__", _first("source", skip=1))


def _polars(module: ModuleType) -> None:
    for name in _names(module, ("read_", "scan_")):
        _wrap(module, name, _first("source", "file"))
    for owner in (module.DataFrame, module.LazyFrame):
        for name in _names(owner, ("write_", "sink_")):
            _wrap(owner, name, _first("file", "path", "workbook", skip=1, writing=True))


def _duckdb(module: ModuleType) -> None:
    def connect(database: Any = ":memory:", *_: Any, **options: Any) -> None:
        recorder = active()
        text = os.fspath(database) if isinstance(database, (str, os.PathLike)) else ""
        if recorder is None or not text or text.startswith(":"):
            return
        read_only = options.get("read_only") or (bool(_) and _[0] is True)
        (recorder.note_read if read_only else recorder.note_update)(text)

    _wrap(module, "connect", connect)
    for owner, skip in ((module, 0), (getattr(module, "DuckDBPyConnection", None), 1)):
        for name in ("execute", "executemany", "sql", "query", "from_query"):
            _wrap(owner, name, _sql(skip), unseen=True)
        for name in (*_names(owner, ("read_",)), "from_csv_auto", "from_parquet"):
            _wrap(owner, name, _first("path_or_buffer", "file_glob", "file_globs", skip=skip))
    relation = getattr(module, "DuckDBPyRelation", None)
    for name in ("write_csv", "to_csv", "write_parquet", "to_parquet"):
        _wrap(relation, name, _first("file_name", skip=1, writing=True))


def _sql(skip: int) -> Callable[..., None]:
    def note(*args: Any, **options: Any) -> None:
        note_sql(args[skip] if len(args) > skip else options.get("query"))

    return note


def _h5py(module: ModuleType) -> None:
    def note(_: Any, name: Any = None, mode: str = "r", *__: Any, **___: Any) -> None:
        recorder = active()
        if recorder is None or not isinstance(name, (str, bytes, os.PathLike)):
            return
        {"r": recorder.note_read, "r+": recorder.note_update, "a": recorder.note_update}.get(mode, recorder.note_write)(
            name
        )

    _wrap(module.File, "__init__", note)


def _tables(module: ModuleType) -> None:
    def note(filename: Any, mode: str = "r", *_: Any, **__: Any) -> None:
        note_sources(filename, writing=mode == "w")

    _wrap(module, "open_file", note)


def _safetensors(module: ModuleType) -> None:
    for name in ("load_file", "safe_open"):
        _wrap(module, name, _first("filename"))


_LAZY: dict[str, frozenset[str] | None] = {
    "polars": frozenset({"LazyFrame"}),
    "pyarrow": frozenset({"FileSystemDataset", "UnionDataset", "Scanner", "ParquetFileFragment", "FileFragment"}),
    "xarray": None,
    "dask": None,
    "dask_expr": None,
    "ibis": None,
    "vaex": None,
}
"""Top-level module → types that read when asked; ``None`` for all of its types."""

_LIBRARIES: dict[str, Callable[[ModuleType], None]] = {
    "pyarrow": _arrow,
    "pyarrow.parquet": _parquet,
    "pyarrow.csv": _arrow_text,
    "pyarrow.json": _arrow_text,
    "pyarrow.feather": _feather,
    "pyarrow.dataset": _dataset,
    "pyarrow.orc": _orc,
    "polars": _polars,
    "duckdb": _duckdb,
    "h5py": _h5py,
    "tables": _tables,
    "safetensors": _safetensors,
    "safetensors.numpy": _safetensors,
    "safetensors.torch": _safetensors,
}
