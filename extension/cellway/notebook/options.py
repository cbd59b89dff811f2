"""The options of ``%%step``: one table that the reader, the kernel's magics, their help and their completion go by.

Values are read from text and written back to it. Importing this module costs a few milliseconds at most: it is loaded
in the user's kernel.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from cellway.errors import Place, TagError

if TYPE_CHECKING:
    # Not at run time: in the user's kernel this module is imported without the vocabulary, which costs 20 ms.
    from cellway.records import StepOptions

STEP_NAME = re.compile(r"[A-Za-z](?:[A-Za-z0-9_.-]*[A-Za-z0-9_-])?")
_WORD = re.compile(r"[A-Za-z0-9_.:/@+-]+")
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[smhd])+|\d+(?:\.\d+)?")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)(?:([KMGTP])(I)?)?B?", re.IGNORECASE)


def read_step_name(text: str) -> str:
    """The name itself; ``ValueError`` says what is expected."""
    if not STEP_NAME.fullmatch(text):
        raise ValueError("the name of a step: letters, digits, `_`, `-` and `.`, a letter first")
    return text


def _name(text: str) -> str:
    import keyword

    if not text.isascii():
        import unicodedata

        text = unicodedata.normalize("NFKC", text)  # as Python itself reads names
    if not text.isidentifier() or keyword.iskeyword(text):
        raise ValueError("the name of a variable")
    return text


def _word(text: str) -> str:
    if not _WORD.fullmatch(text):
        raise ValueError("one word")
    return text


def _text(text: str) -> str:
    if not text.strip():
        raise ValueError("a text that is not empty")
    return text


def _file(text: str) -> str:
    if not text.strip() or "\\" in text:
        raise ValueError("a file or pattern, with `/` between folders")
    return text


def _condition(text: str) -> str:
    """What can only compare and calculate; :mod:`cellway.execution.conditions` evaluates it."""
    import ast

    calculating = (
        ast.Expression, ast.Constant, ast.Name, ast.expr_context, ast.BoolOp, ast.boolop, ast.Compare, ast.cmpop,
        ast.UnaryOp, ast.Not, ast.USub, ast.UAdd, ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod,
        ast.Subscript, ast.Slice, ast.IfExp, ast.List, ast.Tuple, ast.Set,
    )  # fmt: skip
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError):
        raise ValueError('a Python expression in quotes, such as "n_trees > 100"') from None
    for node in ast.walk(tree):
        is_len = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "len"
        if not is_len and not isinstance(node, calculating):
            said = f"`{ast.unparse(node)}` in it" if isinstance(node, ast.expr) else "what is in it"
            raise ValueError(
                f'a comparison of parameters and plain inputs, such as "n_trees > 100"; {said} is more than that'
            )
    return text.strip()


def _whole(text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise ValueError("a whole number, 0 or more")
    return int(text)


def _amount(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise ValueError("a number above 0")
    return value


def _duration(text: str) -> float:
    value = 0.0
    if _DURATION.fullmatch(text):
        pairs = re.findall(r"([\d.]+)([smhd]?)", text)
        value = sum(float(number) * _SECONDS[unit or "s"] for number, unit in pairs)
    if not 0 < value < 1e9:
        raise ValueError("a time above 0, such as `30` or `30s`, `5m`, `2h`, `1h30m`")
    return value


def _memory(text: str) -> int:
    found = _MEMORY.fullmatch(text)
    value = 0
    if found:
        number, letter, binary = found.groups()
        value = int(float(number) * (1024 if binary else 1000) ** ("KMGTP".index(letter.upper()) + 1 if letter else 0))
    if not 0 < value < 1 << 60:
        raise ValueError(
            "an amount of memory above 0, such as `512M`, `4G` (powers of 1000) or `4GiB` (powers of 1024)"
        )
    return value


def _seed(text: str) -> int | str:
    if text == "own":
        return text
    if not re.fullmatch(r"\d{1,10}", text, re.ASCII) or int(text) >= 1 << 32:
        raise ValueError("`own`, or a whole number from 0 to 4294967295")
    return int(text)


def _flag(text: str) -> bool:
    if text:
        raise ValueError("no value")
    return True


class Option(NamedTuple):
    """One option of ``%%step``.

    Attributes:
        name: without dashes; also the tag in front of the colon.
        field: of :class:`~cellway.records.StepOptions`.
        value: what stands for the value in help texts, "" for an option without one.
        read: text to value; ``ValueError`` says what is expected.
        help: one line.
        many: whether the values add up.
    """

    name: str
    field: str
    value: str
    read: Callable[[str], Any]
    help: str
    many: bool = False


OPTIONS: Mapping[str, Option] = {
    option.name: option
    for option in (
        Option("after", "after", "STEP", read_step_name, "run after these steps, though no data flows", many=True),
        Option("in", "inputs", "NAME", _name, "variables to take from earlier steps, beyond those found", many=True),
        Option("out", "outputs", "NAME", _name, "variables to store, beyond those found", many=True),
        Option("metrics", "metrics", "NAME", _name, "numbers to store and to compare between runs", many=True),
        Option("kind", "kind", "WORD", _word, "kind of step; a profile can give each kind its backend"),
        Option("each", "each", "NAME", _name, "run once for each element of this variable"),
        Option("when", "when", "CONDITION", _condition, "run only when this expression of parameters and inputs holds"),
        Option("retries", "retries", "N", _whole, "try again this often when the step fails"),
        Option("timeout", "timeout", "TIME", _duration, "stop the step after this time"),
        Option("cpus", "cpus", "N", _amount, "processors to ask the backend for"),
        Option("memory", "memory", "SIZE", _memory, "memory to ask the backend for"),
        Option("gpus", "gpus", "N", _whole, "graphics processors to ask the backend for"),
        Option("backend", "backend", "NAME", _word, "where the step runs"),
        Option("kernel", "kernel", "NAME", _word, "kernel the step runs in"),
        Option("seed", "seed", "own|N", _seed, "start random generators from this number, or from one of its own"),
        Option("no-cache", "no_cache", "", _flag, "run every time"),
        Option("cache-version", "cache_version", "TEXT", _text, "change it to make the cache forget the step"),
        Option("reads", "reads", "FILE", _file, "files whose content decides whether the step runs again", many=True),
    )
}


def read_value(option: Option, text: str, written: str, place: Place) -> Any:
    """Value of an option; a tuple where values add up.

    Raises:
        TagError: the value is not what the option takes; ``written`` is how the author wrote it.
    """
    try:
        if option.many:
            return tuple(dict.fromkeys(option.read(piece.strip()) for piece in text.split(",")))
        return option.read(text)
    except ValueError as expected:
        raise TagError(
            f"`{written}`: `{option.name}` takes {expected}",
            place=place,
            name=option.name,
            fix=f"see `--{option.name}` in docs/reference/options.md",
        ) from None


def write_value(option: Option, value: Any) -> str:
    """A value the way an author would write it (one element of a list)."""
    if option.field == "timeout":
        for unit in "dhm":
            if value % _SECONDS[unit] == 0 and value >= _SECONDS[unit]:
                return f"{int(value // _SECONDS[unit])}{unit}"
        return f"{value:g}" if float(f"{value:g}") == value else repr(float(value))
    if option.field == "memory":
        for base, suffix in ((1024, "iB"), (1000, "")):
            for power, letter in ((4, "T"), (3, "G"), (2, "M")):
                if value % base**power == 0:
                    return f"{value // base**power}{letter}{suffix}"
        return str(value)
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return str(value)


def _given(options: StepOptions | None) -> Iterable[tuple[Option, Any]]:
    if options is None:
        return
    from cellway.records import StepOptions

    defaults = StepOptions()
    for option in OPTIONS.values():
        value = getattr(options, option.field)
        if value != getattr(defaults, option.field):
            yield option, value


def magic_text(role: str, step: str | None = None, options: StepOptions | None = None) -> str:
    """The magic line for a role and options; ``parse_magic`` reads it back."""
    import shlex

    words = [f"%%{role}", *([step] if step else [])]
    for option, value in _given(options):
        words.append(f"--{option.name}")
        if option.many:
            words.append(shlex.quote(",".join(write_value(option, item) for item in value)))
        elif option.value:
            words.append(shlex.quote(write_value(option, value)))
    return " ".join(words)


def tag_texts(role: str, step: str | None = None, options: StepOptions | None = None) -> tuple[str, ...]:
    """The cell tags for a role and options, one per value: Jupyter allows no comma in a tag.

    Raises:
        TagError: a value has a comma.
    """
    texts = [f"{role}:{step}" if step else str(role)]
    for option, value in _given(options):
        items = value if option.many else (value,)
        texts.extend(f"{option.name}:{write_value(option, item)}" if option.value else option.name for item in items)
    for text in texts:
        if "," in text:
            raise TagError(f"`{text}` cannot be a cell tag: it has a comma", fix="use the magic instead")
    return tuple(texts)
