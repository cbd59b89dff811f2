"""The magic line: found in a cell, and understood.

It is split like a shell line, with quotes and without escapes. The reader and the kernel's magics share this module;
importing it costs a few milliseconds at most.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from cellway.errors import Place, TagError
from cellway.notebook.options import OPTIONS, read_step_name, read_value, write_value
from cellway.notebook.quotes import Quotes

ROLES = ("parameters", "setup", "step", "test", "skip")
"""Names of the magics and of the tags: the values of :class:`cellway.records.Role` that an author can give a cell."""

NAMED = ("step", "test")
"""Those of them that need the name of a step."""

_OURS = re.compile(rf"[ \t]*%%(?:{'|'.join(ROLES)})(?![\w?])")
# What a forgotten percent sign looks like; the other names are left to line magics and aliases of others.
_HALF = re.compile(r"%(?:step|parameters)(?![\w?])")


# --- what a magic or the tags of one cell say ------------------------------------------------------------------------


class Setting(NamedTuple):
    """A given option, and where it was given."""

    value: Any
    place: Place


class Marking(NamedTuple):
    """What one magic line, or the tags of one cell, say.

    Attributes:
        role: of the cell.
        step: name of the step, or of the tested step.
        given: field of ``StepOptions`` to setting, only for options that were given.
        words: how it is written, for messages.
        place: where.
    """

    role: str
    step: str | None
    given: Mapping[str, Setting]
    words: str
    place: Place


def similar(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known word that was probably meant."""
    import difflib

    found = difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return found[0] if found else None


def merge(first: Mapping[str, Setting], second: Mapping[str, Setting]) -> dict[str, Setting]:
    """Both together: lists add up, anything else must agree.

    Raises:
        TagError: an option has two values; both places are named.
    """
    result = dict(first)
    for name, setting in second.items():
        known = result.get(name)
        if known is None:
            result[name] = setting
        elif isinstance(setting.value, tuple):
            result[name] = Setting(tuple(dict.fromkeys((*known.value, *setting.value))), known.place)
        elif known.value != setting.value:
            option = next(option for option in OPTIONS.values() if option.field == name)
            raise TagError(
                f"`--{option.name}` is {write_value(option, setting.value)} here, and "
                f"{write_value(option, known.value)} in {known.place}",
                place=setting.place,
                name=option.name,
                fix=f"give `--{option.name}` of a step once, or with the same value",
            )
    return result


def split(line: str, place: Place) -> list[str]:
    """Words of a magic line, quotes resolved. A backslash is an ordinary character."""
    import shlex

    if line.endswith("\\"):
        raise TagError(
            "the line of a magic cannot be continued with `\\`", place=place, fix="put all options on one line"
        )
    lexer = shlex.shlex(line, posix=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    lexer.escape = ""
    try:
        return list(lexer)
    except ValueError:
        raise TagError("a quote is opened and not closed", place=place, fix="close it on the same line") from None


def parse_magic(name: str, line: str, place: Place) -> Marking:
    """What a magic line says.

    Args:
        name: of the magic, one of :data:`ROLES`.
        line: the rest of the line.
        place: of the line.

    Raises:
        TagError: no step is named, or an option is unknown or has a wrong value.
    """
    words = f"%%{name} {line}".strip()
    names, given = _arguments(name, split(line.strip(), place), place)
    if name in NAMED:
        what = "a name" if name == "step" else "the step that it tests"
        if not names:
            raise TagError(f"`%%{name}` needs {what}", place=place, fix=f"for example `%%{name} train`")
        if len(names) > 1:
            raise TagError(
                f"`%%{name}` takes one name, here are {len(names)}: {', '.join(names)}",
                place=place,
                name=names[1],
                fix="join the words with `_`; values of an option are separated by commas, without blanks",
            )
        check_step_name(names[0], place)
    elif names:
        raise TagError(
            f"`%%{name}` stands alone on its line, without `{names[0]}`",
            place=place,
            name=names[0],
            fix=f"`%%{name}`, and the code or a comment on the next line",
        )
    step = names[0] if names else None
    place = Place(place.cell, place.line, place.excerpt, step)
    return Marking(name, step, {field: Setting(s.value, place) for field, s in given.items()}, words, place)


def check_step_name(name: str, place: Place) -> str:
    """The name itself.

    Raises:
        TagError: it cannot be the name of a step.
    """
    try:
        return read_step_name(name)
    except ValueError as expected:
        proposal = re.sub(r"^[^A-Za-z]+", "", re.sub(r"[^A-Za-z0-9_.-]+", "_", name)).strip("_")
        raise TagError(
            f"`{name}` is not {expected}",
            place=place,
            name=name,
            fix=f"for example `{proposal}`" if proposal else "for example `train`",
        ) from None


def _arguments(magic: str, words: list[str], place: Place) -> tuple[list[str], dict[str, Setting]]:
    names: list[str] = []
    given: dict[str, Setting] = {}
    queue = iter(words)
    for word in queue:
        if not word.startswith("-"):
            names.append(word)
            continue
        written, equals, value = word.partition("=")
        option = OPTIONS.get(written[2:]) if written.startswith("--") else None
        if magic != "step" or option is None:
            raise _unknown_option(magic, written, place)
        if option.value and not equals:
            following = next(queue, None)
            if following is None or following.startswith("--"):
                raise TagError(
                    f"`{written}` needs a value",
                    place=place,
                    name=option.name,
                    fix=f"`{written} {option.value}`: {option.help}",
                )
            value = following
        elif equals and not option.value:
            raise TagError(f"`{written}` takes no value", place=place, name=option.name, fix=f"`{written}` alone")
        text = read_value(option, value, f"{written} {value}".strip(), place)
        given = merge(given, {option.field: Setting(text, place)})
    return names, given


def _unknown_option(magic: str, written: str, place: Place) -> TagError:
    if magic != "step":
        return TagError(
            f"`%%{magic}` has no options, and here is `{written}`",
            place=place,
            name=written,
            fix="options belong to `%%step`",
        )
    meant = similar(written.lstrip("-").lower().replace("_", "-"), OPTIONS)
    known = ", ".join(f"--{name}" for name in OPTIONS)
    return TagError(
        f"`%%step` has no option `{written}`",
        place=place,
        name=written,
        fix=f"did you mean `--{meant}`?" if meant else f"the options are {known}",
    )


# --- the magic line in a cell ----------------------------------------------------------------------------------------


class MagicLine(NamedTuple):
    """cellway's magic in a cell.

    Attributes:
        marking: what it says.
        line: its line, from 0; the body begins at the next one.
    """

    marking: Marking
    line: int


def find_magic(source: str, cell: int | None = None) -> MagicLine | None:
    """The magic of cellway at the head of a code cell; blank lines and comments may stand above it.

    Args:
        source: of the cell.
        cell: index of the cell, for messages.

    Returns:
        ``None`` if the cell has none (``%%step?`` asks for help and is none).

    Raises:
        TagError: the line is wrong, or stands where it has no effect.
    """
    if "%" not in source:
        return None
    lines = source.split("\n")
    first = next((i for i, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")), None)
    if first is None:
        return None
    line = lines[first]
    place = Place(cell, first + 1, line)
    if _HALF.match(line):
        raise TagError(
            f"`{line.split()[0]}` needs two percent signs", place=place, fix=f"`%{line.strip()}`, on top of the cell"
        )
    found = None
    if line.startswith("%%"):
        word, rest = _word_and_rest(line)
        if word in ROLES:
            found = MagicLine(parse_magic(word, rest, place), first)
        else:
            _check_spelling(word, rest, place)
    _check_strays(lines, first, found is None and line.startswith("%%"), cell)
    return found


def _word_and_rest(line: str) -> tuple[str, str]:
    pieces = line[2:].split(maxsplit=1)
    return (pieces[0] if pieces else ""), (pieces[1].rstrip() if len(pieces) > 1 else "")


def _check_spelling(word: str, rest: str, place: Place) -> None:
    name, _, step = word.partition(":")
    if name.lower() in ROLES and word.rstrip("?") not in ROLES:
        right = " ".join(piece for piece in (f"%%{name.lower()}", step, rest) if piece)
        raise TagError(f"`%%{word}` is no magic", place=place, name=word, fix=f"`{right}`")


def _check_strays(lines: list[str], first: int, foreign: bool, cell: int | None) -> None:
    """A magic that is not the first thing in the cell would be left out without a word: refuse it."""
    indented = bool(_OURS.match(lines[first])) and not lines[first].startswith("%%")
    if not indented and not any(_OURS.match(line) for line in lines[first + 1 :]):
        return
    quotes = Quotes()
    for number, line in enumerate(lines[first:], first):
        stray = _OURS.match(line) and not quotes.inside and (number > first or not line.startswith("%%"))
        if stray:
            word = line.split()[0]
            if number == first:
                message, fix = f"`{word}` is indented", "remove the blanks in front of it"
            elif _OURS.match(lines[first]):
                message, fix = (
                    f"a second magic of cellway, `{word}`, in one cell",
                    "keep one of them, or split the cell",
                )
            else:
                message, fix = f"`{word}` is not the first line of its cell", f"move `{word}` to the top of the cell"
            raise TagError(message, place=Place(cell, number + 1, line), name=word, fix=fix)
        if foreign and not line.startswith("%%"):
            return  # the text under a foreign cell magic is not Python, and its business
        quotes.feed(line)
