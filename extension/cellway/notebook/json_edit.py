"""Tags written into the text of an ``.ipynb`` file, the rest of the text untouched.

A notebook is found again by other tools through its diff: parsing and dumping it would reformat numbers, escapes and
layout. So only the spans of a cell's ``source`` and ``tags`` are replaced, in the layout of their neighbours.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_BLANK = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a JSON object: where its key and its value stand in the text."""

    key_start: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class CellEdit:
    """New content of a cell; ``None`` leaves it."""

    source: str | None
    tags: Sequence[str] | None


def edit(text: str, edits: Mapping[int, CellEdit]) -> str:
    """The text with cells changed.

    Args:
        text: of a valid format-4 notebook.
        edits: by index of the cell.
    """
    top = _members(text, _skip(text, 1 if text.startswith("\ufeff") else 0))
    cells = _items(text, top["cells"].start)
    style = _Style.of(text, top["cells"], cells)
    changes: list[tuple[int, int, str]] = []
    for index, wanted in edits.items():
        start, _ = cells[index]
        members = _members(text, start)
        if wanted.source is not None:
            span = members["source"]
            changes.append((span.start, span.end, _source(text, span, wanted.source, style)))
        if wanted.tags is not None:
            changes.extend(_tags(text, start, members, wanted.tags, style))
    for start, end, replacement in sorted(changes, reverse=True):
        text = text[:start] + replacement + text[end:]
    return text


@dataclass(frozen=True, slots=True)
class _Style:
    """Layout of the file.

    Attributes:
        member: what stands between ``{`` and the first key of a cell.
        unit: one level of indentation, "" in a compact file.
        gap: what stands after a comma in a compact file.
        colon: what stands between a key and its value.
        ascii: whether other characters are written as escapes.
    """

    member: str
    unit: str
    gap: str
    colon: str
    ascii: bool

    @staticmethod
    def of(text: str, cells: Member, items: Sequence[tuple[int, int]]) -> _Style:
        start = items[0][0]
        first = min(_members(text, start).values(), key=lambda member: member.key_start)
        item, member = text[cells.start + 1 : start], text[start + 1 : first.key_start]
        _, key_end = _DECODER.raw_decode(text, first.key_start)
        comma = re.match(r"\s*,(\s*)", text[first.end :])
        return _Style(
            member=member,
            unit=(member[len(item) :] if member.startswith(item) else " ") if "\n" in member else "",
            gap=comma[1] if comma and "\n" not in member else "",
            colon=text[key_end : first.start],
            ascii=text.isascii() and re.search(r"\\u(?!00[01])[0-9a-fA-F]{4}", text) is not None,
        )

    def dump(self, value: str) -> str:
        return json.dumps(value, ensure_ascii=self.ascii)

    def array(self, items: Sequence[str], outer: str) -> str:
        """A list of JSON texts; ``outer`` is the layout of the line it closes on."""
        if not items:
            return "[]"
        inner = outer + self.unit if self.unit else ""
        return "[" + inner + ("," + (inner or self.gap)).join(items) + (outer if self.unit else "") + "]"


def _skip(text: str, position: int) -> int:
    found = _BLANK.match(text, position)
    return found.end() if found else position


def _members(text: str, start: int) -> dict[str, Member]:
    """Members of the object that begins at ``start``."""
    result: dict[str, Member] = {}
    position = _skip(text, start + 1)
    while text[position] != "}":
        key, after = _DECODER.raw_decode(text, position)
        value = _skip(text, _skip(text, after) + 1)
        _, end = _DECODER.raw_decode(text, value)
        result[key] = Member(position, value, end)
        position = _skip(text, end)
        if text[position] == ",":
            position = _skip(text, position + 1)
    return result


def _items(text: str, start: int) -> list[tuple[int, int]]:
    """Spans of the items of the list that begins at ``start``."""
    result = []
    position = _skip(text, start + 1)
    while text[position] != "]":
        _, end = _DECODER.raw_decode(text, position)
        result.append((position, end))
        position = _skip(text, end)
        if text[position] == ",":
            position = _skip(text, position + 1)
    return result


def _source(text: str, span: Member, source: str, style: _Style) -> str:
    if text[span.start] == '"':
        return style.dump(source)
    items = _items(text, span.start)
    # Lines that stay keep their spelling, escapes included.
    spelt = {json.loads(text[start:end]): text[start:end] for start, end in items}
    lines = re.findall(r"[^\n]*\n|[^\n]+", source)
    texts = [spelt.get(line) or style.dump(line) for line in lines]
    if not items:
        return style.array(texts, style.member)
    before, after = text[span.start + 1 : items[0][0]], text[items[-1][1] : span.end - 1]
    between = text[items[0][1] : items[1][0]] if len(items) > 1 else "," + (before or style.gap)
    return "[" + before + between.join(texts) + after + "]" if texts else "[]"


def _tags(
    text: str, cell: int, members: Mapping[str, Member], tags: Sequence[str], style: _Style
) -> list[tuple[int, int, str]]:
    texts = [style.dump(tag) for tag in tags]
    inner = style.member + style.unit if style.unit else ""
    member = style.dump("tags") + style.colon + style.array(texts, inner)
    metadata = members.get("metadata")
    if metadata is None:
        whole = '"metadata"' + style.colon + "{" + inner + member + (style.member if style.unit else "") + "}"
        first = _skip(text, cell + 1)
        return [(first, first, whole + "," + (style.member if style.unit else style.gap))]
    known = _members(text, metadata.start)
    if "tags" in known:
        span = known["tags"]
        return [(span.start, span.end, style.array(texts, inner))]
    if not tags:
        return []
    if not known:
        return [(metadata.start, metadata.end, "{" + inner + member + (style.member if style.unit else "") + "}")]
    keys = list(known)
    between = inner or style.gap
    following = next((key for key in keys if key > "tags"), None) if keys == sorted(keys) else None
    if following:
        position = known[following].key_start
        return [(position, position, member + "," + between)]
    position = max(span.end for span in known.values())
    return [(position, position, "," + between + member)]
