"""The command line: ``cellway COMMAND …``.

It holds no logic: it reads what was typed, calls :class:`cellway.project.Project`, and prints. Only what the typed
command needs is imported, because a run in which everything is cached takes hardly longer than starting Python.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from cellway.cli.console import Console
from cellway.errors import CellwayError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cellway.cli.commands import Command

__all__ = ["main"]

BROKEN_PIPE = 141
"""Exit code when the reader of the output went away (``cellway runs | head``): 128 + SIGPIPE, as elsewhere."""


def main(words: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        words: what stands behind ``cellway``; the process's own without it.

    Returns:
        The exit code (docs/reference/exit-codes.md).
    """
    console = Console()
    words = list(sys.argv[1:] if words is None else words)
    console.json = "--json" in words
    console.debug = "--debug" in words
    try:
        code = _dispatch(console, words)
        console.out.flush()
    except CellwayError as error:
        if console.debug:
            raise
        code = _flushed(console, error)
    except BrokenPipeError:
        # What is still buffered has nowhere to go; without this the interpreter complains about it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = BROKEN_PIPE
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        if console.debug:
            raise
        code = _flushed(console, _unexpected(error))
    return code


def _unexpected(error: Exception) -> CellwayError:
    """What is said of an exception that nobody took."""
    import errno

    no_output = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)
    if isinstance(error, OSError) and error.filename is None and error.errno in no_output:
        return CellwayError(
            f"what was printed cannot be written: {error.strerror}", fix="make room there, or print to somewhere else"
        )
    return CellwayError(
        f"cellway itself failed: {type(error).__name__}: {error}",
        fix="the same command with --debug shows where; please report it with that text",
    )


def _flushed(console: Console, error: CellwayError) -> int:
    """Print an error below what was printed before it."""
    import contextlib

    with contextlib.suppress(OSError):
        console.out.flush()
    console.error(error)
    return error.exit_code


def _dispatch(console: Console, words: list[str]) -> int:
    if not words or words[0] in {"--help", "-h"}:
        from cellway.cli import helping

        return helping.overview(console)
    if words[0] in {"--version", "-V"}:
        from cellway._version import __version__

        console.print(f"cellway {__version__}")
        return 0
    if words[0] == "__complete":
        from cellway.cli import completion

        return completion.complete(console, words[1:])
    command = _command(words)
    from cellway.cli.parsing import parse

    call = parse(command, words[1:])
    if call.flag("--help"):
        from cellway.cli import helping

        return helping.one(console, command)
    module = __import__(f"cellway.cli.{command.module}", fromlist=[command.name])
    code: int = getattr(module, command.name)(console, call)
    return code


def _command(words: list[str]) -> Command:
    from cellway.cli.commands import COMMANDS

    name = words[0]
    if name in COMMANDS:
        return COMMANDS[name]
    if name.endswith((".ipynb", ".py")) or os.path.isdir(name):
        raise UsageError(f"`cellway {name}` lacks a command", name=name, fix=f"`cellway run {name}`")
    if name.startswith("-"):
        later = next((word for word in words if word in COMMANDS), None)
        fix = f"`cellway {later} {name} …`" if later else "`cellway --help`"
        raise UsageError(f"the option `{name}` stands in front of the command", name=name, fix=fix)
    from cellway.cli.parsing import similar

    meant = similar(name.lower(), COMMANDS)
    fix = f"did you mean `cellway {meant}`?" if meant else "`cellway help` lists the commands"
    raise UsageError(f"there is no command `{name}`", name=name, fix=fix)
