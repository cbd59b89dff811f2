"""``cellway runs``, ``why`` and ``logs``: what happened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellway.cli.console import WORDS, Console, seconds, shown_path, when, without_styles
from cellway.cli.parsing import Call, similar
from cellway.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellway.project import Project
    from cellway.records import Run, StepRun


def runs(console: Console, call: Call) -> int:
    """``cellway runs [NOTEBOOK]``."""
    from cellway.cli.places import project_here, project_of

    source, status = call.word(), call.text("--status")
    if status is not None and status not in WORDS:
        meant = similar(status, WORDS)
        raise UsageError(
            f"`--status {status}`: there is no such status",
            name="--status",
            fix=f"did you mean `{meant}`?" if meant else f"one of {', '.join(WORDS)}",
        )
    found = (project_of(call, source) if source else project_here(console, call)).runs(
        call.whole("--limit", 1) or 20, status=status, source=source
    )
    if console.json:
        console.data(found)
        return 0
    if not found:
        console.print("no runs yet" if status is None else f"no {status} runs")
        return 0
    differing = _differing(found)
    rows = []
    for run in found:
        mark, _, _ = WORDS[run.status.value]
        time = seconds(run.ended - run.started) if run.ended is not None else ""
        shown = {name: value for name, value in run.parameters.items() if (run.source, name) in differing}
        parameters = ", ".join(f"{name}={value!r}" for name, value in shown.items())
        rows.append([mark, run.id, run.pipeline, run.status.value, when(run.started), time, parameters])
    head = ("", "run", "pipeline", "status", "started", "took", "parameters that differ" if differing else "")
    console.table(rows, head, styles=("", "bold", "", "", "dim", "dim", ""))
    return 0


def _differing(found: Sequence[Run]) -> set[tuple[str, str]]:
    """Notebook and name of the parameters that do not have the same value in all of these runs."""
    first: dict[tuple[str, str], object] = {}
    differing = set()
    for run in found:
        for name, value in run.parameters.items():
            if first.setdefault((run.source, name), value) != value:
                differing.add((run.source, name))
    return differing


def why(console: Console, call: Call) -> int:
    """``cellway why STEP [--run RUN]``."""
    from cellway.cli.following import error_line, took
    from cellway.cli.places import project_here
    from cellway.cli.planning import DIFF_LINES, changes

    project = project_here(console, call)
    found = project.why(call.required(), call.text("--run") or "last")
    if console.json:
        console.data(found)
        return 0
    mark, word, style = WORDS[found.status.value]
    time = took(found)
    head = f"{console.style(mark, style)} {console.style(found.step, 'bold')} {console.style(word, style)}"
    console.print(f"{head} in run {found.run}{f', {seconds(time)}' if time is not None else ''}")
    console.print(f"  {found.reason or 'no reason was recorded'}")
    for change in found.changes:
        if change.text and change.text != found.reason:
            console.print(f"  · {change.text}")
    if found.error:
        console.print(console.style(f"  {error_line(found.error)}", "red"))
    changes(console, found.step, found.changes, None if call.flag("--diff") else DIFF_LINES)
    _details(console, project, found)
    return 0


def _details(console: Console, project: Project, found: StepRun) -> None:
    rows = []
    for name, fingerprint in found.inputs.items():
        provider = found.providers.get(name)
        rows.append(["input", name, f"from {provider}, " * bool(provider) + fingerprint[:12]])
    rows += [["file", file.path, file.digest[:12] or "was not there"] for file in found.files]
    if found.notebook is not None:
        rows.append(["notebook", shown_path(str(project.state / found.notebook)), ""])
    if rows:
        console.print()
        console.table(rows, styles=("dim", "", "dim"))


def logs(console: Console, call: Call) -> int:
    """``cellway logs [STEP] [--run RUN]``."""
    from cellway.cli.places import project_here

    project, run = project_here(console, call), call.text("--run") or "last"
    step = call.word()
    # A step that was left out has printed nothing.
    names = [step] if step else [found.step for found in project.step_runs(run) if found.notebook or found.producer]
    texts = {name: project.log(name, run) for name in names}
    if console.json:
        console.data({name: without_styles(text) for name, text in texts.items()})
        return 0
    for name, text in texts.items():
        # Progress bars draw over themselves: what they came to is enough.
        shown = "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n"))
        if step is None:
            console.print(
                console.style(f"─── {name} ", "bold")
                + console.style("─" * max(console.width - len(name) - 5, 0), "dim")
            )
        if shown.strip():
            console.print(shown.rstrip("\n"))
        elif step is not None:
            console.note(f"step {name} printed nothing")
    return 0
