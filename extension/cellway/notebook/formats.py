"""File text to raw cells: ``.ipynb`` with the standard library alone, ``.py`` through :mod:`cellway.notebook.percent`.

Format: https://nbformat.readthedocs.io/en/latest/format_description.html (4.0 to 4.5 are read here; older ones are
upgraded by nbformat, which is imported only then).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from cellway.errors import Place, UnreadableNotebook
from cellway.notebook.raw import RawCell, RawNotebook, unix

SUFFIXES = (".ipynb", ".py")
_KINDS = {"code": "code", "markdown": "markdown", "raw": "raw", "heading": "markdown"}


def parse(text: str, path: str) -> RawNotebook:
    """Raw cells of a notebook's text.

    Args:
        text: without a byte order mark.
        path: its suffix says the format.

    Raises:
        UnreadableNotebook: it is none, with what is wrong and where.
    """
    suffix = PurePath(path).suffix.lower()
    if suffix == ".ipynb":
        return _json_notebook(text)
    if suffix == ".py":
        from cellway.notebook import percent

        return percent.parse(unix(text)).notebook()
    raise UnreadableNotebook(
        f"`{PurePath(path).name}` is neither a notebook (.ipynb) nor a percent script (.py)",
        name=path,
        fix="jupytext --to ipynb FILE turns other text notebooks into one",
    )


def _json_notebook(text: str) -> RawNotebook:
    data = load_json(text)
    major, minor = data.get("nbformat"), data.get("nbformat_minor", 0)
    if not isinstance(major, int) or isinstance(major, bool):
        raise UnreadableNotebook("this is JSON, but no notebook: `nbformat`, the version of the format, is missing")
    warnings = []
    if major < 4:
        data = _upgrade(text, major)
        warnings.append(
            f"format {major} is old; it was read as format 4 (`jupyter nbconvert --to notebook` upgrades it)"
        )
    elif major > 4:
        raise UnreadableNotebook(
            f"the notebook is in format {major}, and cellway reads up to 4",
            fix="save it as format 4, or update cellway",
        )
    elif isinstance(minor, int) and minor > 5:
        warnings.append(f"format 4.{minor} is newer than 4.5, the newest that cellway knows")
    cells = data.get("cells")
    if not isinstance(cells, list):
        what = "are missing" if cells is None else "are not a list"
        raise UnreadableNotebook(f"the notebook's `cells` {what}")
    metadata = data.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    kernel, language = _kernel(metadata)
    keep_ids = major == 4
    return RawNotebook(
        tuple(_cell(cell, index, keep_ids) for index, cell in enumerate(cells)), kernel, language, tuple(warnings)
    )


def load_json(text: str) -> dict[str, Any]:
    """The object that a notebook's text is.

    Raises:
        UnreadableNotebook: it is not JSON, or not an object; with line and column.
    """
    if not text.strip():
        raise UnreadableNotebook("the file is empty", fix="open it in Jupyter and save it, or restore it")
    try:
        data = json.loads(text)
    except RecursionError:
        raise UnreadableNotebook("the JSON is nested too deeply to be a notebook") from None
    except json.JSONDecodeError as problem:
        where = f"line {problem.lineno}, column {problem.colno}"
        if any(line.startswith(("<<<<<<< ", ">>>>>>> ")) for line in text.splitlines()):
            raise UnreadableNotebook(
                f"{where}: not JSON, because a merge left its conflict marks in the file",
                fix="resolve the merge, for example with `nbdime mergetool`",
            ) from None
        raise UnreadableNotebook(
            f"{where}: not JSON: {problem.msg[0].lower()}{problem.msg[1:].removesuffix(' at')}",
            fix="restore the file from its last good copy",
        ) from None
    if not isinstance(data, dict):
        raise UnreadableNotebook(f"this is JSON, but no notebook: an object is expected, here is a {_type(data)}")
    return data


def _upgrade(text: str, major: int) -> dict[str, Any]:
    import warnings

    import nbformat

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return dict(nbformat.reads(text, as_version=4))  # type: ignore[no-untyped-call]
    except Exception as problem:  # noqa: BLE001 - nbformat raises whatever a broken old file makes its code trip over
        raise UnreadableNotebook(
            f"the notebook is in format {major}, and nbformat cannot upgrade it: {problem}",
            fix="open and save it in Jupyter",
        ) from None


def _kernel(metadata: Mapping[str, Any]) -> tuple[str | None, str]:
    spec, info = metadata.get("kernelspec"), metadata.get("language_info")
    spec = spec if isinstance(spec, dict) else {}
    info = info if isinstance(info, dict) else {}
    name = spec.get("name")
    language = info.get("name") or spec.get("language") or "python"
    language = str(language).lower()
    # IPython kernels have called their language `ipython` and `python3` in old notebooks.
    return (str(name) if name else None), "python" if language in {"ipython", "python3", "python2"} else language


def _cell(cell: Any, index: int, keep_id: bool) -> RawCell:
    place = Place(index)
    if not isinstance(cell, dict):
        raise UnreadableNotebook(f"a cell must be an object, here is a {_type(cell)}", place=place)
    kind = _KINDS.get(str(cell.get("cell_type")))
    if kind is None:
        raise UnreadableNotebook(
            f"`cell_type` is {cell.get('cell_type')!r}: code, markdown and raw are known", place=place
        )
    source = cell.get("source", "")
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    if not isinstance(source, str):
        raise UnreadableNotebook("`source` must be a text or a list of texts", place=place)
    metadata = cell.get("metadata", {})
    if not isinstance(metadata, dict):
        raise UnreadableNotebook(f"`metadata` must be an object, here is a {_type(metadata)}", place=place)
    tags = metadata.get("tags", [])
    if tags is None:
        tags = []
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise UnreadableNotebook("`tags` must be a list of texts", place=place)
    name = cell.get("id")
    return RawCell(kind, unix(source), name if keep_id and isinstance(name, str) else None, tuple(tags))


def _type(value: Any) -> str:
    names = {dict: "object", list: "list", str: "text", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")
