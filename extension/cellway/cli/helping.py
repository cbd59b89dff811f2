"""``cellway help``: texts out of the table of commands."""

from __future__ import annotations

from cellway.cli.commands import COMMANDS, GROUPS, Command, Option
from cellway.cli.console import Console
from cellway.cli.parsing import Call, similar, usage
from cellway.errors import UsageError


def help(console: Console, call: Call) -> int:  # noqa: A001 - the command's name
    """``cellway help [COMMAND]``."""
    name = call.word()
    if name is None:
        return overview(console)
    if name not in COMMANDS:
        meant = similar(name, COMMANDS)
        raise UsageError(
            f"there is no command `{name}`",
            name=name,
            fix=f"did you mean `{meant}`?" if meant else "`cellway help` lists the commands",
        )
    return one(console, COMMANDS[name])


def overview(console: Console) -> int:
    """All commands in groups."""
    if console.json:
        console.data([_plain(command) for command in COMMANDS.values()])
        return 0
    console.print("cellway takes a notebook to production: tagged cells become a cached pipeline that runs headless.\n")
    console.print(f"{console.style('usage:', 'bold')} cellway COMMAND [options]\n")
    width = max(map(len, COMMANDS))
    for group, title in GROUPS:
        console.print(console.style(title, "bold"))
        for command in COMMANDS.values():
            if command.group == group:
                _entry(console, command.name, command.summary, width)
        console.print()
    console.print("`cellway help COMMAND` says more. A first step: `cellway init notebook.ipynb`.")
    return 0


def one(console: Console, command: Command) -> int:
    """One command with its arguments and options."""
    if console.json:
        console.data(_plain(command))
        return 0
    console.print(f"{console.style('usage:', 'bold')} {usage(command)}\n")
    console.print(_sentence(command.summary))
    if command.text:
        console.print()
        for line in command.text.split("\n"):
            for piece in wrapped(line, console.width):
                console.print(piece)
    entries = [(argument.name, argument.help) for argument in command.arguments]
    options = [(written(option), option.help) for option in command.options]
    width = min(max(len(name) for name, _ in (*entries, *options)), 30)
    if entries:
        console.print()
        for name, text in entries:
            _entry(console, name, text, width)
    console.print("\n" + console.style("options", "bold"))
    for name, text in options:
        _entry(console, name, text, width)
    if command.examples:
        console.print("\n" + console.style("examples", "bold"))
        for example in command.examples:
            console.print(f"  {example}")
    return 0


def written(option: Option) -> str:
    """``-p, --parameter NAME=VALUE``."""
    value = f" {option.value}" if option.value else ""
    return f"{f'{option.short}, ' if option.short else ''}{option.name}{value}"


def wrapped(text: str, width: int) -> list[str]:
    """Lines of at most so many columns; blanks inside a line stay."""
    if len(text) <= width or "  " in text:
        return [text]
    import textwrap

    return textwrap.wrap(text, max(width, 30))


def _entry(console: Console, name: str, text: str, width: int) -> None:
    lines = wrapped(text, max(console.width - width - 4, 30))
    first = lines if len(name) <= width else ["", *lines]
    console.print(f"  {console.style(name.ljust(width), 'cyan')}  {first[0]}".rstrip())
    for line in first[1:]:
        console.print(" " * (width + 4) + line)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _plain(command: Command) -> dict[str, object]:
    return {
        "name": command.name,
        "summary": command.summary,
        "usage": usage(command),
        "arguments": [{"name": a.name, "help": a.help, "required": a.required} for a in command.arguments],
        "options": [
            {"name": o.name, "short": o.short or None, "value": o.value or None, "help": o.help, "many": o.many}
            for o in command.options
        ],
        "examples": list(command.examples),
    }
