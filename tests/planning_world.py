"""Pipelines, step runs and a project folder for the tests of ledger and planning.

`World.run` does what execution does with planning and ledger, with values given by the test in the place of kernels.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cellway import fingerprint, planning
from cellway.ledger import Ledger
from cellway.records import (
    RANDOM,
    Artifact,
    Code,
    Event,
    Facts,
    FileRead,
    Key,
    Parameter,
    Pipeline,
    Plan,
    Run,
    Status,
    Step,
    StepOptions,
    StepRun,
)

_numbers = itertools.count(1)


def code(source: str, name: str = "cell 1", role: str = "cell", **more: Any) -> Code:
    return Code(role, name, more.pop("binds", ()), source, fingerprint.text("test", source), 0, 1, **more)


def symbol(source: str, name: str, **more: Any) -> Code:
    return code(source, name, "symbol", binds=(name,), **more)


def step(name: str, source: str = "", reads: str = "", writes: str = "", **more: Any) -> Step:
    cells = more.pop("cells", None) or (code(source or f"# {name}", modules=more.pop("modules", ())),)
    options = StepOptions(**more.pop("options", {}))
    return Step(name, 0, cells, reads=tuple(reads.split()), writes=tuple(writes.split()), options=options, **more)


def pipeline(*steps: Step, parameters: Sequence[Parameter] = (), **more: Any) -> Pipeline:
    """Positions, `later`, static inputs and outputs are filled in, as `pipeline.build` does."""
    placed = []
    for position, each in enumerate(steps):
        later = tuple(dict.fromkeys(name for following in steps[position + 1 :] for name in following.reads))
        outputs = tuple(name for name in each.writes if name in later) + each.outputs
        placed.append(replace(each, position=position, later=later, outputs=outputs))
    static = planning.resolve(Pipeline("nb", "nb.ipynb", None, "python", tuple(placed)), {})
    placed = [replace(each, inputs=static[each.name], after=tuple(set(static[each.name].values()))) for each in placed]
    return Pipeline("nb", "nb.ipynb", None, "python", tuple(placed), tuple(parameters), **more)


def artifact(name: str, content: str, **more: Any) -> Artifact:
    digest = fingerprint.text("blob", content)
    return Artifact(name, fingerprint.text("artifact", content), digest, "plain", len(content), "builtins.str", **more)


def run_record(id_: str, **more: Any) -> Run:
    given = {"status": Status.RUNNING, "started": 1000.0, "host": socket.gethostname(), "pid": os.getpid(), **more}
    return Run(id_, given.pop("pipeline", "nb"), given.pop("source", "nb.ipynb"), **given)


def step_run(run: str, name: str, key: str | Key | None = "k", **more: Any) -> StepRun:
    key = Key(key, {"code/cell 1": key}) if isinstance(key, str) else key
    given = {"status": Status.COMPLETED, "key": key, "code": f"code-{name}", **more}
    return StepRun(given.pop("id", f"{run}-{name}-{next(_numbers):06d}"), run, name, **given)


def finished(run: Run, done: StepRun) -> Event:
    return Event("step-finished", 1001.0, run, done.step, done)


@functools.cache
def shared_home() -> Path:
    """Where what is known of interpreters is kept; asking one takes a second, so the tests of a process share it."""
    folder = tempfile.mkdtemp(prefix="cellway-tests-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


class World:
    """A project folder with a notebook, a ledger and a store of which only the digests matter."""

    def __init__(self, root: Path, home: Path | None = None) -> None:
        self.root = root
        self.home = home or shared_home()
        self.ledger = Ledger(str(root / ".cellway" / "ledger.sqlite"))
        self.store: set[str] = set()
        self.ran: list[str] = []

    def context(self, pipe: Pipeline, **more: Any) -> planning.Context:
        parameters = {parameter.name: parameter.default for parameter in pipe.parameters} | more.pop("parameters", {})
        source = str(self.root / pipe.source)
        return planning.Context(
            str(self.root),
            source,
            self.ledger,
            self.store.__contains__,
            parameters,
            home=str(self.home),
            **more,
        )

    def plan(self, pipe: Pipeline, **more: Any) -> Plan:
        return planning.plan(pipe, self.context(pipe, **more))

    def statuses(self, pipe: Pipeline, **more: Any) -> str:
        """`c` cached, `p` pending, `s` skipped: one letter for each step."""
        return "".join(planned.status.value[0] for planned in self.plan(pipe, **more).steps)

    def reason(self, pipe: Pipeline, name: str, **more: Any) -> str:
        return next(planned.reason for planned in self.plan(pipe, **more).steps if planned.step == name)

    def run(
        self,
        pipe: Pipeline,
        values: Mapping[str, str] | Callable[[Step, Mapping[str, str]], Mapping[str, str]] | None = None,
        *,
        observed: Mapping[str, Sequence[str]] | None = None,
        facts: Mapping[str, Facts] | None = None,
        environment: Mapping[str, str] | None = None,
        fail: str | None = None,
        writes: Mapping[str, Mapping[str, str]] | None = None,
        **more: Any,
    ) -> list[str]:
        """Run what has to run, in notebook order; the names of the steps that ran.

        ``observed``: files that a step opens; ``writes``: contents of the files that it writes.
        """
        context = self.context(pipe, **more)
        record = run_record(f"r{next(_numbers):06d}", source=context.source)
        self.ledger.append(Event("run-started", 1000.0, record))
        known = dict(planning.facts(pipe, self.ledger, context.source))
        made: dict[str, dict[str, Artifact]] = {}
        ran = []
        for each in pipe.steps:
            resolution = planning.resolve(pipe, known)
            needed = planning.outputs(pipe, resolution)[each.name]
            providers = {name: source for name, source in resolution[each.name].items() if name in made.get(source, {})}
            inputs = {name: made[source][name] for name, source in providers.items()}
            planned = planning.decide(
                each,
                context,
                inputs,
                outputs=needed,
                providers=providers,
                handed=planning.Handed(pipe, known),
            )
            if planned.status is Status.CACHED:
                reused = self.ledger.step_run(str(planned.step_run))
                made[each.name] = {item.name: item for item in reused.artifacts}
                done = step_run(record.id, each.name, status=Status.CACHED, key=planned.key, producer=reused.id)
            else:
                ran.append(each.name)
                showed = (facts or {}).get(each.name, Facts())
                known[each.name] = showed
                names = dict.fromkeys((*needed, *showed.changed, *((RANDOM,) if showed.draws else ())))
                if callable(values):
                    given = values(each, {name: item.fingerprint for name, item in inputs.items()})
                else:
                    given = values or {}
                outcome = {name: artifact(name, given.get(name, f"{each.name}.{name}")) for name in names}
                made[each.name] = outcome
                self.store.update(item.digest for item in outcome.values())
                context.refresh()
                reads = [
                    FileRead(path, context.files.digest(context.files.located(path)))
                    for path in (observed or {}).get(each.name, ())
                ]
                written = []
                for path, content in (writes or {}).get(each.name, {}).items():
                    (self.root / path).write_text(content)
                    written.append(FileRead(path, fingerprint.file(str(self.root / path))))
                self.ledger.put_sources(planning.sources(each, context))
                done = step_run(
                    record.id,
                    each.name,
                    status=Status.FAILED if fail == each.name else Status.COMPLETED,
                    key=planned.key,
                    code=planning.code_digest(each),
                    inputs={name: item.fingerprint for name, item in inputs.items()},
                    providers=providers,
                    artifacts=tuple(outcome.values()),
                    files=tuple(reads),
                    facts=showed,
                    environment=environment or {},
                    watched=planning.watch(each),
                    written=tuple(written),
                    started=1000.0,
                    ended=1002.5,
                )
            # What a step did not hand over this time, it cannot provide: then the value is the earlier step's.
            shown, there = known[each.name], made[each.name]
            changed = tuple(name for name in shown.changed if name in there)
            known[each.name] = replace(shown, changed=changed, draws=shown.draws and RANDOM in there)
            self.ledger.append(finished(record, done))
            if fail == each.name:
                break
        context.close()
        self.ledger.append(Event("run-finished", 1010.0, record))
        self.ran += ran
        return ran
