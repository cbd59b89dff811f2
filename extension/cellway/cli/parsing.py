"""Words of a command line → a :class:`Call`, by the table of commands.

Written by hand: building an ``argparse`` parser costs more than a fully cached run may take. Long options take their
value after a blank or ``=``, short ones also without either (``-j4``), short flags can be joined (``-kq``), ``--`` ends
the options.
"""

from __future__ import annotations

from collections.abc import Iterable

from cellway.cli.commands import Command, Option
from cellway.errors import UsageError


class Call:
    """A command with what was given."""

    __slots__ = ("command", "given", "words")

    def __init__(self, command: Command) -> None:
        self.command = command
        self.given: dict[str, list[str]] = {}
        self.words: list[str] = []

    def word(self, position: int = 0) -> str | None:
        """An argument that may be left out."""
        return self.words[position] if position < len(self.words) else None

    def required(self, position: int = 0) -> str:
        """An argument that must be there: ``parse`` has seen to it."""
        return self.words[position]

    def flag(self, name: str) -> bool:
        """Whether an option was given."""
        return name in self.given

    def text(self, name: str) -> str | None:
        """The value of an option, the last one if it was given twice."""
        values = self.given.get(name)
        return values[-1] if values else None

    def texts(self, name: str) -> tuple[str, ...]:
        """All values of an option that may be given more than once."""
        return tuple(self.given.get(name, ()))

    def listed(self, name: str) -> tuple[str, ...]:
        """As :meth:`texts`, with values separated by commas taken apart."""
        return tuple(
            dict.fromkeys(word.strip() for text in self.texts(name) for word in text.split(",") if word.strip())
        )

    def whole(self, name: str, least: int = 0) -> int | None:
        """The value of an option as a whole number.

        Raises:
            UsageError: it is none, or less than the least allowed.
        """
        text = self.text(name)
        if text is None:
            return None
        if not (text.isascii() and text.isdigit()) or int(text) < least:
            raise UsageError(
                f"`{name} {text}`: a whole number from {least} on is meant",
                name=name,
                fix=f"for example `{name} {least + 1}`",
            )
        return int(text)


def parse(command: Command, words: Iterable[str]) -> Call:
    """Read the words behind the name of a command.

    Raises:
        UsageError: an unknown option, a missing value or argument, or a word too many.
    """
    call = Call(command)
    queue = list(words)
    while queue:
        word = queue.pop(0)
        if word == "--":
            for rest in queue:
                _add_word(call, rest)
            break
        if word.startswith("--"):
            _long(call, word, queue)
        elif word.startswith("-") and len(word) > 1:
            _short(call, word, queue)
        else:
            _add_word(call, word)
    if not call.flag("--help"):
        for argument in command.arguments[len(call.words) :]:
            if argument.required:
                raise UsageError(
                    f"`cellway {command.name}` needs {argument.name}: {argument.help}",
                    name=argument.name,
                    fix=f"`{usage(command)}`",
                )
    return call


def usage(command: Command) -> str:
    """The command in one line."""
    words = [f"cellway {command.name}"]
    words += [argument.name if argument.required else f"[{argument.name}]" for argument in command.arguments]
    return " ".join([*words, "[options]"])


def similar(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant."""
    import difflib

    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def _add_word(call: Call, word: str) -> None:
    if len(call.words) >= len(call.command.arguments):
        takes = call.command.arguments
        what = f"only {takes[0].name}" if len(takes) == 1 else "no arguments"
        raise UsageError(
            f"`cellway {call.command.name}` takes {what}, and here is `{word}` as well",
            name=word,
            fix=f"`{usage(call.command)}`; a text with blanks needs quotes",
        )
    call.words.append(word)


def _long(call: Call, word: str, queue: list[str]) -> None:
    name, equals, value = word.partition("=")
    option = call.command.option(name)
    if option is None:
        raise _unknown(call.command, name)
    if not option.value:
        if equals:
            raise UsageError(f"`{name}` takes no value", name=name, fix=f"`{name}` alone")
        _give(call, option, None)
    elif equals:
        _give(call, option, value)
    else:
        _give(call, option, _following(call, option, queue))


def _short(call: Call, word: str, queue: list[str]) -> None:
    rest = word[1:]
    while rest:
        option = call.command.option(f"-{rest[0]}")
        if option is None:
            raise _unknown(call.command, word if len(word) == 2 else f"-{rest[0]}")
        rest = rest[1:]
        if not option.value:
            _give(call, option, None)
            continue
        _give(call, option, rest.removeprefix("=") if rest else _following(call, option, queue))
        break


def _following(call: Call, option: Option, queue: list[str]) -> str | None:
    """The value behind a blank. One that may be left out is one only where an argument cannot stand."""
    full = len(call.words) >= len(call.command.arguments)
    if (
        queue
        and (not queue[0].startswith("-") or queue[0] == "-" or _negative(queue[0]))
        and (full or not option.optional)
    ):
        return queue.pop(0)
    if option.optional:
        return None
    raise UsageError(
        f"`{option.name}` needs a value", name=option.name, fix=f"`{option.name} {option.value}`: {option.help}"
    )


def _negative(word: str) -> bool:
    return word[1:].replace(".", "", 1).isdigit()


def _give(call: Call, option: Option, value: str | None) -> None:
    values = call.given.setdefault(option.name, [])
    if values and option.value and not option.many:
        raise UsageError(f"`{option.name}` is given twice", name=option.name, fix="keep one of them")
    if value is not None:
        values.append(value)


def _unknown(command: Command, written: str) -> UsageError:
    names = [option.name.removeprefix("--") for option in command.options]
    word = written.lower().strip("-").replace("_", "-")
    meant = similar(word, names) or next((name for name in names if len(word) > 2 and name.startswith(word)), None)
    return UsageError(
        f"`cellway {command.name}` has no option `{written}`",
        name=written,
        fix=f"did you mean `--{meant}`?" if meant else f"`cellway {command.name} --help` lists them",
    )
