"""Python scripts in the percent format: ``# %%`` between cells, as jupytext, Spyder and VS Code write it.

Format: https://jupytext.readthedocs.io/en/latest/formats-scripts.html. jupytext itself is the oracle of the tests. What
it comments out in a script (magics, shell lines) is uncommented the same way, so that a paired notebook and its script
give the same pipeline. A script without any marker is one cell, taken as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cellway.errors import UnreadableNotebook
from cellway.notebook.quotes import Quotes
from cellway.notebook.raw import RawCell, RawNotebook

_MARKER = re.compile(r"\s*#\s*(?:%%(?P<depth>%*)(?:\s(?P<options>.*))?|(?:<codecell>|In\[[0-9 ]*\]:?)\s*)$")
_ENCODING = re.compile(r"[ \t\f]*#.*?coding[:=][ \t]*[-\w.]+")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)$")
_KEY = re.compile(r"(?:^|(?<=\s))([A-Za-z0-9_.@/-]+)\s*=\s*")
_KIND = re.compile(r"\[(markdown|md|raw)\]")

# Lines that a notebook runs and Python does not; jupytext writes them as comments. Any number of "# " in front means
# that the author's line was a comment already, and one "# " more was put before it.
_HASHES = r"(?:# |#)*"
_MAGIC = re.compile(rf"\s*{_HASHES}%{{1,3}}[A-Za-z]")
_SHELL = re.compile(r"\s*(?:(?:# |#)+\s*)?[?!]\s*[A-Za-z.~$\\/{}]")
_ASSIGNED = re.compile(rf"{_HASHES}\s*[A-Za-z_][A-Za-z_$0-9]*\s*=\s*(?:%{{1,3}}|!)[A-Za-z]")
_HELP = re.compile(r"\s*(?:# )*\S*\?\s*$")
_COMMANDS = ("cat", "cd", "cp", "mv", "rm", "rmdir", "mkdir", "copy", "ddir", "echo", "ls", "ldir", "ren")
_COMMAND = re.compile(rf"{_HASHES}(?:{'|'.join(_COMMANDS)})(?:$|\s$|\s[^=,])")
_ESCAPE = re.compile(rf"\s*{_HASHES}%{{1,3}}[A-Za-z].*#\s*(no)?escape")
_PLUS = re.compile(rf"{_HASHES}(?:#|# )\+")


@dataclass(frozen=True, slots=True)
class PercentCell:
    """A cell of a script with the place it has there.

    Attributes:
        marker: line of its ``# %%``, from 0; ``None`` for a first cell without one.
        first: line where its text begins.
        metadata: of the marker line.
        options: text of the marker line after ``%%``.
        depth: further percent signs after ``%%`` (Spyder's cells within cells).
    """

    cell: RawCell
    marker: int | None
    first: int
    metadata: dict[str, Any] = field(default_factory=dict)
    options: str = ""
    depth: str = ""


@dataclass(frozen=True, slots=True)
class Script:
    """A script taken apart.

    Attributes:
        body: first line below the header.
        marked: whether it has cells at all, or is a plain script.
        comment_magics: whether magics stand as comments in it.
    """

    cells: tuple[PercentCell, ...]
    header: dict[str, Any]
    body: int
    marked: bool
    comment_magics: bool
    warnings: tuple[str, ...] = ()

    def notebook(self) -> RawNotebook:
        """The script as a notebook."""
        kernel = self.header.get("kernelspec")
        kernel = kernel if isinstance(kernel, dict) else {}
        name, language = kernel.get("name"), kernel.get("language")
        return RawNotebook(
            tuple(part.cell for part in self.cells),
            str(name) if name else None,
            str(language or "python"),
            self.warnings,
        )


def parse(text: str) -> Script:
    """Take a script apart.

    Args:
        text: with newlines line ends.

    Raises:
        UnreadableNotebook: it is in another of the script formats, or a marker's tags cannot be read.
    """
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    header, frontmatter, body = _header(lines)
    marked = any(_is_marker(line) for line in _unquoted(lines[body:]))
    style = _style(header, marked, text)
    if not marked and style != "percent":
        source = "\n".join(lines[body:]).strip("\n")
        cells = (PercentCell(RawCell("code", source), None, body),) if source else ()
        return Script(cells, header, body, marked=False, comment_magics=False)
    comment_magics = _comment_magics(header, style, lines)
    found: list[PercentCell] = []
    warnings: list[str] = []
    if frontmatter:
        found.append(PercentCell(RawCell("raw", "\n".join(["---", *frontmatter, "---"])), None, 0))
    position = body
    while position < len(lines):
        part, position = _cell(lines, position, comment_magics, warnings)
        found.append(part)
    return Script(tuple(found), header, body, marked=True, comment_magics=comment_magics, warnings=tuple(warnings))


def _is_marker(line: str) -> bool:
    return bool(_MARKER.match(line))


def _unquoted(lines: Sequence[str]) -> list[str]:
    quotes, result = Quotes(), []
    for line in lines:
        if not quotes.inside:
            result.append(line)
        quotes.feed(line)
    return result


def _style(header: dict[str, Any], marked: bool, text: str) -> str:
    """``percent``, ``hydrogen`` (magics not commented), or "" where the file does not say."""
    jupytext = header.get("jupytext")
    representation = jupytext.get("text_representation") if isinstance(jupytext, dict) else None
    name = representation.get("format_name", "") if isinstance(representation, dict) else ""
    if not name and not marked and re.search(r"^app = marimo\.App\(", text, re.MULTILINE):
        name = "marimo"
    if name not in {"", "percent", "hydrogen"}:
        raise UnreadableNotebook(
            f"the script is in the format `{name}`, and cellway reads the percent format",
            name=name,
            fix="jupytext --update-metadata '{\"jupytext\": null}' --to py:percent FILE, or use the .ipynb"
            if name != "marimo"
            else "marimo export ipynb FILE -o NOTEBOOK.ipynb",
        )
    return name


def _comment_magics(header: dict[str, Any], style: str, lines: Sequence[str]) -> bool:
    jupytext = header.get("jupytext")
    said = str(jupytext.get("comment_magics", "")).lower() if isinstance(jupytext, dict) else ""
    if said in {"true", "false"}:
        return said == "true"
    if style:
        return style == "percent"
    # Nobody says: a script in which a magic stands bare is one in which comments are comments.
    return not any(not line.startswith("#") and is_magic(line, help_too=False) for line in _unquoted(lines))


# --- header ----------------------------------------------------------------------------------------------------------


def _uncomment(line: str) -> str:
    return line[2:] if line.startswith("# ") else line.removeprefix("#")


def _header(lines: Sequence[str]) -> tuple[dict[str, Any], list[str], int]:
    """The ``jupyter`` part of the YAML header, the lines of its other parts, and the line below it."""
    start = 1 if lines and lines[0].startswith("#!") else 0
    if start < len(lines) and _ENCODING.match(lines[start]):
        start += 1
    if start >= len(lines) or not re.fullmatch(r"---\s*", _uncomment(lines[start])) or lines[start][0] != "#":
        return {}, [], start
    jupyter: list[str] = []
    other: list[str] = []
    ours = False
    for number in range(start + 1, len(lines)):
        if not lines[number].startswith("#"):
            break
        line = _uncomment(lines[number])
        if re.fullmatch(r"---\s*", line):
            blank = number + 1 < len(lines) and not lines[number + 1].strip("# \t")
            return _yaml(jupyter), other, number + (2 if blank else 1)
        if re.fullmatch(r"jupyter\s*:\s*", line):
            ours = True
        elif line and not line[0].isspace():
            ours = False
        (jupyter if ours else other).append(line)
    return {}, [], start


def _yaml(lines: Sequence[str]) -> dict[str, Any]:
    """Maps of maps of plain values: all that jupytext writes below ``jupyter``. Lists are left out."""
    root: dict[str, Any] = {}
    stack: list[tuple[int, dict[str, Any]]] = [(-1, root)]
    for line in lines:
        found = re.fullmatch(r"(\s*)([^\s:#-][^:]*?)\s*:(?:\s+(.*))?\s*", line)
        if not found:
            continue
        indent, key, value = len(found[1]), found[2].strip("'\""), (found[3] or "").strip()
        while stack[-1][0] >= indent:
            stack.pop()
        if value:
            stack[-1][1][key] = value[1:-1] if value[0] in "'\"" and value[-1:] == value[0] else value
        else:
            child: dict[str, Any] = {}
            stack[-1][1][key] = child
            stack.append((indent, child))
    result = root.get("jupyter")
    return result if isinstance(result, dict) else {}


# --- cells -----------------------------------------------------------------------------------------------------------


def _cell(lines: Sequence[str], start: int, comment_magics: bool, warnings: list[str]) -> tuple[PercentCell, int]:
    found = _MARKER.match(lines[start])
    options = (found["options"] or "").strip() if found else ""
    title, metadata = read_options(options, start + 1, warnings)
    kind_given = _KIND.search(title)
    kind = "code"
    if kind_given:
        kind = "raw" if kind_given[1] == "raw" else "markdown"
    elif not _active("ipynb", metadata):
        kind = "raw"
    switched_off = not kind_given and kind == "raw" and _active("py", metadata)
    end = _end(lines, start, "code" if switched_off else kind, foreign=metadata.get("language", "python") != "python")
    first = start + 1 if found else start
    content = list(lines[first : _trimmed(lines, start, end)])
    source = "\n".join(_content(content, kind, metadata, comment_magics, switched_off))
    tags = metadata.get("tags")
    tags = tuple(str(tag) for tag in tags) if isinstance(tags, list) else (str(tags),) if isinstance(tags, str) else ()
    name = metadata.get("id")
    cell = RawCell(kind, source, name if isinstance(name, str) else None, tags)
    return PercentCell(
        cell, start if found else None, first, metadata, options, (found["depth"] or "") if found else ""
    ), end


def _end(lines: Sequence[str], start: int, kind: str, foreign: bool) -> int:
    """Line of the next marker that is not inside a string, or inside a fence of a text cell."""
    quotes, fence = Quotes(), ""
    for number in range(start, len(lines)):
        line = lines[number]
        if quotes.inside:
            quotes.feed(line)
            continue
        if not foreign:  # quotes of another language are another thing
            quotes.feed(line)
        if kind != "code":
            text = _uncomment(line)
            if fence:
                fence = "" if _closes(text, fence) else fence
                continue
            opening = _opening(text)
            if opening and any(_closes(_uncomment(later), opening) for later in lines[number + 1 :]):
                fence = opening
                continue
        if number > start and _is_marker(line):
            return number
    return len(lines)


def _opening(text: str) -> str:
    found = _FENCE.match(text)
    return "" if not found or (found[1][0] == "`" and "`" in found[2]) else found[1]


def _closes(text: str, fence: str) -> bool:
    found = _FENCE.match(text)
    return bool(found and found[1][0] == fence[0] and len(found[1]) >= len(fence) and not found[2].strip())


def _trimmed(lines: Sequence[str], start: int, end: int) -> int:
    """End of the text: the blank line that separates cells, or the two of PEP 8, belong to the layout."""
    count = end - start
    if count >= 3 and lines[end - 3].strip() and not lines[end - 2].strip() and not lines[end - 1].strip():
        return end - 2
    return end - 1 if count and lines[end - 1] == "" else end


def _active(extension: str, metadata: dict[str, Any], default: bool = True) -> bool:
    """Whether a cell is code in a file of this kind (jupytext's ``active`` and the ``active-…`` tags)."""
    control = metadata.get("run_control")
    if isinstance(control, dict) and control.get("frozen") is True:
        return extension == "ipynb"
    tags = metadata.get("tags")
    for tag in tags if isinstance(tags, list) else ():
        if isinstance(tag, str) and tag.startswith("active-"):
            return extension in tag.split("-")
    active = metadata.get("active")
    return default if not isinstance(active, str) else extension in re.split(r"[.,]", active)


def _content(
    lines: list[str], kind: str, metadata: dict[str, Any], comment_magics: bool, switched_off: bool
) -> list[str]:
    if not _active("py", metadata, default=kind == "code"):
        text = "\n".join(lines).strip()
        quoted = re.fullmatch(r"""[rR]?(\"{3}|'{3})\n?(.*?)\n?\1""", text, re.DOTALL)
        if quoted:
            return quoted[2].split("\n")
    language = metadata.get("language")
    if not _active("py", metadata) or ("active" not in metadata and isinstance(language, str) and language != "python"):
        lines = [_uncomment(line) for line in lines]
    else:
        if comment_magics:
            lines = _bare_magics(lines)
        if kind == "code":
            lines = _bare_plus(lines)
        elif not switched_off:  # code that is switched off in the notebook stands in the script uncommented
            lines = [_uncomment(line) for line in lines]
    if isinstance(language, str) and language != "python":
        arguments = str(metadata.get("magic_args", ""))
        lines = [f"%%{language} {arguments}".rstrip(), *(lines or [""])]
    return lines


def is_magic(line: str, help_too: bool = True) -> bool:
    """Whether jupytext takes a line, commented or not, for one that only a notebook understands."""
    escape = _ESCAPE.match(line)
    if escape:
        return not escape[1]
    patterns = (_MAGIC, _SHELL, _ASSIGNED, _COMMAND, *((_HELP,) if help_too else ()))
    return any(pattern.match(line) for pattern in patterns)


def _bare_magics(lines: Sequence[str]) -> list[str]:
    quotes, result, continued = Quotes(), [], False
    for line in lines:
        if not quotes.inside and (continued or is_magic(line)):
            result.append(_once(line))
            continued = line.rstrip().endswith("\\")
        else:
            result.append(line)
        quotes.feed(line)
    return result


def _bare_plus(lines: Sequence[str]) -> list[str]:
    """In jupytext, one more ``# `` protects ``# +``, the marker of its light format."""
    quotes, result = Quotes(), []
    for line in lines:
        plain = _once(line)
        result.append(plain if not quotes.inside and _PLUS.match(line) and _PLUS.match(plain) else line)
        quotes.feed(line)
    return result


def _once(line: str) -> str:
    text = line.lstrip()
    return line[: len(line) - len(text)] + _uncomment(text)


# --- marker line -----------------------------------------------------------------------------------------------------


def read_options(text: str, line: int, warnings: list[str]) -> tuple[str, dict[str, Any]]:
    """Title and metadata of a marker line: ``title [markdown] key="value" tags=["a"]``, or a JSON object at its end."""
    brace = _json_start(text)
    if brace is not None:
        return text[:brace].strip(), json.loads(text[brace:])
    metadata: dict[str, Any] = {}
    first = found = _KEY.search(text)
    while found:
        end = value_end(text, found.end())
        try:
            metadata[found[1]] = _literal(text[found.end() : end])
        except (ValueError, SyntaxError):
            if "tags" in text:
                raise UnreadableNotebook(
                    f"line {line}: the tags of this cell marker cannot be read: {text[found.start() :].strip()}",
                    fix='for example `# %% title tags=["step:train"]`',
                ) from None
            warnings.append(f"line {line}: `{text[found.start() :].strip()}` is not understood and left out")
            break
        found = _KEY.search(text, end)
    return (text[: first.start()] if first else text).strip(), metadata


def _json_start(text: str) -> int | None:
    """Where the JSON object begins, if that is how the metadata is written."""
    brace, equals = text.find("{"), text.find("=")
    if brace < 0 or 0 <= equals < brace:
        return None
    try:
        return brace if isinstance(json.loads(text[brace:]), dict) else None
    except ValueError:
        return None


def tags_span(text: str) -> tuple[int, int, bool] | None:
    """Where the tags stand in the options of a marker line.

    Returns:
        Start and end of ``tags=[...]``, or of the whole JSON object (the flag says which); ``None`` if the options have
        neither.
    """
    brace = _json_start(text)
    if brace is not None:
        return brace, len(text), True
    found = _KEY.search(text)
    while found:
        end = value_end(text, found.end())
        if found[1] == "tags":
            return found.start(), end, False
        found = _KEY.search(text, end)
    return None


def value_end(text: str, start: int) -> int:
    """End of the value that begins at ``start``: the first blank outside quotes and brackets."""
    depth, quote, position = 0, "", start
    while position < len(text):
        char = text[position]
        if quote:
            if char == "\\":
                position += 1
            elif char == quote:
                quote = ""
        elif char in "\"'":
            quote = char
        elif char in "[{(":
            depth += 1
        elif char in "]})":
            depth -= 1
        elif char.isspace() and depth <= 0:
            break
        position += 1
    return min(position, len(text))


def _literal(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        import ast

        return ast.literal_eval(text)
