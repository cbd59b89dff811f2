"""Every exception that cellway raises on purpose.

    CellwayError                      exit code 1, HTTP 400
    ├── UsageError                    2   the call itself is wrong: unknown option, parameter, step, file
    ├── NotebookError                 3   the notebook cannot be converted as it stands
    │   ├── UnreadableNotebook            not a notebook, broken JSON, unknown format
    │   ├── TagError                      a magic, tag or option is wrong
    │   └── Refusal                       the pipeline would differ from the notebook; names the fix
    ├── StepError                     4   a step failed while it ran
    │   ├── CellFailed                    the user's code raised
    │   ├── StepTimeout                   --timeout passed
    │   ├── KernelDied                    the kernel process ended by itself
    │   └── CannotStore                   an output cannot be stored
    ├── StoreError                    5   bytes are missing, damaged or cannot be written (disk full)
    ├── LedgerError                   5   the record of runs cannot be read or written
    ├── PluginError                   6   a named backend, store, materializer … is unknown or broken
    └── Cancelled                   130   Ctrl-C, ``cellway cancel``

Each carries where it happened as a :class:`Place` and, where there is one, the fix in the author's words.
"""

from __future__ import annotations


class Place:
    """A spot in a notebook: what an error message points at.

    Args:
        cell: index of the cell in the notebook, counted from 0 over all cells, markdown included.
        line: line in the cell as the author sees it (the magic line counts), from 1.
        excerpt: the first words of that line, so that the cell is found in an editor without cell numbers.
        step: name of the step, if the cell belongs to one.
    """

    __slots__ = ("cell", "excerpt", "line", "step")

    def __init__(
        self, cell: int | None = None, line: int | None = None, excerpt: str = "", step: str | None = None
    ) -> None:
        self.cell = cell
        self.line = line
        self.excerpt = excerpt
        self.step = step

    def __str__(self) -> str:
        parts = []
        if self.step is not None:
            parts.append(f"step {self.step}")
        if self.cell is not None:
            parts.append(f"cell {self.cell + 1}")
        if self.line is not None:
            parts.append(f"line {self.line}")
        where = ", ".join(parts)
        if self.excerpt:
            excerpt = self.excerpt.strip()
            where += f" ({excerpt if len(excerpt) <= 60 else excerpt[:57] + '…'})"
        return where

    def __repr__(self) -> str:
        return f"Place({self!s})"


class CellwayError(Exception):
    """Root of the tree.

    Args:
        message: what is wrong, in the words of the notebook's author.
        place: where.
        name: the variable, option or file it is about.
        fix: what to type or change next.
    """

    exit_code = 1
    http_status = 400

    def __init__(self, message: str, *, place: Place | None = None, name: str | None = None, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.place = place
        self.name = name
        self.fix = fix

    def __str__(self) -> str:
        text = f"{self.place}: {self.message}" if self.place is not None and str(self.place) else self.message
        return f"{text}\n  fix: {self.fix}" if self.fix else text


class UsageError(CellwayError):
    """The call is wrong: an unknown command, option, parameter, step or file."""

    exit_code = 2


class NotebookError(CellwayError):
    """The notebook cannot become a pipeline as it stands."""

    exit_code = 3
    http_status = 422


class UnreadableNotebook(NotebookError):
    """The file is not a notebook, its JSON is broken, or its format is unknown."""


class TagError(NotebookError):
    """A magic, a cell tag or one of its options is wrong."""


class Refusal(NotebookError):
    """The pipeline would not give what the notebook gives; the fix is named."""


class StepError(CellwayError):
    """A step failed while it ran."""

    exit_code = 4
    http_status = 500


class CellFailed(StepError):
    """The user's code raised; ``traceback`` is the notebook's own.

    Args:
        ename: name of the exception's class.
        evalue: its text.
        traceback: the coloured lines as the kernel sent them.
    """

    def __init__(
        self,
        message: str,
        *,
        ename: str = "",
        evalue: str = "",
        traceback: tuple[str, ...] = (),
        place: Place | None = None,
        name: str | None = None,
        fix: str = "",
    ) -> None:
        super().__init__(message, place=place, name=name, fix=fix)
        self.ename = ename
        self.evalue = evalue
        self.traceback = traceback


class StepTimeout(StepError):
    """A step took longer than its ``--timeout``."""


class KernelDied(StepError):
    """The kernel process ended by itself: out of memory, ``os._exit``, a crash in native code."""


class CannotStore(StepError):
    """A value that a later step needs cannot be stored."""


class StoreError(CellwayError):
    """Stored bytes are missing or damaged, or cannot be written."""

    exit_code = 5
    http_status = 500


class LedgerError(CellwayError):
    """The record of runs cannot be read or written."""

    exit_code = 5
    http_status = 500


class PluginError(CellwayError):
    """A backend, store, materializer or exporter is unknown or cannot be loaded."""

    exit_code = 6


class Cancelled(CellwayError):
    """The run was cancelled."""

    exit_code = 130
    http_status = 409
