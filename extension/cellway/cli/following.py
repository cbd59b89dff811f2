"""Events of a run → what is printed while it goes on: plain lines, JSON lines, or nothing.

The live view on a terminal is in :mod:`cellway.cli.live`; all of them count with the same :class:`Tally`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from cellway.cli.console import WORDS, Console, cells, count, plain, seconds, without_styles

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cellway.records import Event, StepRun

FINISHED = ("completed", "cached", "failed", "cancelled", "skipped")


class Follower(Protocol):
    """Shows events."""

    def show(self, event: Event) -> None:
        """Show one event."""

    def close(self) -> None:
        """No event follows."""


class Tally:
    """How each step stands.

    Args:
        steps: names in notebook order; others are added as they come.
    """

    def __init__(self, steps: Iterable[str] = ()) -> None:
        self.status: dict[str, str] = dict.fromkeys(steps, "pending")
        self.step_runs: dict[str, StepRun] = {}
        self.started: float | None = None
        self.ended: float | None = None
        self.saved = 0.0
        self.run: str | None = None
        self.run_status = "running"

    def add(self, event: Event) -> None:
        """Count an event."""
        self.started = event.time if self.started is None else self.started
        self.ended = event.time
        self.run = event.run.id
        if event.kind == "run-started":
            for name in event.data.get("steps", ()):
                self.status.setdefault(name, "pending")
        elif event.kind == "run-finished":
            self.run_status = event.run.status.value
        elif event.kind in {"step-started", "step-outdated"} and event.step is not None:
            self.status[event.step] = "running" if event.kind == "step-started" else "pending"
        elif event.kind == "step-finished" and event.step is not None and event.step_run is not None:
            self.status[event.step] = event.step_run.status.value
            self.step_runs[event.step] = event.step_run
            self.saved += float(event.data.get("saved") or 0.0)

    def number(self, status: str) -> int:
        """Steps that stand so."""
        return sum(found == status for found in self.status.values())

    @property
    def elapsed(self) -> float:
        """Seconds from the first event to the last one."""
        return (self.ended or 0.0) - (self.started or 0.0)

    def failed(self) -> list[StepRun]:
        """What failed, in order."""
        return [found for found in self.step_runs.values() if found.status.value == "failed"]


def summary(console: Console, numbers: Mapping[str, int], elapsed: float, saved: float) -> str:
    """``7 steps: 2 ran, 5 reused · 3.4 s (saved 12.1 s)``.

    Args:
        numbers: status → steps; those that are 0 are left out.
        elapsed: seconds that the run took.
        saved: seconds that the reused steps took when they ran.
    """
    total = sum(numbers.values())
    parts = []
    for status in ("failed", "completed", "cached", "cancelled", "skipped", "pending", "running"):
        if numbers.get(status):
            _, word, style = WORDS[status]
            word = {"pending": "not run", "running": "unfinished"}.get(status, word)
            parts.append(console.style(f"{numbers[status]} {word}", style))
    text = f"{count(total, 'step')}: {', '.join(parts) or 'nothing to do'} · {seconds(elapsed)}"
    return text + (console.style(f" (saved {seconds(saved)})", "dim") if saved >= 0.05 else "")


def took(step_run: StepRun) -> float | None:
    """Seconds that a step ran."""
    if step_run.started is None or step_run.ended is None or step_run.status.value == "cached":
        return None
    return step_run.ended - step_run.started


class Lines:
    """A line per event, for pipes and logs."""

    def __init__(self, console: Console, steps: Iterable[str] = ()) -> None:
        self._console = console
        self._width = max(map(cells, steps), default=8)
        self._open: dict[tuple[str, str], str] = {}

    def show(self, event: Event) -> None:
        """Print what happened, if it says something."""
        step = event.step or ""
        if event.kind == "output":
            self._output(step, str(event.data.get("stream", "stdout")), str(event.data.get("text", "")))
            return
        if event.kind == "step-finished" and event.step_run is not None:
            self._finish(step)
            found = event.step_run
            mark, word, style = WORDS[found.status.value]
            error = found.error or {}
            text = error_line(error) if error else found.reason or event.message
            self._line(mark, step, word, style, seconds(took(found)), text)
        elif event.kind in _PROGRESS:
            word = _PROGRESS[event.kind]
            self._line(" ", step, word, "dim", "", event.message)
        else:
            return
        self._console.out.flush()

    def close(self) -> None:
        """Print what is left of unfinished lines."""
        for step, _ in list(self._open):
            self._finish(step)

    def _finish(self, step: str) -> None:
        for stream in ("stdout", "stderr"):
            self._output(step, stream, "\n" if self._open.get((step, stream)) else "")

    def _line(self, mark: str, step: str, word: str, style: str, time: str, text: str) -> None:
        name = step + " " * (self._width - cells(step))
        tail = f"{time:>8}  {text.strip().splitlines()[0] if text.strip() else ''}".rstrip()
        console = self._console
        console.print(f"{console.style(mark, style)} {name}  {console.style(f'{word:<9}', style)}{tail}".rstrip())

    def _output(self, step: str, stream: str, text: str) -> None:
        """What the author's cells print, with the step in front; a part of a line waits for its rest."""
        text = self._open.pop((step, stream), "") + text.replace("\r\n", "\n")
        *lines, rest = text.split("\n")
        if rest:
            self._open[step, stream] = rest
        for line in lines:
            line = line.rsplit("\r", 1)[-1]  # a progress bar draws over itself; what it came to is enough  # noqa: PLW2901
            if not self._console.colours():
                line = without_styles(line)  # noqa: PLW2901
            name = step + " " * (self._width - cells(step))
            style = "yellow" if stream == "stderr" else "dim"
            self._console.print(f"  {name}  {self._console.style('│', style)} {line}".rstrip())


_PROGRESS = {
    "step-started": "started",
    "step-waiting": "waiting",
    "step-retry": "again",
    "step-outdated": "outdated",
}


class Stream:
    """One JSON object per line and event."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def show(self, event: Event) -> None:
        """Print it."""
        self._console.data(as_json(event), line=True)

    def close(self) -> None:
        """Nothing is left."""


class Silence:
    """Nothing but the summary (``--quiet``)."""

    def show(self, event: Event) -> None:
        """Print nothing."""

    def close(self) -> None:
        """Nothing is left."""


def as_json(event: Event) -> dict[str, Any]:
    """An event as one line of ``cellway run --json``: the run whole where it begins and ends, else its id."""
    whole = event.kind in {"run-started", "run-finished"}
    return {
        "kind": event.kind,
        "time": event.time,
        "run": plain(event.run) if whole else event.run.id,
        "step": event.step,
        "step_run": plain(event.step_run),
        "message": event.message,
        "data": plain(event.data),
    }


def error_line(error: Mapping[str, Any]) -> str:
    """What a failed step says in one line."""
    if error.get("ename"):
        return f"{error['ename']}: {error.get('evalue') or ''}".rstrip(": ")
    return str(error.get("message") or error.get("kind") or "")
