"""``cellway completion SHELL`` prints a script; the script asks the hidden ``cellway __complete`` what fits.

The scripts hold no list of commands or options: they stay right when cellway is updated.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from cellway.cli.commands import COMMANDS, Command
from cellway.cli.console import Console
from cellway.cli.parsing import Call, similar
from cellway.errors import CellwayError, UsageError

FILES = "__files__"
"""Stands for: let the shell complete file names."""

_BASH = """\
_cellway() {
    local current words line files=
    current="${COMP_WORDS[COMP_CWORD]}"
    words=("${COMP_WORDS[@]:1:COMP_CWORD}")
    COMPREPLY=()
    while IFS=$'\\t' read -r line _; do
        if [ "$line" = __files__ ]; then files=1
        elif [[ "$line" == "$current"* ]]; then COMPREPLY+=("$line"); fi
    done < <(cellway __complete "${words[@]}" 2>/dev/null)
    if [ -n "$files" ]; then
        compopt -o filenames 2>/dev/null
        while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "$current")
    fi
    if [ ${#COMPREPLY[@]} -eq 1 ] && [[ "${COMPREPLY[0]}" == *= ]]; then compopt -o nospace 2>/dev/null; fi
}
complete -F _cellway cellway
"""

_ZSH = """\
#compdef cellway
_cellway() {
    local line files=0
    local -a found given
    given=("${(@)words[2,CURRENT]}")
    while IFS= read -r line; do
        if [[ "$line" == __files__ ]]; then
            files=1
        else
            local word="${line%%$'\\t'*}" text="${line#*$'\\t'}"
            found+=("${word//:/\\\\:}:$text")
        fi
    done < <(cellway __complete "${given[@]}" 2>/dev/null)
    (( ${#found} )) && _describe -V cellway found -S ' '
    (( files )) && _files
    return 0
}
if [ "${funcstack[1]}" = _cellway ]; then _cellway "$@"; else compdef _cellway cellway; fi
"""

_FISH = """\
function __cellway_complete
    set -l words (commandline -opc) (commandline -ct)
    for line in (cellway __complete $words[2..-1] 2>/dev/null)
        if test "$line" = __files__
            __fish_complete_path (commandline -ct)
        else
            echo $line
        end
    end
end
complete -c cellway -f -a '(__cellway_complete)'
"""

SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}

_STATUSES = ("completed", "cached", "failed", "cancelled", "running")


def completion(console: Console, call: Call) -> int:
    """``cellway completion SHELL``."""
    shell = call.required()
    if shell not in SCRIPTS:
        meant = similar(shell, SCRIPTS)
        raise UsageError(
            f"there is no completion for `{shell}`",
            name=shell,
            fix=f"did you mean `{meant}`?" if meant else f"one of {', '.join(SCRIPTS)}",
        )
    if console.json:
        console.data({"shell": shell, "script": SCRIPTS[shell]})
    else:
        console.print(SCRIPTS[shell], end="")
    return 0


def complete(console: Console, words: list[str]) -> int:
    """``cellway __complete WORD…``: what the last word may become, one per line, with a tab and a help text."""
    # A shell that is half-way through a line cannot be helped with an error message.
    try:
        found = list(_found(words or [""]))
    except (CellwayError, OSError):
        found = []
    for word, text in dict(found).items():
        console.print(word if word == FILES else f"{word}\t{text}")
    return 0


def _found(words: list[str]) -> Iterable[tuple[str, str]]:
    *before, current = words
    if not before:
        entries = [(command.name, command.summary) for command in COMMANDS.values()]
        yield from _starting(current, [*entries, ("--version", "the version")])
        return
    command = COMMANDS.get(before[0])
    if command is None:
        return
    pending = command.option(before[-1]) if before[-1].startswith("-") else None
    if pending is not None and pending.value and not pending.optional:
        yield from _values(pending.kind, command, before, current)
        return
    if current.startswith("--") and "=" in current:
        name, _, part = current.partition("=")
        option = command.option(name)
        if option is not None:
            for word, text in _values(option.kind, command, before, part):
                yield (word if word == FILES else f"{name}={word}", text)
        return
    if current.startswith("-"):
        yield from _starting(current, [(option.name, option.help) for option in command.options])
        return
    position = len(_words(command, before))
    if position < len(command.arguments):
        yield from _values(command.arguments[position].kind, command, before, current)
    elif pending is not None:
        yield from _values(pending.kind, command, before, current)


def _values(kind: str, command: Command, before: list[str], current: str) -> Iterable[tuple[str, str]]:
    """What a value of some kind can be."""
    if "," in current and kind == "step":
        first, _, last = current.rpartition(",")
        for word, text in _values(kind, command, before, last):
            yield f"{first},{word}", text
        return
    finders: dict[str, Callable[[], Iterable[tuple[str, str]]]] = {
        "step": lambda: _steps(command, before),
        "run": _runs,
        "parameter": lambda: _parameters(command, before),
        "artifact": _artifacts,
        "shell": lambda: [(shell, "") for shell in SCRIPTS],
        "command": lambda: [(name, found.summary) for name, found in COMMANDS.items()],
        "status": lambda: [(status, "") for status in _STATUSES],
    }
    if "artifact" in kind and current and "/" not in current and kind != "artifact":
        yield from _starting(current, _artifacts())
    if "notebook" in kind:
        yield from _notebooks(current)
    elif kind == "file":
        yield FILES, ""
    elif kind in finders:
        yield from _starting(current, finders[kind]())


def _starting(current: str, found: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    return [(word, text) for word, text in found if word.startswith(current)]


def _words(command: Command, before: list[str]) -> list[str]:
    """The arguments among the words already typed."""
    found, skip = [], False
    for word in before[1:]:
        option = command.option(word) if word.startswith("-") else None
        if skip:
            skip = False
        elif option is not None:
            skip = bool(option.value) and not option.optional
        elif not word.startswith("-"):
            found.append(word)
    return found


def _source(command: Command, before: list[str]) -> str | None:
    return next(
        (word for word in _words(command, before) if word.endswith((".ipynb", ".py")) or Path(word).is_dir()), None
    )


def _notebooks(current: str) -> Iterable[tuple[str, str]]:
    """Notebooks and folders; the shell's own completion would offer every file."""
    folder, _, part = current.rpartition("/")
    shown = f"{folder}/" if "/" in current else ""
    for entry in sorted(os.scandir(shown or "."), key=lambda found: found.name):
        if not entry.name.startswith(part) or (entry.name.startswith(".") and not part):
            continue
        if entry.is_dir():
            yield f"{shown}{entry.name}/", "folder"
        elif entry.name.endswith((".ipynb", ".py")):
            yield f"{shown}{entry.name}", "notebook"


def _steps(command: Command, before: list[str]) -> Iterable[tuple[str, str]]:
    from cellway.project import Project

    source = _source(command, before)
    if source is not None:
        return [(step.name, "step") for step in Project.find(source).check(source).steps]
    run = before[before.index("--run") + 1] if "--run" in before[:-1] else "last"
    return [(found.step, found.status.value) for found in Project.find(".").step_runs(run)]


def _parameters(command: Command, before: list[str]) -> Iterable[tuple[str, str]]:
    from cellway.project import Project

    source = _source(command, before)
    if source is None:
        return []
    return [(f"{found.name}=", found.help) for found in Project.find(source).check(source).parameters]


def _runs() -> Iterable[tuple[str, str]]:
    from cellway.project import Project

    found = Project.find(".").runs()
    return [("last", "the last run"), *((run.id, f"{run.pipeline}, {run.status.value}") for run in found)]


def _artifacts() -> Iterable[tuple[str, str]]:
    from cellway.project import Project

    return [
        (f"{found.step}.{found.artifact.name}", found.artifact.type) for found in Project.find(".").artifacts("last")
    ]
