"""IPython syntax → Python with the same number of lines.

Every piece of IPython syntax becomes a call ``__magic__(i)``, ``i`` counting the :class:`Magic` s found. Which lines
are IPython's is decided as IPython decides it (its ``inputtransformer2`` is the oracle of the tests): by a scan that
knows strings, brackets and comments, so that ``%`` at the start of a continued expression stays an operator. Python
inside a magic (``%time x = f(y)``, the body under ``%%capture``) stays Python, so that its names are seen.
"""

from __future__ import annotations

import ast
import re
import textwrap
from dataclasses import dataclass

from cellway.analysis import magics
from cellway.analysis.magics import Magic

__all__ = ["Magic", "needs", "transform"]

_SIGNS = re.compile(
    r"""^[ \t\f]*(?:[%!?,;/]|>>>|In[ ]\[)      # an escape, or a prompt, at the start of a line
    |=[ \t]*(?:\\\n[ \t]*)?[%!](?!=)           # x = %magic, x = !command
    |\?[ \t]*$                                 # thing?
    |\A\s*^[ \t]+\S                            # the whole cell is indented""",
    re.VERBOSE | re.MULTILINE,
)
_WORD = re.compile(r"\s*([a-z_]+)\b(?![ \t]*(?:=(?!=)|[.(\[,:]))")
_ESCAPE = re.compile(r"[ \t\f]*(?P<sign>%|!!|!(?!=)|\?\??|[,;]|/(?!/))(?!(?<=[%/])=)")
_HELP = re.compile(r"(?P<target>%{0,2}(?!\d)[\w*]+(?:\.(?!\d)[\w*]+|\[-?[0-9]+\])*)\?\??$")
_ASSIGNED = re.compile(r"(?:[ \t\f]|\\\n)*(?P<sign>%(?=[ \t]*[^\W\d])|!(?!=))")
_CELL = re.compile(r"%%(?P<name>\S*) ?(?P<rest>.*)")
_PASTED = re.compile(r"^[ \t]*(?:>>>|\.\.\.)(?:[ \t]|$)", re.MULTILINE)
_NUMBERED = re.compile(r"^(?:In \[\d+\]: |[ \t]*\.{3,}: ?)", re.MULTILINE)
_LEAF = re.compile(r"^[ \t]*(?:cd|ls|ll|pushd|mkdir|rm|cat|reset|store|run|who)[ \t]+[-/~][^\s]")
"""``cd /tmp`` and ``ls -l`` would be Python (a division, a difference), which nobody means."""

_PIECE = re.compile(
    r"""(?P<quote>\"{3}|'{3}|"|')
    |(?P<comment>\#[^\n]*)
    |(?P<open>[(\[{])
    |(?P<close>[)\]}])
    |(?P<joined>\\\n)
    |(?P<end>\n)
    |(?P<assign>(?<![=!<>:+\-*/%&|^@~])=(?!=))""",
    re.VERBOSE,
)
_STRING_ENDS = {
    '"': re.compile(r'(?:\\[\s\S]|[^"\\\n])*"'),
    "'": re.compile(r"(?:\\[\s\S]|[^'\\\n])*'"),
    '"""': re.compile(r'(?:\\[\s\S]|(?!""")[^\\])*"""'),
    "'''": re.compile(r"(?:\\[\s\S]|(?!''')[^\\])*'''"),
}


def needs(body: str) -> bool:
    """Whether a body may hold IPython syntax: a quick look that errs on the side of yes."""
    if _SIGNS.search(body) is not None:
        return True
    word = _WORD.match(body) if "\n" not in body.lstrip() else None
    return word is not None and word[1] in magics.AUTOMAGIC


def transform(body: str) -> tuple[str, tuple[Magic, ...]]:
    """Python source with a call ``__magic__(i)`` in place of each piece of IPython syntax.

    Args:
        body: a cell as its author wrote it.

    Returns:
        Source with as many lines as ``body``, each statement on the line where the author sees it; and the pieces
        found. What is neither Python nor IPython syntax stays, for the parser to complain about.
    """
    translation = _Translation()
    return translation.cell(body, 1), tuple(translation.magics)


@dataclass(frozen=True, slots=True)
class _Line:
    """A logical line, by positions.

    Attributes:
        end: behind its newline.
        assign: its first plain ``=`` outside brackets, or -1.
        code_end: behind its last string or comment.
    """

    end: int
    assign: int
    code_end: int


class _Translation:
    """Gathers the magics of one cell while its text is rewritten."""

    def __init__(self) -> None:
        self.magics: list[Magic] = []

    def cell(self, text: str, line: int) -> str:
        """A whole cell, or the body under a cell magic that runs it as one; ``line`` is that of its first line."""
        text = _without_prompts(textwrap.dedent(text))
        blank = len(text) - len(text.lstrip())
        blank = text.rfind("\n", 0, blank) + 1
        head, text = text[:blank], text[blank:]
        line += head.count("\n")
        if text.startswith("%%") and not re.match(r"%%\w+\?", text):
            return head + self._cell_magic(text, line)
        if _is_automagic(text):
            text = f"%{text}"
        return head + self._lines(text, line)

    def _cell_magic(self, text: str, line: int) -> str:
        first, newline, body = text.partition("\n")
        found = _CELL.match(first.rstrip())
        assert found is not None
        name, rest = found["name"], found["rest"]
        if name == magics.TIMEIT:
            return self._timeit_cell(first, rest, newline, body, line)
        if name in magics.CODE or name == magics.CAPTURE:
            call = self._capture(first, rest, body, line) if name == magics.CAPTURE else self._running(name, rest, line)
            return call + newline + self.cell(body, line + 1)
        magic = magics.cell_magic(name, rest, body, text, line)
        targets = "".join(f"{target} = " for target in magic.binds)
        return targets + self._call(magic) + "\n" * text.count("\n")

    def _capture(self, first: str, rest: str, body: str, line: int) -> str:
        targets = tuple(word for word in rest.split() if word.isidentifier())[:1]
        # Bound after the body has run: a body that looks at the name sees the value from before.
        reads = tuple(name for name in targets if re.search(rf"\b{name}\b", body))
        call = self._call(Magic(first, line, reads, targets))
        return "".join(f"{target} = " for target in targets) + call

    def _running(self, name: str, rest: str, line: int) -> str:
        """The first line of a cell magic under which Python runs: options and, for some, code to run first."""
        options, code = magics.split_options(name, rest)
        call = self._call(Magic(f"%%{name} {options}".rstrip(), line, _mentioned(name, options)))
        return f"{call}; {code}" if code else call

    def _timeit_cell(self, first: str, rest: str, newline: str, body: str, line: int) -> str:
        call = self._call(Magic(first, line))
        _, setup = magics.split_options(magics.TIMEIT, rest)
        inner = self.cell(body, line + 1)
        if not any(part.strip() and not part.lstrip().startswith("#") for part in inner.split("\n")):
            return call + newline + inner
        # What the body binds stays inside, so none of it is bound on every path.
        test = f"{call} and [{_as_expressions(setup)}]" if setup else call
        return f"if {test}:{newline}" + "\n".join(f" {part}" if part else part for part in inner.split("\n"))

    def _lines(self, text: str, line: int) -> str:
        """Text without cell magic: logical line by logical line."""
        parts: list[str] = []
        position = 0
        while position < len(text):
            replacement, end = self._logical_line(text, position, line)
            old = text[position:end]
            if replacement is None:
                parts.append(old)
            else:
                parts += [replacement, "\n" * (old.count("\n") - replacement.count("\n"))]
            line += old.count("\n")
            position = end
        return "".join(parts)

    def _logical_line(self, text: str, start: int, line: int) -> tuple[str | None, int]:
        """Replacement of the logical line at ``start`` (``None`` if it is Python), and where the next one begins."""
        escape = _ESCAPE.match(text, start)
        end = _continued(text, start) if escape else 0
        logical = _scan(text, start)
        code = text[start : logical.end].rstrip()
        if code.endswith("?") and start + len(code) > logical.code_end and not (escape and logical.end > end):
            found = _HELP.search(code)
            if found is not None:
                magic = magics.help_on("" if found["target"].startswith("%") else found["target"], code.strip(), line)
                return _indent(code) + self._call(magic), logical.end
        if escape:
            content = _joined(text[escape.end() : end])
            return _indent(text[start:end]) + self._escaped(escape["sign"], content, line), end
        if logical.assign >= 0 and (found := _ASSIGNED.match(text, logical.assign + 1)):
            end = _continued(text, found.start("sign"))
            content = _joined(text[found.end() : end])
            target = text[start : found.start("sign")]
            line += target.count("\n")
            return self._assigned(target, found["sign"], content, line), end
        return None, logical.end

    def _escaped(self, sign: str, content: str, line: int) -> str:
        """Code for a line that begins with an escape."""
        text = f"{sign}{content}"
        if sign in {"!", "!!"}:
            return self._call(magics.shell(content, text, line))
        if sign in {"?", "??"}:
            return self._call(magics.help_on(content, text, line))
        if sign != "%":
            reason = f"a line that begins with `{sign}` calls a function without parentheses"
            return self._call(Magic(text, line, magics.roots(content), opaque=reason))
        name, _, rest = content.partition(" ")
        if name.startswith("%"):
            return self._call(Magic(text, line, opaque=f"%{name} stands below the first line of its cell"))
        if name == magics.TIMEIT:
            return self._timeit_line(rest, text, line)
        if name in magics.CODE or name in {"xdel", "aimport"}:
            options, code = _python_of(name, rest)
            call = self._call(Magic(f"%{name} {options}".rstrip(), line, _mentioned(name, options)))
            return self._after(call, self._lines(code, line))
        magic = magics.line_magic(name, rest, text, line)
        targets = "".join(f"{target} = " for target in magic.binds)
        return targets + self._call(magic)

    def _after(self, call: str, code: str) -> str:
        if not code:
            return call
        # A compound statement (`%time for x in y: f(x)`) cannot follow a semicolon.
        return code if not _parses(f"{call}; {code}") and _parses(code) else f"{call}; {code}"

    def _timeit_line(self, rest: str, text: str, line: int) -> str:
        _, code = magics.split_options(magics.TIMEIT, rest)
        if not code:
            return self._call(Magic(text, line))
        inner = self._lines(code, line)
        if _parses(f"if 0: {inner}"):
            return f"if {self._call(Magic(text, line))}: {inner}"
        if _parses(inner) and inner.startswith(("for ", "while ")):
            return inner
        return self._call(Magic(text, line, tuple(magics.names_of(code)), opaque="%timeit over a compound statement"))

    def _assigned(self, target: str, sign: str, content: str, line: int) -> str:
        """Code for ``target`` (which ends in ``=``) and a magic or command."""
        if sign == "!":
            return target + self._call(magics.shell(content, f"{sign}{content}", line))
        name, _, rest = content.partition(" ")
        if name not in magics.CODE and name != magics.TIMEIT:
            magic = magics.line_magic(name, rest, f"{sign}{content}", line)
            if name == "who_ls":
                magic = Magic(magic.text, line, opaque="%who_ls lists every name")
            return target + self._call(magic)
        options, code = magics.split_options(name, rest)
        call = self._call(Magic(f"%{name} {options}".rstrip(), line, _mentioned(name, options)))
        expression = _expression(code)
        if expression is None:
            return self._after(target + call, "" if name == magics.TIMEIT else self._lines(code, line))
        return f"{target}{call} {'and' if name == magics.TIMEIT else 'or'} ({expression})"

    def _call(self, magic: Magic) -> str:
        self.magics.append(magic)
        return f"__magic__({len(self.magics) - 1})"


def _scan(text: str, start: int) -> _Line:
    """Follow one logical line through strings, brackets and joined lines."""
    position, depth, assign, code_end = start, 0, -1, start
    while found := _PIECE.search(text, position):
        kind = found.lastgroup
        position = found.end()
        if kind == "quote":
            string = _STRING_ENDS[found[0]].match(text, position)
            if string is not None:
                position = code_end = string.end()
            elif len(found[0]) == 3:
                return _Line(len(text), assign, len(text))
        elif kind == "comment":
            code_end = position
        elif kind == "open":
            depth += 1
        elif kind == "close":
            depth = max(depth - 1, 0)
        elif kind == "end" and not depth:
            return _Line(position, assign, code_end)
        elif kind == "assign" and not depth and assign < 0:
            assign = found.start()
    return _Line(len(text), assign, code_end)


def _continued(text: str, start: int) -> int:
    """Position behind a physical line and those joined to it by backslashes."""
    while True:
        end = text.find("\n", start)
        if end < 0:
            return len(text)
        if not text.endswith("\\", start, end):
            return end + 1
        start = end + 1


def _joined(text: str) -> str:
    return " ".join(part.rstrip() for part in text.rstrip().split("\\\n"))


def _indent(text: str) -> str:
    return text[: len(text) - len(text.lstrip(" \t\f"))]


def _without_prompts(text: str) -> str:
    """A session pasted from a terminal without its prompts."""
    start = text.lstrip()
    for sign, prompt in ((">>>", _PASTED), ("In [", _NUMBERED)):
        if start.startswith(sign) and prompt.match(start):
            return textwrap.dedent(prompt.sub("", text))
    return text


def _is_automagic(text: str) -> bool:
    """Whether a cell is one line such as ``pip install x`` or ``cd data``, which IPython takes for a magic."""
    code = text.rstrip()
    word = _WORD.match(code) if "\n" not in code else None
    if word is None or word[1] not in magics.AUTOMAGIC:
        return False
    return _LEAF.match(code) is not None or not _parses(code)


def _python_of(name: str, rest: str) -> tuple[str, str]:
    """Options and Python of a line magic that runs Python, or does what a statement of Python does."""
    if name == "xdel":
        target = rest.split()[-1:]
        return rest, f"del {target[0]}" if target and target[0].isidentifier() else ""
    if name == "aimport":
        modules = [part.strip() for part in rest.split(",")]
        return rest, "; ".join(f"import {module}" for module in modules if module and not module.startswith("-"))
    return magics.split_options(name, rest)


def _mentioned(name: str, options: str) -> tuple[str, ...]:
    """Functions in ``%lprun -f function``."""
    if name not in {"mprun", "lprun"}:
        return ()
    return tuple(found.split(".")[0] for found in re.findall(r"-[fm]\s*([^\W\d][\w.]*)", options))


def _parses(code: str) -> bool:
    try:
        ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _expression(code: str) -> str | None:
    """The text of the expression that ``code`` is, without a comment behind it; ``None`` if it is none."""
    try:
        tree = ast.parse(code, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return ast.get_source_segment(code, tree.body)


def _as_expressions(code: str) -> str:
    """What code reads and binds, as the items of a list display."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    bound = [node.id for node in names if not isinstance(node.ctx, ast.Load)]
    bound += [
        (alias.asname or alias.name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    ]
    reads = [node.id for node in names if isinstance(node.ctx, ast.Load)]
    return ", ".join([*dict.fromkeys(reads), *(f"({name} := 0)" for name in dict.fromkeys(bound) if name != "*")])
