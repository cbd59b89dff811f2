"""The cell magics: ``%%parameters``, ``%%setup``, ``%%step``, ``%%test``, ``%%skip``.

A tagged cell that is run by hand runs as if the magic were not there. So it is taken away before IPython looks at the
cell: an input transformer turns the line into a comment, and everything else (line numbers, ``await``, ``_`` and
``Out``, another cell magic underneath, history) is IPython's own. The magics are registered all the same, for help,
completion and callers of ``run_cell_magic``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from cellway import errors
from cellway.errors import Place, TagError
from cellway.notebook.grammar import find_magic, parse_magic
from cellway.notebook.options import OPTIONS

_HELP = {
    "parameters": "assignments in this cell are parameters of the pipeline; a trailing comment is the help text",
    "setup": "this cell runs first in every step: options, plotting style, seeds, environment",
    "step": "this cell belongs to the step NAME; the same NAME again adds a cell to that step",
    "test": "assertions about the outputs of STEP; `cellway test` runs them",
    "skip": "this cell is never part of the pipeline, not even its definitions",
}
_USAGE = {"step": "%%step NAME [options]", "test": "%%test STEP"}
_MATCHER = "cellway.options"


class UsageError(errors.UsageError):
    """A magic is written wrongly. IPython shows the message alone, without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"UsageError: {self}"]


def register(shell: Any) -> None:
    """Add the magics to an IPython shell. Doing it again changes nothing.

    Args:
        shell: an ``InteractiveShell``.
    """
    unregister(shell)
    for role in _HELP:
        shell.register_magic_function(_magic(shell, role), "cell", role)
    shell.input_transformers_cleanup.append(strip_magic)
    matchers = getattr(getattr(shell, "Completer", None), "custom_matchers", None)
    if matchers is not None:  # since IPython 8.6
        from IPython.core.completer import context_matcher

        matchers.append(context_matcher(identifier=_MATCHER)(complete))


def unregister(shell: Any) -> None:
    """Take the magics out of a shell again."""
    # By name: after a reload of this module the function in the list is another object.
    transformers = shell.input_transformers_cleanup
    transformers[:] = [known for known in transformers if getattr(known, "__module__", "") != __name__]
    matchers = getattr(getattr(shell, "Completer", None), "custom_matchers", [])
    matchers[:] = [known for known in matchers if getattr(known, "matcher_identifier", "") != _MATCHER]
    for role in _HELP:
        shell.magics_manager.magics["cell"].pop(role, None)


def strip_magic(lines: Sequence[str]) -> list[str]:
    """A cell without cellway's magic, line for line: the magic becomes a comment.

    Over another cell magic, which must be the first line for IPython, everything above it goes. A magic that is written
    wrongly becomes a call that says so.

    Args:
        lines: of the cell, with their line ends.
    """
    lines = list(lines)
    try:
        found = find_magic("".join(lines).removesuffix("\n"))
    except TagError as problem:
        return [f"__import__({__name__!r}, fromlist=['refuse']).refuse({_message(problem)!r})\n"]
    if found is None:
        return lines
    below = lines[found.line + 1 :]
    first = next((number for number, line in enumerate(below) if line.strip()), None)
    if first is not None and below[first].startswith("%%"):
        return below[first:]
    return [*lines[: found.line], f"# {lines[found.line]}", *below]


def refuse(message: str) -> NoReturn:
    """What a cell with a wrong magic does instead of running."""
    raise UsageError(message)


def complete(context: Any) -> dict[str, Any]:
    """Options for the last word of a ``%%step`` line, and nothing else there.

    Args:
        context: IPython's ``CompletionContext``.
    """
    from IPython.core.completer import SimpleCompletion

    line = context.text_until_cursor
    word = context.token
    if not line.startswith("%%step ") or not word.startswith("-"):
        return {"completions": []}
    names = [f"--{name}" for name in OPTIONS if f"--{name}".startswith(word)]
    return {"completions": [SimpleCompletion(name, type="option") for name in names], "suppress": True, "ordered": True}


def _message(problem: TagError) -> str:
    place = problem.place
    where = f"line {place.line}: " if place is not None and place.line not in {None, 1} else ""
    return f"{where}{problem.message}" + (f"\n  fix: {problem.fix}" if problem.fix else "")


def _magic(shell: Any, role: str) -> Callable[[str, str], None]:
    def magic(line: str, cell: str) -> None:
        try:
            parse_magic(role, line, Place(line=1))
        except TagError as problem:
            raise UsageError(_message(problem)) from None
        if not shell.run_cell(cell, store_history=False).success:
            raise UsageError(f"the cell under `%%{role}` failed; its error is shown above")

    magic.__name__ = magic.__qualname__ = role
    magic.__doc__ = _documentation(role)
    return magic


def _documentation(role: str) -> str:
    text = f"{_USAGE.get(role, f'%%{role}')}\n\n{_HELP[role][0].upper()}{_HELP[role][1:]}.\n"
    if role != "step":
        return text
    heads = {name: f"--{name} {option.value}".rstrip() for name, option in OPTIONS.items()}
    width = max(map(len, heads.values()))
    lines = [f"  {heads[name]:{width}}  {option.help}" for name, option in OPTIONS.items()]
    return text + "\nOptions (values that add up are separated by commas):\n\n" + "\n".join(lines) + "\n"
