"""Events of a run → what is printed while it goes on, and at its end.

Plain lines, JSON lines, or nothing; the live view of a terminal is in :mod:`cellway.cli.live`. All of them count with
the same :class:`Tally`. Ctrl-C is taken here, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TextIO

from cellway.cli.console import WORDS, Console, cells, plain, seconds, shown_path, summary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from cellway.backends import Cancellation
    from cellway.project import Project
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
        elif event.kind in {"step-started", "step-outdated", "step-waiting"} and event.step is not None:
            self.status[event.step] = "running" if event.kind == "step-started" else "pending"
        elif event.kind == "step-finished" and event.step is not None and event.step_run is not None:
            self.status[event.step] = event.step_run.status.value
            self.step_runs[event.step] = event.step_run

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


def took(step_run: StepRun) -> float | None:
    """Seconds that a step ran."""
    if step_run.started is None or step_run.ended is None or step_run.status.value in {"cached", "skipped"}:
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
            # A progress bar draws over itself; what it came to is enough.
            line = line.rstrip("\r").rsplit("\r", 1)[-1]  # noqa: PLW2901
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


# --- from the first event to the exit code ----------------------------------------


def follow(
    console: Console,
    project: Project,
    events: Iterator[Event],
    cancel: Cancellation,
    steps: Sequence[str],
    quiet: bool,
) -> int:
    """Show a run while it goes on, then what came of it.

    Args:
        steps: names of all steps of the pipeline, in order.
        quiet: the last line only.

    Returns:
        The exit code.
    """
    tally = Tally(steps)
    with _Interrupts(console, cancel) as interrupts:
        follower = _follower(console, tally, quiet)
        interrupts.follower = follower
        try:
            for event in events:
                tally.add(event)
                follower.show(event)
        finally:
            follower.close()
    if not console.json:
        _closing(console, project, tally, quiet=quiet)
    return _code(tally)


def _follower(console: Console, tally: Tally, quiet: bool) -> Follower:
    if console.json:
        return Stream(console)
    if quiet:
        return Silence()
    if console.moves():
        from cellway.cli.live import LiveView

        return LiveView(console, tally)
    return Lines(console, tally.status)


class _Interrupts:
    """Signals while something runs. The first Ctrl-C asks the steps to stop, the second ends them at once.

    SIGTERM (CI, ``docker stop``) and SIGHUP (the terminal is gone) do the same: kernels are not left alone.
    """

    def __init__(self, console: Console, cancel: Cancellation) -> None:
        self._console = console
        self._cancel = cancel
        self._before: dict[int, Any] = {}
        # Asked beforehand: one that was closed is no terminal any more.
        self._terminals = console.terminals()
        self.follower: Any = None

    def tell(self, message: str) -> None:
        """Say it below the live view, if there is one."""
        if hasattr(self.follower, "tell"):
            self.follower.tell(message)
        else:
            self._console.print(message, stream=self._console.err)

    def __enter__(self) -> _Interrupts:
        import signal
        import threading

        if threading.current_thread() is threading.main_thread():
            self._before[signal.SIGINT] = signal.signal(signal.SIGINT, self._pressed)
            for name in ("SIGTERM", "SIGHUP"):
                number = getattr(signal, name, None)
                if number is not None and signal.getsignal(number) is signal.SIG_DFL:  # `nohup` ignores SIGHUP
                    self._before[number] = signal.signal(number, self._told)
        return self

    def _pressed(self, number: int, frame: object) -> None:
        if not self._cancel.is_set():
            self._cancel.set()
            self.tell("cancelling… press Ctrl-C again to kill")
        elif not self._cancel.at_once:
            self._cancel.kill()
            self.tell("killing the running steps…")
        else:
            # Two were not enough: something hangs that no kernel is the cause of.
            raise KeyboardInterrupt

    def _told(self, number: int, frame: object) -> None:
        import signal

        if number == getattr(signal, "SIGHUP", None):
            _silence(self._terminals)
        if not self._cancel.is_set():
            self._cancel.set()
            self.tell(f"cancelling… ({signal.Signals(number).name})")
        else:
            self._cancel.kill()

    def __exit__(self, *error: object) -> None:
        import signal

        for number, handler in self._before.items():
            signal.signal(number, handler)


def _silence(streams: Iterable[TextIO]) -> None:
    """What is printed from now on goes nowhere, and is no error."""
    import os

    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _code(tally: Tally) -> int:
    """Exit code of a run: that of its first failure."""
    from cellway import errors

    if tally.run_status == "cancelled":
        return errors.Cancelled.exit_code
    failed = tally.failed()
    if not failed:
        return 0 if tally.run_status in {"completed", "cached"} else errors.StepError.exit_code
    kind = getattr(errors, str((failed[0].error or {}).get("kind")), errors.StepError)
    return int(kind.exit_code)


def _closing(console: Console, project: Project, tally: Tally, *, quiet: bool) -> None:
    """What failed, the summary, and where to look next."""
    for step_run in tally.failed():
        failure(console, project, step_run)
    numbers = {status: tally.number(status) for status in WORDS}
    lead = "" if quiet else "\n"
    console.print(lead + summary(console, numbers, tally.elapsed, _saved(project, tally)))
    if quiet:
        return
    hints: list[str] = []
    if tally.run_status == "cancelled":
        hints.append(f"cellway run --resume {tally.run}")
    elif tally.failed():
        hints += [f"cellway logs {tally.failed()[0].step}", f"cellway run --resume {tally.run}"]
    elif tally.number("completed"):
        hints += ["cellway artifacts", "cellway why STEP"]
        ran = [found for found in tally.step_runs.values() if found.status.value == "completed"]
        notebooks = next((found.notebook for found in ran if found.notebook), None)
        if notebooks is not None:
            console.print(console.style(f"executed notebooks: {_folder(project, notebooks)}", "dim"))
    if hints:
        where = _project_option(project)
        console.print(console.style(f"next: {' · '.join(hint + where for hint in hints)}", "dim"))


def _project_option(project: Project) -> str:
    """What a command has to be told that is typed here and does not name the notebook."""
    import os

    if type(project).find(".").root == project.root:
        return ""
    return f" --project {shown_path(os.fspath(project.root))}"


def _saved(project: Project, tally: Tally) -> float:
    """Seconds that the reused steps took when they ran."""
    producers = [found.producer for found in tally.step_runs.values() if found.status.value == "cached"]
    executed = [project.ledger.step_run(producer) for producer in producers if producer is not None]
    return sum(took(found) or 0.0 for found in executed)


def _folder(project: Project, notebook: str) -> str:
    return shown_path(str((project.state / notebook).parent)) + "/"


def failure(console: Console, project: Project, step_run: StepRun) -> None:
    """The author's own traceback, the cell, and where the executed notebook is; on the error stream."""
    error = step_run.error or {}
    err = console.err
    where = [f"step {step_run.step}"]
    if error.get("cell") is not None:
        where.append(f"cell {error['cell'] + 1}")
    if error.get("line") is not None:
        where.append(f"line {error['line']}")
    console.print(stream=err)
    head = console.style("error: ", "red", "bold", stream=err)
    console.print(f"{head}{', '.join(where)}: {error_line(error)}", stream=err)
    traceback = error.get("traceback") or ()
    text = traceback if isinstance(traceback, str) else "\n".join(traceback)
    if text:
        console.print(stream=err)
        console.print(text.rstrip(), stream=err)
        console.print(stream=err)
    if error.get("fix"):
        console.print(console.style("  fix: ", "green", "bold", stream=err) + str(error["fix"]), stream=err)
    if step_run.notebook:
        path = shown_path(str(project.state / step_run.notebook))
        console.print(console.style(f"executed notebook: {path}", "dim", stream=err), stream=err)
