"""Events of a run → a table that follows it on a terminal.

Imported only when something runs: it stands on rich.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Console as RichConsole
from rich.console import Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from cellway.cli.console import ASCII, WORDS, Console, cells, harmless, seconds, without_styles
from cellway.cli.following import FINISHED, Tally, error_line, took

if TYPE_CHECKING:
    from cellway.records import Event

_BAR = 10
_NARROW = 72


class LiveView:
    """One row a step: mark, name, state, time, and why or how far.

    Args:
        console: where to.
        tally: counted by the caller before each :meth:`show`.
    """

    def __init__(self, console: Console, tally: Tally) -> None:
        self._tally = tally
        self._unicode = console.unicode()
        self._started: dict[str, float] = {}
        self._progress: dict[str, tuple[int, int]] = {}
        self._said: dict[str, str] = {}
        self._notes: dict[str, str] = {}
        self._spinner = Spinner("dots" if self._unicode else "line", style="yellow")
        self._rich = RichConsole(
            file=console.out,
            width=console.width,
            no_color=not console.colours(),
            highlight=False,
            emoji=False,
            markup=False,
            soft_wrap=False,
        )
        self._message = ""
        self._final = False
        self._live = Live(
            get_renderable=self._render,
            console=self._rich,
            refresh_per_second=10,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="ellipsis",
        )
        self._live.start()

    def show(self, event: Event) -> None:
        """Take up one event; the table is drawn ten times a second."""
        step = event.step or ""
        if event.kind == "step-started":
            self._started[step] = event.time
            self._progress.pop(step, None)
            self._said.pop(step, None)
            self._notes[step] = event.message
        elif event.kind == "cell":
            self._progress[step] = (int(event.data.get("cell", 0)), int(event.data.get("cells", 0)))
        elif event.kind == "output":
            line = without_styles(str(event.data.get("text", ""))).replace("\r", "\n").strip()
            if line:
                self._said[step] = line.splitlines()[-1].strip()
        elif event.kind == "step-finished" and event.step_run is not None:
            error = event.step_run.error
            self._notes[step] = error_line(error) if error else event.step_run.reason or event.message
        elif event.kind in {"step-waiting", "step-retry", "step-outdated"}:
            self._notes[step] = event.message

    def tell(self, message: str) -> None:
        """A line below the table, such as that the run is being cancelled."""
        self._message = message

    def close(self) -> None:
        """Leave the finished table on the screen."""
        self._final = True
        self._message = ""
        self._live.refresh()
        self._live.stop()

    # --- drawing -----------------------------------------------------------------------------------------------------

    def _render(self) -> RenderableType:
        width = self._rich.width
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0), expand=False)
        longest = max((cells(name) for name in self._tally.status), default=4)
        name = max(min(longest, width // 3), 4)
        # Every width is given: left to itself, a long note would squeeze the columns in front of it.
        for size, right in ((1, False), (name, False), (9, False), (7, True)):
            table.add_column(width=size, no_wrap=True, overflow="ellipsis", justify="right" if right else "left")
        table.add_column(width=max(width - name - 25, 8), no_wrap=True, overflow="ellipsis")
        hidden = self._rows(table)
        parts: list[RenderableType] = [table]
        if hidden:
            parts.append(Text(self._plain(f"  … {hidden} more"), style="dim"))
        if not self._final:
            parts.append(Text(self._plain(self._foot()), style="dim", no_wrap=True, overflow="ellipsis"))
        if self._message:
            parts.append(Text(self._plain(self._message), style="yellow"))
        return Group(*parts)

    def _rows(self, table: Table) -> int:
        names = list(self._tally.status)
        shown = self.chosen(names)
        for name in names:
            if name in shown:
                self._row(table, name)
        return len(names) - len(shown)

    def chosen(self, names: list[str]) -> set[str]:
        """What fits on the screen: failures, what is running, then what ended last and what comes next."""
        room = max(self._rich.height - 4, 4)
        if self._final or len(names) <= room:
            room = max(room, 60) if self._final else room
        if len(names) <= room:
            return set(names)
        status = self._tally.status
        order = [name for name in names if status[name] == "failed"]
        order += [name for name in names if status[name] == "running"]
        done = [name for name in self._tally.step_runs if status[name] == "completed"]
        order += done[::-1][: room // 2]
        order += [name for name in names if status[name] == "pending"]
        order += done[::-1]
        order += [name for name in names if status[name] in FINISHED]
        return set(list(dict.fromkeys(order))[:room])

    def _row(self, table: Table, name: str) -> None:
        status = self._tally.status[name]
        mark, word, style = WORDS[status]
        if status == "pending":
            word, style = "waiting" if self._notes.get(name) else "", "dim"
        first: RenderableType = Text(self._plain(mark), style=style)
        if status == "running":
            first = self._spinner
            note = self._running_note(name)
            clock = seconds(max(time.time() - self._started.get(name, time.time()), 0.1))
        else:
            found = self._tally.step_runs.get(name)
            clock = seconds(took(found)) if found is not None else ""
            lines = self._notes.get(name, "").strip().splitlines()
            note = Text(self._plain(lines[0]) if lines else "", style="red" if status == "failed" else "dim")
        table.add_row(first, Text(name), Text(self._plain(word), style=style), Text(clock, style="dim"), note)

    def _running_note(self, name: str) -> Text:
        cell, of = self._progress.get(name, (0, 0))
        said = self._said.get(name) or self._notes.get(name, "")
        note = Text()
        if of > 1:
            done = round(_BAR * max(cell - 1, 0) / of)
            if self._rich.width >= _NARROW:
                sign = "━" if self._unicode else "="
                note.append(sign * done, "yellow")
                note.append(sign * (_BAR - done) if self._unicode else "-" * (_BAR - done), "bright_black")
                note.append(" ")
            note.append(f"{cell}/{of}  ", "yellow")
        note.append(self._plain(said.splitlines()[0] if said else ""), "dim")
        return note

    def _foot(self) -> str:
        tally = self._tally
        done = sum(tally.number(status) for status in FINISHED)
        began = tally.started if tally.started is not None else time.time()
        text = f"{done}/{len(tally.status)} steps · {seconds(max(time.time() - began, 0.1))}"
        running = tally.number("running")
        if running > 1:
            text += f" · {running} at a time"
        return text

    def _plain(self, text: str) -> str:
        text = harmless(text).replace("\t", " ")
        if self._unicode:
            return text
        return text.translate(ASCII).encode("ascii", "replace").decode()
