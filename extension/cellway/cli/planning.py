"""``cellway plan``: what a run would do, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellway.cli.console import WORDS, Console, count, seconds
from cellway.cli.parsing import Call

if TYPE_CHECKING:
    from cellway.records import Change, PlannedStep

DIFF_LINES = 12
"""Lines of a difference that are shown without ``--diff``."""


def plan(console: Console, call: Call) -> int:
    """``cellway plan NOTEBOOK``."""
    from cellway.cli import given
    from cellway.cli.places import project_of

    source = call.required()
    project = project_of(call, source)
    known = project.pipeline(source).parameters
    found = project.plan(
        source, given.parameters(call, known, console), given.selection(call), seed=call.whole("--seed")
    )
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
