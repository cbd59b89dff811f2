"""A project for tests of execution, and small pipelines built by hand. Imports nothing heavy: a test relies on it."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cellway import execution, fingerprint, planning
from cellway.backends.local import LocalBackend
from cellway.execution import RunOptions
from cellway.ledger import Ledger
from cellway.records import Code, Event, Pipeline, Run, Status, Step, StepOptions, StepRun
from cellway.stores.local import LocalStore


def step(name: str, source: str, reads: str = "", writes: str = "", may_change: str = "", **more: Any) -> Step:
    """A step as analysis would give it; names are separated by blanks."""
    code = Code("cell", "cell 1", tuple(writes.split()), source, fingerprint.text("cell", source), cell=0, line=1)
    options = StepOptions(**more.pop("options", {}))
    return Step(
        name,
        0,
        (code,),
        reads=tuple(reads.split()),
        writes=tuple(writes.split()),
        may_change=tuple(may_change.split()),
        options=options,
        **more,
    )


def pipeline(*steps: Step, seeded: bool = False) -> Pipeline:
    """Steps in order, with what follows from their place: position, edges, what is read later."""
    done: list[Step] = []
    for position, each in enumerate(steps):
        inputs = {n: p.name for n in each.reads for p in done if n in p.writes}
        later = tuple(dict.fromkeys(n for other in steps[position + 1 :] for n in other.reads))
        after = tuple(dict.fromkeys((*each.after, *inputs.values())))
        done.append(
            replace(
                each,
                position=position,
                inputs=inputs,
                after=after,
                later=later,
                outputs=each.outputs or tuple(n for n in each.writes if n in later),
                draws=seeded and each.options.seed is None,
            )
        )
    return Pipeline("p", "nb.ipynb", "python3", "python", tuple(done), seeded=seeded)


def notebook(step: Step, providers: Mapping[str, str], outputs: tuple[str, ...]) -> dict[str, Any]:
    """The step notebook, with the generated cells of the hand-over."""
    loaded = [name for name in step.reads if name in providers]
    target = f"{', '.join(loaded)} = " if loaded else ""
    parameters = "\n".join([*(f"{name} = None" for name in step.parameters), 'handover = "."'])
    sources = [
        ("parameters", parameters),
        ("begin", f"from cellway_magics import artifacts\n\nartifacts.begin(handover, step={step.name!r})"),
        ("inputs", f"{target}artifacts.load({', '.join(map(repr, loaded))})"),
        ("cell", step.cells[0].source),
        ("outputs", f"artifacts.save(globals(), {', '.join(map(repr, outputs))})"),
    ]
    cells: list[dict[str, Any]] = [
        {
            "cell_type": "code",
            "id": f"cell-{index}",
            "metadata": {
                "cellway": {"role": role, **({"cell": 0, "offset": 0} if role == "cell" else {})},
                "tags": ["parameters"] if role == "parameters" else [],
            },
            "source": source,
            "outputs": [],
            "execution_count": None,
        }
        for index, (role, source) in enumerate(sources)
    ]
    kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernelspec}, "cells": cells}


class World:
    """A project's folder with ledger and store; :meth:`run` is what project.py does."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / ".cellway"
        self.ledger = Ledger(str(self.folder / "ledger.sqlite"))
        self.store = LocalStore(self.folder / "store")
        self.runs = 0
        self.backend: Any = LocalBackend()
        self.parameters: dict[str, Any] = {}
        self.selection = planning.Selection()
        self.seed = 0

    def events(self, book: Pipeline, run_id: str | None = None, **options: Any) -> Iterator[Event]:
        """What project.py does with the events."""
        for event in self.bare(book, run_id, **options):
            self.ledger.append(event)
            yield event

    def bare(self, book: Pipeline, run_id: str | None = None, **options: Any) -> Iterator[Event]:
        self.runs += 1
        context = planning.Context(
            str(self.root),
            str(self.root / "nb.ipynb"),
            self.ledger,
            self.store.has,
            self.parameters,
            kernel="python3",
            seed=self.seed,
            selection=self.selection,
            interpreter=sys.executable,
        )
        run = Run(
            run_id or f"run-{os.getpid()}-{self.runs}",
            book.name,
            str(self.root / "nb.ipynb"),
            Status.PENDING,
            started=time.time(),
            pid=os.getpid(),
        )
        return execution.run(
            book,
            run,
            context=context,
            store=self.store,
            recall=self.ledger.step_run,
            backend_for=lambda step: self.backend,
            make_notebook=notebook,
            folder=self.folder,
            options=RunOptions(**{"pause": 0.01, "jobs": 3, **options}),
        )

    def run(self, book: Pipeline, **options: Any) -> list[Event]:
        """All events of a run."""
        return list(self.events(book, **options))

    def value(self, events: list[Event], step: str, name: str) -> Any:
        artifact = {a.name: a for a in final(events)[step].artifacts}[name]
        return json.loads(Path(self.store.path(artifact.digest)).read_bytes())


def final(events: list[Event]) -> dict[str, StepRun]:
    """The last word on each step."""
    return {e.step: e.step_run for e in events if e.kind == "step-finished" and e.step and e.step_run}


def statuses(events: list[Event]) -> dict[str, str]:
    return {name: step_run.status.value for name, step_run in final(events).items()}


def kinds(events: list[Event], *but: str) -> list[tuple[str, str | None]]:
    return [(e.kind, e.step) for e in events if e.kind not in {"cell", "output", *but}]


def chain() -> Pipeline:
    return pipeline(
        step("a", "x = 1", writes="x"), step("b", "y = x + 1", reads="x", writes="y"), step("c", "print(y)", reads="y")
    )


SLEEPING = """import os, pathlib, time
pathlib.Path('pid').write_text(str(os.getpid()))
print('here', flush=True)
time.sleep(600)
y = x
"""


def sleeping() -> Pipeline:
    return pipeline(
        step("a", "x = 1", writes="x"), step("b", SLEEPING, reads="x", writes="y"), step("c", "y", reads="y")
    )
