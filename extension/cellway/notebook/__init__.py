"""Stage 1: a notebook file to a :class:`~cellway.records.Notebook`.

Reads ``.ipynb`` and percent scripts, understands magics and cell tags (:mod:`cellway.notebook.grammar`) and notebooks
that are tagged for Kale, and writes tags back for ``cellway init``. It does not look at the code.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    from cellway.records import Notebook, Role, StepOptions

__all__ = ["read", "read_text", "write_tags"]


def read(path: str | os.PathLike[str]) -> Notebook:
    """Read a notebook file.

    Args:
        path: of an ``.ipynb`` (format 4; older ones are upgraded) or a percent script (``.py``).

    Raises:
        UsageError: there is no such file, or it cannot be opened.
        UnreadableNotebook: it is not a notebook; with what is wrong and where.
        TagError: a magic, tag or option is wrong.
    """
    from cellway.notebook import files

    text, full = files.load(path)
    return read_text(text, full)


def read_text(text: str, path: str | os.PathLike[str]) -> Notebook:
    """Read a notebook from its text, as an editor holds it before it is saved.

    Args:
        text: of the file.
        path: where it is or will be saved; its suffix says the format.

    Raises:
        UnreadableNotebook: it is not a notebook; with what is wrong and where.
        TagError: a magic, tag or option is wrong.
    """
    from cellway import fingerprint
    from cellway.notebook import files, formats, tags
    from cellway.records import Notebook

    full = files.absolute(path)
    text = text.removeprefix("\ufeff")
    raw = formats.parse(text, full)
    warnings = list(raw.warnings)
    cells = tags.assign(raw.cells, warnings)
    return Notebook(full, cells, raw.kernel, raw.language, fingerprint.text("notebook", text), tuple(warnings))


def write_tags(
    path: str | os.PathLike[str],
    tags: Iterable[tuple[int, Role, str | None, StepOptions | None]],
    style: str = "magics",
    *,
    digest: str | None = None,
) -> Notebook:
    """Tag cells of a notebook file; everything else in the file stays as it is.

    A cell's own cellway magic and tags are replaced; cells that are not listed keep theirs.

    Args:
        path: of an ``.ipynb`` (format 4) or a percent script.
        tags: ``(index of the cell, role, step, options)``; the role ``EXPLORATION`` removes a cell's tags.
        style: ``magics`` or ``tags``.
        digest: of the notebook that the indices were taken from; the file is refused if it has changed since.

    Returns:
        The notebook as it is now.

    Raises:
        UsageError: a cell is not there or is no code, the style is unknown, the file cannot be written or has changed.
        UnreadableNotebook: the file is not a notebook.
        TagError: the notebook would not be valid; nothing is written then.
    """
    from cellway.notebook import writing

    return writing.write(path, list(tags), style, digest)
