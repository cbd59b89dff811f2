"""Notebook + names → :class:`~cellway.records.Pipeline`.

``build()`` never raises for what is wrong in the notebook: it collects every problem as a diagnostic, so that
``cellway check``
can show them all; ``require()`` turns the errors among them into a :class:`~cellway.errors.Refusal`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from cellway.errors import Place, Refusal
from cellway.pipeline.steps import Assembly, finish
from cellway.pipeline.timeline import Timeline
from cellway.records import Code, Diagnostic, Names, Notebook, Pipeline, Test

__all__ = ["build", "require"]


def build(notebook: Notebook, names: Sequence[Names]) -> Pipeline:
    """Steps with their edges, carried symbols and parameters.

    Args:
        notebook: as read; tags and options are already checked.
        names: one record per cell, as :func:`cellway.analysis.analyse` gives them.
    """
    timeline = Timeline(notebook, names)
    assemblies: dict[str, Assembly] = {}
    for name in timeline.cells:
        assembly = Assembly(name, timeline, assemblies)
        assembly.assemble()
        assemblies[name] = assembly
    _check_language(timeline)
    _check_interleaving(timeline, assemblies)
    _check_function_state(timeline, assemblies)
    order = list(assemblies)
    _check_after(timeline, assemblies, order)
    tests = _tests(timeline)
    steps = []
    for position, name in enumerate(order):
        following = [assemblies[other] for other in order[position + 1 :]]
        tested = {n for test, reads in tests for n in reads if order.index(test.step) >= position}
        later = {n for other in following for n in other.reads} | tested
        wanted = {n for other in following for n, provider in other.inputs.items() if provider == name}
        wanted |= {n for test, reads in tests if test.step == name for n in reads}
        steps.append(finish(assemblies[name], position, later, wanted, timeline.seeded))
    return Pipeline(
        name=PurePath(notebook.path).stem,
        source=notebook.path,
        kernel=notebook.kernel,
        language=notebook.language,
        steps=tuple(steps),
        parameters=tuple(timeline.parameters),
        tests=tuple(test for test, _ in tests),
        seeded=timeline.seeded,
        modules=tuple(dict.fromkeys(m for s in steps for c in (*s.carried, *s.cells) for m in c.modules)),
        diagnostics=tuple(sorted(timeline.diagnostics, key=lambda d: (d.level != "error", d.cell or 0, d.line or 0))),
    )


def require(pipeline: Pipeline, notebook: Notebook | None = None) -> None:
    """Refuse a pipeline that has errors.

    Raises:
        Refusal: with the first error's place and fix; its message counts the others.
    """
    errors = [d for d in pipeline.diagnostics if d.level == "error"]
    if not errors:
        return
    first = errors[0]
    more = f" (and {len(errors) - 1} more: see `cellway check`)" if len(errors) > 1 else ""
    place = None
    if first.cell is not None:
        place = Place(first.cell, first.line, _excerpt(notebook, first), first.step)
    raise Refusal(first.message + more, place=place, name=first.name, fix=first.fix)


def _excerpt(notebook: Notebook | None, diagnostic: Diagnostic) -> str:
    if notebook is None or diagnostic.cell is None or diagnostic.line is None:
        return ""
    lines = notebook.cells[diagnostic.cell].source.split("\n")
    return lines[diagnostic.line - 1] if diagnostic.line <= len(lines) else ""


def _check_language(timeline: Timeline) -> None:
    if timeline.notebook.language.lower() != "python":
        timeline.diagnostics.append(
            Diagnostic(
                "error",
                "language",
                f"the notebook's language is {timeline.notebook.language}; only Python notebooks can be converted",
                fix="choose a Python kernel",
            )
        )
    elif not timeline.cells and not any(d.level == "error" for d in timeline.diagnostics):
        timeline.diagnostics.append(
            Diagnostic(
                "error",
                "no-steps",
                "no cell is tagged as a step",
                fix="write `%%step NAME` as the first line of a cell, or let `cellway init` propose steps",
            )
        )


def _check_interleaving(timeline: Timeline, assemblies: dict[str, Assembly]) -> None:
    """A step whose cells stand on both sides of another step must not exchange values with it.

    The step runs as a whole, so the cell in between would see the end of it, or nothing of it.
    """
    for name, assembly in assemblies.items():
        first, last = assembly.cells[0].index, assembly.cells[-1].index
        if last - first < len(assembly.cells):
            continue
        for other, between in assemblies.items():
            inside = [cell.index for cell in between.cells if first < cell.index < last]
            if other == name or not inside:
                continue
            tail = [piece for piece in assembly.pieces if piece.cell.index > inside[0]]
            touched = {n for p in tail for n in (*p.statement.binds, *p.statement.may_bind)}
            touched |= {r.name for p in tail for r in (*p.statement.changes, *p.statement.may_change)}
            read = {r.name for p in tail for r in (*p.statement.reads, *p.statement.deferred, *p.statement.mentions)}
            clash = sorted((touched & set(between.reads)) | (read & set(between.writes)))
            for shared in clash[:1]:
                timeline.report(
                    "interleaved",
                    f"step {name} goes on here, below cell {inside[0] + 1} of step {other}, and both use `{shared}`",
                    tail[0],
                    name=shared,
                    step=name,
                    fix="give this cell a step name of its own",
                )


def _check_function_state(timeline: Timeline, assemblies: dict[str, Assembly]) -> None:
    """A function that remembers its calls would start anew in each step that carries it."""
    users: dict[tuple[int, int], list[str]] = {}
    for name, assembly in assemblies.items():
        own = (piece for piece in assembly.pieces if piece.statement.function is not None)
        for piece in (*assembly.symbols.values(), *own):
            users.setdefault(piece.position, []).append(name)
            function = piece.statement.function
            if function is None or not function.stateful or len(users[piece.position]) != 2:
                continue
            timeline.report(
                "function-state",
                f"`{function.name}` remembers earlier calls ({function.stateful}), and both step "
                f"{users[piece.position][0]} and step {name} use it; each would start anew",
                piece,
                name=function.name,
                step=name,
                fix="keep the state in a variable of its own, or use the function in one step only",
            )


def _check_after(timeline: Timeline, assemblies: dict[str, Assembly], order: list[str]) -> None:
    for name, assembly in assemblies.items():
        if assembly.options.each is not None:
            timeline.diagnostics.append(
                Diagnostic(
                    "error",
                    "each",
                    "--each (one run per item) is not available in this version",
                    assembly.cells[0].index,
                    1,
                    "each",
                    name,
                    fix="loop over the items inside the step",
                )
            )
        for other in assembly.options.after:
            if other in assemblies and order.index(other) >= order.index(name):
                timeline.diagnostics.append(
                    Diagnostic(
                        "error",
                        "after-later",
                        f"step {name} is to run after {other}, which stands below it in the notebook",
                        assembly.cells[0].index,
                        1,
                        other,
                        name,
                        fix=f"move the cells of {name} below those of {other}",
                    )
                )


def _tests(timeline: Timeline) -> list[tuple[Test, set[str]]]:
    found: list[tuple[Test, set[str]]] = []
    for cell in timeline.tests:
        if cell.step not in timeline.cells:
            continue
        names = timeline.names[cell.index]
        binds = dict.fromkeys(n for s in names.statements for n in s.binds)
        modules = dict.fromkeys(m for s in names.statements for m in s.modules)
        count = sum(test.step == cell.step for test, _ in found) + 1
        code = Code(
            "test",
            f"test {count}",
            tuple(binds),
            cell.body,
            names.fingerprint,
            cell.index,
            cell.offset + 1,
            cell.id,
            tuple(modules),
        )
        reads = {r.name for s in names.statements for r in (*s.reads, *s.deferred, *s.mentions)}
        found.append((Test(cell.step, code), reads))
    return found
