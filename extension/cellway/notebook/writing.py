"""Roles and options written into a notebook file, as magics or as cell tags."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import PurePath

from cellway import notebook
from cellway.errors import CellwayError, Place, TagError, UnreadableNotebook, UsageError
from cellway.notebook import files, formats, json_edit, percent
from cellway.notebook.grammar import find_magic
from cellway.notebook.options import OPTIONS, magic_text, tag_texts
from cellway.notebook.raw import unix
from cellway.records import Notebook, Role, StepOptions

Assignment = tuple[int, Role, str | None, StepOptions | None]
STYLES = ("magics", "tags")


def write(path: str | os.PathLike[str], tags: Sequence[Assignment], style: str, digest: str | None) -> Notebook:
    """See :func:`cellway.notebook.write_tags`."""
    if style not in STYLES:
        raise UsageError(f"tags are written as `magics` or as `tags`, not as `{style}`", name=style)
    text, full = files.load(path)
    before = notebook.read_text(text, full)
    if digest is not None and before.digest != digest:
        raise UsageError(
            f"{os.fspath(path)} has changed since it was read", name=full, fix="do it again, from the file as it is now"
        )
    _check_cells(before, tags)
    if not tags:
        return before
    if PurePath(full).suffix.lower() == ".py":
        new = _script(text, tags, style)
    else:
        if formats.load_json(text.removeprefix("\ufeff")).get("nbformat") != 4:
            raise UnreadableNotebook("tags are written into format 4 only", fix="jupyter nbconvert --to notebook FILE")
        new = _json(text, before, tags, style)
    after = notebook.read_text(new, full)
    _check_result(before, after, tags)
    if new != text:
        files.replace(full, new)
    return after


def _check_cells(before: Notebook, tags: Sequence[Assignment]) -> None:
    seen: set[int] = set()
    for index, role, _, _ in tags:
        if not 0 <= index < len(before.cells):
            raise UsageError(f"there is no cell {index + 1}: the notebook has {len(before.cells)}", name=before.path)
        if before.cells[index].kind != "code":
            raise UsageError(f"cell {index + 1} is a text cell and cannot be `{role}`", name=before.path)
        if index in seen:
            raise UsageError(f"cell {index + 1} is tagged twice", name=before.path)
        seen.add(index)


def _check_result(before: Notebook, after: Notebook, tags: Sequence[Assignment]) -> None:
    """What was written must read back as what was meant, and change nothing else."""
    wanted = {index: (role, step) for index, role, step, _ in tags}
    for old, new in zip(before.cells, after.cells, strict=False):
        role, step = wanted.get(old.index, (old.role, old.step))
        same_code = new.body == old.body or (old.index in wanted and _code(new.body) == _code(old.body))
        if (new.role, new.step) != (role, step) or not same_code or len(before.cells) != len(after.cells):
            raise CellwayError(
                "the tag cannot be written without changing what a cell says",
                place=Place(old.index, None, old.source.split("\n", 1)[0]),
                fix="write it by hand; in a plain script, comments that look like shell commands are in the way",
            )


def _code(body: str) -> list[str]:
    """Lines from the first that is not blank or a comment: those above a magic are no part of the body."""
    lines = body.split("\n")
    first = next((i for i, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")), len(lines))
    return lines[first:]


def _own(tag: str) -> bool:
    name, colon, _ = tag.strip().partition(":")
    if colon:
        return name in {"step", "test"} or name in OPTIONS
    return name in {"parameters", "setup", "skip", "no-cache"}


def _texts(assignment: Assignment, style: str) -> tuple[str | None, tuple[str, ...]]:
    """Magic line and tags to write."""
    _, role, step, options = assignment
    if role in {Role.EXPLORATION, Role.TEXT}:
        return None, ()
    if (role in {Role.STEP, Role.TEST}) is not bool(step):
        raise TagError(f"`{role}` {'takes no name' if step else 'needs the name of a step'}", name=step)
    options = options or StepOptions()
    if style == "magics":
        return magic_text(role, step, options), ()
    return None, tag_texts(role, step, options)


def _with_magic(source: str, magic: str | None) -> str:
    """The source with its magic line replaced, removed or put on top; its line ends are kept."""
    found = find_magic(unix(source))
    lines = source.split("\n")
    ending = "\r" if lines[0].endswith("\r") else ""
    if found:
        lines[found.line : found.line + 1] = [magic + ending] if magic else []
    elif magic:
        lines = [magic + ending, *lines] if source else [magic]
    return "\n".join(lines)


def _json(text: str, before: Notebook, tags: Sequence[Assignment], style: str) -> str:
    cells = json.loads(text.removeprefix("\ufeff"))["cells"]
    edits: dict[int, json_edit.CellEdit] = {}
    for assignment in tags:
        index = assignment[0]
        magic, texts = _texts(assignment, style)
        source = cells[index].get("source", "")
        source = "".join(source) if isinstance(source, list) else source
        new = _with_magic(source, magic)
        old_tags = before.cells[index].tags
        new_tags = (*(tag for tag in old_tags if not _own(tag)), *texts)
        edits[index] = json_edit.CellEdit(
            new if new != source else None, new_tags if new_tags != tuple(old_tags) else None
        )
    return json_edit.edit(text, edits)


# --- scripts ---------------------------------------------------------------------------------


def _script(text: str, tags: Sequence[Assignment], style: str) -> str:
    script = percent.parse(unix(text.removeprefix("\ufeff")))
    lines = text.split("\n")
    ending = "\r" if lines[0].endswith("\r") else ""
    hash_sign = "# " if script.comment_magics or not script.marked else ""
    for assignment in sorted(tags, key=lambda item: item[0], reverse=True):
        part = script.cells[assignment[0]]
        magic, texts = _texts(assignment, style)
        found = find_magic(part.cell.source)
        if found:
            del lines[part.first + found.line]
        if magic:
            lines.insert(part.first + (found.line if found else 0), f"{hash_sign}{magic}{ending}")
        new_tags = [*(tag for tag in part.cell.tags if not _own(tag)), *texts]
        if part.marker is not None:
            if tuple(new_tags) != part.cell.tags:
                lines[part.marker] = _marker(part, new_tags) + ending
        elif new_tags or not script.marked:
            lines.insert(part.first, "# %%" + (f" tags={json.dumps(new_tags)}" if new_tags else "") + ending)
    return "\n".join(lines)


def _marker(part: percent.PercentCell, tags: list[str]) -> str:
    """The marker line with other tags; title and other metadata stay as written."""
    options = part.options
    span = percent.tags_span(options)
    if span is None:
        written = f"tags={json.dumps(tags)}" if tags else ""
        return " ".join(piece for piece in (f"# %%{part.depth}", options, written) if piece)
    start, end, as_json = span
    if as_json:
        metadata = {**json.loads(options[start:end]), "tags": tags}
        return f"# %%{part.depth} {options[:start]}{json.dumps(metadata, ensure_ascii=False)}"
    written = f"tags={json.dumps(tags)}" if tags else ""
    return f"# %%{part.depth} {options[:start]}{written}{options[end:]}".rstrip()
