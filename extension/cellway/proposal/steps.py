"""Cells to steps: by the headings they stand under, else by what they compute."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence

from cellway.proposal.cells import CellFacts, called
from cellway.records import Notebook, StatementKind

_HEADING = re.compile(r"^ {0,3}(#{1,6})[ \t]+(.*?)[ \t]*#*[ \t]*$")
_FENCE = re.compile(r"^ {0,3}(?:```|~~~)")
# What a step is about, by the calls in it; the first match names the step.
_TOPICS = (
    ("load", re.compile(r"read_\w+|load(?:_\w+|txt)?|fetch_\w+|open|urlopen|glob")),
    ("split", re.compile(r"train_test_split|\w*KFold|random_split")),
    ("train", re.compile(r"fit|fit_transform|train|partial_fit")),
    ("evaluate", re.compile(r"score|\w+_score|\w+_error|classification_report|confusion_matrix|predict\w*")),
    ("save", re.compile(r"to_(?:csv|excel|parquet|feather|json|pickle|sql|hdf)|dump|savefig|save\w*")),
    ("clean", re.compile(r"dropna|fillna|drop_duplicates|drop|rename|astype|clip|interpolate|replace|merge|join")),
)


def name_steps(notebook: Notebook, kept: Sequence[CellFacts]) -> list[tuple[int, str, str]]:
    """Index of the cell, name of its step, and why, for each of the cells that must be in one."""
    sections = headings(notebook)
    headed = {sections[cell.index] for cell in kept if sections[cell.index]}
    # One heading above everything says nothing about steps.
    by_heading = len(headed) > 1 or (len(headed) == 1 and len(kept) <= 3)
    groups: list[tuple[tuple[int, str] | None, list[CellFacts]]] = []
    for cell in kept:
        section = sections[cell.index] if by_heading else None
        if groups and groups[-1][0] == section:
            groups[-1][1].append(cell)
        else:
            groups.append((section, [cell]))
    taken: dict[str, int] = {}
    result: list[tuple[int, str, str]] = []
    for section, group in groups:
        if section:
            name = _unique(_slug(section[1]), taken)
            result.extend((cell.index, name, f"under the heading “{section[1]}”") for cell in group)
            continue
        for part in _cut(group, kept):
            topic = _topic(part)
            wanted = topic if topic is not None and topic not in taken else _new_name(part, kept) or topic
            name = _unique(wanted or _main_name(part, kept), taken)
            result.extend((cell.index, name, "by what it computes") for cell in part)
    return result


def headings(notebook: Notebook) -> list[tuple[int, str] | None]:
    """For each cell, the heading that it stands under; the notebook's own title is none."""
    found: list[tuple[int, int, str]] = []
    for cell in notebook.cells:
        if cell.kind != "markdown":
            continue
        fenced = False
        for line in cell.source.split("\n"):
            if _FENCE.match(line):
                fenced = not fenced
            heading = None if fenced else _HEADING.match(line)
            if heading and heading[2]:
                found.append((cell.index, len(heading[1]), heading[2]))
    top = min((level for _, level, _ in found), default=0)
    if len(found) > 1 and found[0][1] == top and sum(level == top for _, level, _ in found) == 1:
        del found[0]
    result: list[tuple[int, str] | None] = []
    current: tuple[int, str] | None = None
    for cell in notebook.cells:
        below = [(index, text) for index, _, text in found if index == cell.index]
        current = below[-1] if below else current
        result.append(current)
    return result


def _slug(heading: str) -> str:
    import unicodedata

    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)|<[^>]*>", r"\1", heading)  # links, markup
    text = unicodedata.normalize("NFKD", text.casefold()).encode("ascii", "ignore").decode()
    text = re.sub(r"^(?:(?:step|part|chapter|section)\s+)?[\d.\s:)-]*\s*", "", text.strip()) or text
    words = re.findall(r"[a-z0-9]+", text)
    words = words[1:] if len(words) > 1 and words[0] in {"a", "an", "the", "our"} else words
    short: list[str] = []
    for word in words:
        if short and len("_".join([*short, word])) > 32:
            break
        short.append(word)
    name = "_".join(short).lstrip("0123456789_")
    return name or "step"


def _unique(name: str, taken: dict[str, int]) -> str:
    taken[name] = taken.get(name, 0) + 1
    return name if taken[name] == 1 else _unique(f"{name}_{taken[name]}", taken)


def _cut(group: Sequence[CellFacts], kept: Sequence[CellFacts]) -> list[list[CellFacts]]:
    """Cells without headings into steps: one begins with another topic, or with names that many cells below read."""
    parts: list[list[CellFacts]] = []
    for cell in group:
        part = parts[-1] if parts else None
        if part is None:
            parts.append([cell])
            continue
        known = {name for member in part for name in member.binds | member.changes}
        topic, current = _topic([cell]), _topic(part)
        new = cell.binds - known
        readers = sum(1 for later in kept if later.index > cell.index and new & later.reads)
        goes_on = bool((cell.binds | cell.changes) & known) or not cell.binds
        another = topic is not None and current is not None and topic != current
        if another or (not goes_on and (readers > 1 or not cell.reads & known)):
            parts.append([cell])
        else:
            part.append(cell)
    return parts


def _topic(part: Sequence[CellFacts]) -> str | None:
    names: set[str] = set()
    for cell in part:
        for statement in cell.statements:
            try:
                tree = ast.parse(statement.source)
            except SyntaxError:
                continue
            names |= {called(node) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return next((topic for topic, pattern in _TOPICS if any(pattern.fullmatch(name) for name in names)), None)


def _new_name(part: Sequence[CellFacts], kept: Sequence[CellFacts]) -> str | None:
    """As :func:`_main_name`, if it is bound here first and read below."""
    name = _main_name(part, kept)
    known = {_slug(bound) for cell in kept if cell.index < part[0].index for bound in cell.binds}
    read = {_slug(read) for cell in kept if cell.index > part[-1].index for read in cell.reads}
    return name if name in read - known else None


def _main_name(part: Sequence[CellFacts], kept: Sequence[CellFacts]) -> str:
    """The name bound here that most cells below read."""
    statements = [statement for cell in part for statement in cell.statements]
    imported = {name for s in statements if s.kind is StatementKind.IMPORT for name in s.binds}
    names = sorted({name for cell in part for name in cell.binds} - imported)
    if not names:
        return "step"
    last = part[-1].index
    return _slug(max(names, key=lambda name: sum(name in cell.reads for cell in kept if cell.index > last)))
