"""``cellway init``, ``check`` and ``convert``: from notebook to pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellway.cli.console import Console, count
from cellway.cli.parsing import Call
from cellway.errors import NotebookError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellway.project import Project
    from cellway.proposal import Proposal
    from cellway.records import Cell, Diagnostic, Pipeline

_LEVELS = {"error": "red", "warning": "yellow", "note": "cyan"}


def check(console: Console, call: Call) -> int:
    """``cellway check NOTEBOOK``; the exit code is 3 if the notebook does not become a pipeline."""
    from cellway.cli.places import project_of

    source = call.required()
    pipeline = project_of(call, source).check(source)
    errors = sum(found.level == "error" for found in pipeline.diagnostics)
    if console.json:
        console.data({"ok": not errors, "pipeline": pipeline.name, "steps": [step.name for step in pipeline.steps],
                      "parameters": pipeline.parameters, "diagnostics": pipeline.diagnostics})  # fmt: skip
        return NotebookError.exit_code if errors else 0
    diagnostics(console, pipeline.diagnostics)
    if pipeline.diagnostics:
        console.print()
    what = f"{count(len(pipeline.steps), 'step')}, {count(len(pipeline.parameters), 'parameter')}"
    if errors:
        head = console.style(f"not a pipeline yet: {count(errors, 'error')}", "red", "bold")
        console.print(f"{head} ({what})")
        return NotebookError.exit_code
    console.print(f"{console.style('ok', 'green', 'bold')}: {pipeline.name} is a pipeline of {what}")
    return 0


def diagnostics(console: Console, found: Sequence[Diagnostic]) -> None:
    """What ``check`` has to say, one after another: what, where, and the fix."""
    for diagnostic in found:
        where = []
        if diagnostic.step is not None:
            where.append(f"step {diagnostic.step}")
        if diagnostic.cell is not None:
            where.append(f"cell {diagnostic.cell + 1}")
        if diagnostic.line is not None:
            where.append(f"line {diagnostic.line}")
        head = console.style(diagnostic.level, _LEVELS.get(diagnostic.level, ""), "bold")
        place = console.style(", ".join(where), "bold")
        code = console.style(f" [{diagnostic.code}]", "dim")
        console.print(f"{head}: {place}{': ' if place else ''}{diagnostic.message}{code}")
        if diagnostic.fix:
            console.print(f"  {console.style('fix:', 'green')} {diagnostic.fix}")


def convert(console: Console, call: Call) -> int:
    """``cellway convert NOTEBOOK -o DIR``."""
    from pathlib import Path

    from cellway.cli.places import project_of

    source, target = call.required(), call.text("--output")
    if target is None:
        stem = Path(source).stem
        raise UsageError(
            "`cellway convert` needs the folder to write",
            name="--output",
            fix=f"`cellway convert {source} -o {stem}-pipeline`",
        )
    standalone = call.flag("--standalone")
    folder = project_of(call, source).convert(source, target, standalone=standalone, overwrite=call.flag("--overwrite"))
    files = sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())
    if console.json:
        console.data({"folder": str(folder), "files": files, "standalone": standalone})
        return 0
    console.print(f"{console.style('written:', 'green')} {target}, {count(len(files), 'file')}")
    for name in dict.fromkeys(name.partition("/")[0] + "/" * ("/" in name) for name in files):
        console.print(f"  {name}")
    run = f"cd {target} && python run.py" if standalone else f"cellway run {target}"
    console.print(console.style(f"next: {run}", "dim"))
    return 0


# --- init ------------------------------------------------------------------------------------------------------------


def init(console: Console, call: Call) -> int:
    """``cellway init NOTEBOOK``: propose, show, and write if that is wanted."""
    from cellway.cli.places import project_of

    source = call.required()
    style = "tags" if call.flag("--tags") else "magics"
    project = project_of(call, source)
    proposals = project.propose(source)
    written = False
    if call.flag("--write") and proposals:
        project.apply(source, proposals, style)
        written = True
    if console.json:
        console.data({"proposals": proposals, "written": written, "style": style})
        return 0
    if not proposals:
        console.print("nothing to propose: every cell that could be a step is tagged")
        return 0
    _table(console, proposals, project.read(source).cells)
    _graph(console, project.check(source) if written else _preview(project, source, proposals, style))
    if not written and _asked(console, f"write these {style} into {source}? [y/N] "):
        project.apply(source, proposals, style)
        written = True
    _closing(console, source, written, style)
    return 0


def _table(console: Console, proposals: Sequence[Proposal], cells: Sequence[Cell]) -> None:
    rows = []
    for proposal in proposals:
        name = f"{proposal.role.value} {proposal.step}" if proposal.step else proposal.role.value
        lines = [line for line in cells[proposal.cell].body.split("\n") if line.strip()]
        rows.append([str(proposal.cell + 1), name, lines[0] if lines else "", proposal.reason])
    console.table(rows, ("cell", "becomes", "begins", "because"), styles=("dim", "bold", "", "dim"), wide=2)


def _preview(project: Project, source: str, proposals: Sequence[Proposal], style: str) -> Pipeline:
    """The pipeline as it would be: of a tagged copy."""
    import shutil
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, Path(source).name)
        shutil.copyfile(source, copy)
        project.apply(copy, proposals, style)
        return project.check(copy)


def _graph(console: Console, pipeline: Pipeline) -> None:
    from cellway.drawing import draw

    if pipeline.steps:
        console.print()
        console.print(draw(pipeline))
    problems = [found for found in pipeline.diagnostics if found.level != "note"]
    if problems:
        console.print()
        diagnostics(console, problems)


def _asked(console: Console, question: str) -> bool:
    """Ask on a terminal; elsewhere nobody would answer."""
    import sys

    if not (console.is_terminal() and sys.stdin is not None and sys.stdin.isatty()):
        return False
    console.print()
    console.print(console.style(question, "bold"), end="")
    console.out.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _closing(console: Console, source: str, written: bool, style: str) -> None:
    console.print()
    if written:
        console.print(f"{console.style('written:', 'green')} {source}")
        console.print(console.style(f"next: cellway check {source} · cellway run {source}", "dim"))
    else:
        tags = " --tags" if style == "tags" else ""
        console.print("nothing is written yet")
        console.print(console.style(f"next: cellway init {source} --write{tags}", "dim"))
