"""``cellway plan`` and ``cellway run``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cellway.cli.console import WORDS, Console, count, seconds, shown_path
from cellway.cli.parsing import Call
from cellway.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cellway.backends import Cancellation
    from cellway.cli.following import Follower, Tally
    from cellway.project import Answer, Project
    from cellway.records import Change, Event, PlannedStep, StepRun

DIFF_LINES = 12
"""Lines of a difference that are shown without ``--diff``."""


# --- plan ------------------------------------------------------------------------------------------------------------


def plan(console: Console, call: Call) -> int:
    """``cellway plan NOTEBOOK``."""
    from cellway.cli import given
    from cellway.cli.places import project_of

    source = call.required()
    project = project_of(call, source)
    known = project.pipeline(source).parameters if given.wants_types(call) else ()
    found = project.plan(source, given.parameters(call, known, console), given.selection(call), **_seed(call))
    picture = call.text("--svg")
    if picture is not None:
        from cellway.cli.showing import write
        from cellway.drawing import draw

        states = {step.step: step.status for step in found.steps}
        notes = {step.step: step.reason for step in found.steps}
        write(picture, draw(project.check(source), "svg", states=states, notes=notes).encode())
    if console.json:
        console.data(found)
        return 0
    rows = []
    for step in found.steps:
        mark, word, _ = WORDS[step.status.value]
        rows.append([mark, step.step, word, seconds(step.seconds), step.reason])
    console.table(rows, styles=("", "bold", "", "dim", "dim"))
    for step in found.steps:
        changes(console, step.step, step.changes, None if call.flag("--diff") else DIFF_LINES)
    console.print()
    console.print(_planned(console, list(found.steps)))
    if picture is not None:
        console.print(f"{console.style('written:', 'green')} {picture}")
    return 0


def _planned(console: Console, steps: list[PlannedStep]) -> str:
    numbers = {status: [s for s in steps if s.status.value == status] for status in ("pending", "cached", "skipped")}
    parts = []
    for status, found in numbers.items():
        if found:
            _, word, style = WORDS[status]
            parts.append(console.style(f"{len(found)} {word}", style))
    text = f"{count(len(steps), 'step')}: {', '.join(parts) or 'nothing'}"
    times = [step.seconds for step in numbers["pending"]]
    if times and all(value is not None for value in times):
        text += f" · {seconds(sum(value or 0.0 for value in times))} when they last ran"
    return text


def changes(console: Console, step: str, found: tuple[Change, ...], limit: int | None) -> None:
    """The code that changed, as far as the changes of a step are code."""
    for change in found:
        if change.diff:
            console.print()
            console.print(console.style(step, "bold") + f": {change.text}")
            console.diff(change.diff, limit=limit, indent="  ")


# --- run -------------------------------------------------------------------------------------------------------------


def run(console: Console, call: Call) -> int:
    """``cellway run NOTEBOOK`` and ``cellway run --resume RUN``."""
    import time

    began = time.perf_counter()
    source, resumed = call.word(), call.text("--resume")
    _check_call(call, source, resumed)
    if source is None:
        return _resume(console, call, resumed or "last")
    from cellway.cli import given
    from cellway.cli.places import project_of

    project = project_of(call, source)
    pipeline = project.pipeline(source) if given.wants_types(call) else None
    parameters = given.parameters(call, pipeline.parameters, console) if pipeline is not None else {}
    if not given.selects(call):
        answer = project.answer(source, parameters, **_seed(call))
        if answer is not None:
            return _answered(console, answer, time.perf_counter() - began)
    steps = tuple(step.name for step in (pipeline or project.pipeline(source)).steps)
    cancel = _cancellation()
    keep = True if call.flag("--keep-going") else None
    events = project.run(
        source, parameters, given.selection(call), jobs=_jobs(call), keep_going=keep, cancel=cancel, **_seed(call)
    )
    return _follow(console, call, project, events, cancel, steps)


def _resume(console: Console, call: Call, ref: str) -> int:
    from cellway.cli.places import project_here

    project = project_here(console, call)
    run = project.run_record(ref)
    steps = tuple(step.name for step in project.pipeline(run.source).steps)
    cancel = _cancellation()
    return _follow(console, call, project, project.resume(run.id, jobs=_jobs(call), cancel=cancel), cancel, steps)


def _check_call(call: Call, source: str | None, resumed: str | None) -> None:
    if resumed is None:
        if source is None:
            raise UsageError(
                "`cellway run` needs a notebook", name="NOTEBOOK", fix="`cellway run NOTEBOOK`, or `--resume RUN`"
            )
        return
    fixed = ("--parameter", "--parameters", "--from", "--until", "--only", "--no-cache", "--seed", "--keep-going")
    clash = source or next((name for name in fixed if call.flag(name)), None)
    if clash is not None:
        raise UsageError(
            f"`--resume` continues a run as it was begun: `{clash}` cannot be given with it",
            name=clash,
            fix=f"`cellway run --resume {resumed}`",
        )


def _seed(call: Call) -> dict[str, Any]:
    seed = call.whole("--seed")
    return {} if seed is None else {"seed": seed}


def _jobs(call: Call) -> int | None:
    return call.whole("--jobs", 1)


def _cancellation() -> Cancellation:
    from cellway.backends import Cancellation

    return Cancellation()


def _answered(console: Console, answer: Answer, elapsed: float) -> int:
    """Nothing ran, and nothing had to be read to know it."""
    from cellway.cli.following import summary

    if console.json:
        steps = [{"step": step, "seconds": took} for step, took in answer.steps]
        console.data({"kind": "run-cached", "run": answer.run, "steps": steps}, line=True)
        return 0
    console.print(summary(console, {"cached": len(answer.steps)}, elapsed, sum(took for _, took in answer.steps)))
    return 0


def _follow(
    console: Console,
    call: Call,
    project: Project,
    events: Iterator[Event],
    cancel: Cancellation,
    steps: tuple[str, ...],
) -> int:
    """Show a run while it goes on, then what came of it."""
    from cellway.cli.following import Tally

    tally = Tally(steps)
    with _Interrupts(console, cancel) as interrupts:
        follower = _follower(console, call, tally)
        interrupts.follower = follower
        try:
            for event in events:
                tally.add(event)
                follower.show(event)
        finally:
            follower.close()
    if not console.json:
        _closing(console, project, tally, quiet=call.flag("--quiet"))
    return _code(tally)


def _follower(console: Console, call: Call, tally: Tally) -> Follower:
    from cellway.cli import following

    if console.json:
        return following.Stream(console)
    if call.flag("--quiet"):
        return following.Silence()
    if console.moves():
        from cellway.cli.live import LiveView

        return LiveView(console, tally)
    return following.Lines(console, tally.status)


class _Interrupts:
    """Ctrl-C while something runs: the first asks the steps to stop, the second ends them at once."""

    def __init__(self, console: Console, cancel: Cancellation) -> None:
        self._console = console
        self._cancel = cancel
        self._before: Any = None
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
            self._before = signal.signal(signal.SIGINT, self._pressed)
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

    def __exit__(self, *error: object) -> None:
        import signal

        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)


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
    from cellway.cli.following import summary

    for step_run in tally.failed():
        failure(console, project, step_run)
    numbers = {status: tally.number(status) for status in WORDS}
    lead = "" if quiet else "\n"
    console.print(lead + summary(console, numbers, tally.elapsed, tally.saved))
    if quiet:
        return
    hints = []
    if tally.run_status == "cancelled":
        hints.append(f"cellway run --resume {tally.run}")
    elif tally.failed():
        hints += [f"cellway logs {tally.failed()[0].step}", f"cellway run --resume {tally.run}"]
    elif tally.number("completed"):
        hints += ["cellway artifacts", "cellway why STEP"]
        notebooks = next((found.notebook for found in tally.step_runs.values() if found.notebook), None)
        if notebooks is not None:
            console.print(console.style(f"executed notebooks: {_folder(project, notebooks)}", "dim"))
    if hints:
        console.print(console.style(f"next: {' · '.join(hints)}", "dim"))


def _folder(project: Project, notebook: str) -> str:
    return shown_path(str((project.state / notebook).parent)) + "/"


def failure(console: Console, project: Project, step_run: StepRun) -> None:
    """The author's own traceback, the cell, and where the executed notebook is; on the error stream."""
    from cellway.cli.console import without_styles
    from cellway.cli.following import error_line

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
        console.print((text if console.colours(err) else without_styles(text)).rstrip(), stream=err)
        console.print(stream=err)
    if error.get("fix"):
        console.print(console.style("  fix: ", "green", "bold", stream=err) + str(error["fix"]), stream=err)
    if step_run.notebook:
        path = shown_path(str(project.state / step_run.notebook))
        console.print(console.style(f"executed notebook: {path}", "dim", stream=err), stream=err)
