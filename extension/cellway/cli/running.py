"""``cellway run``.

When nothing has to run, this is all that is imported beside the table of commands: no typing, no records.
"""

from __future__ import annotations

import os

from cellway.cli.console import Console, summary
from cellway.cli.parsing import Call
from cellway.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cellway.project import Answer, Project
    from cellway.records import Pipeline

_SELECTION = ("--only", "--from", "--until", "--no-cache")


def run(console: Console, call: Call) -> int:
    """``cellway run NOTEBOOK`` and ``cellway run --resume RUN``."""
    import time

    began = time.perf_counter()
    source, resumed = call.word(), call.text("--resume")
    _check_call(call, source, resumed)
    seed = call.whole("--seed")
    if source is None:
        return _resume(console, call, resumed or "last")
    from cellway.project import Project

    project = Project.find(source) if not call.flag("--project") else _chosen(call, source)
    pipeline, parameters = _parameters(console, call, project, source)
    if not any(call.flag(name) for name in _SELECTION):
        answer = project.answer(source, parameters, seed=seed)
        if answer is not None:
            return _answered(console, answer, time.perf_counter() - began)
    from cellway.backends import Cancellation
    from cellway.cli import following, given

    cancel = Cancellation()
    events = project.run(
        source,
        parameters,
        given.selection(call),
        jobs=call.whole("--jobs", 1),
        keep_going=True if call.flag("--keep-going") else None,
        seed=seed,
        cancel=cancel,
    )
    steps = (pipeline or project.pipeline(source)).steps
    return following.follow(console, project, events, cancel, [step.name for step in steps], call.flag("--quiet"))


def _resume(console: Console, call: Call, ref: str) -> int:
    from cellway.backends import Cancellation
    from cellway.cli import following
    from cellway.cli.places import project_here

    project = project_here(console, call)
    run = project.run_record(ref)
    steps = project.pipeline(run.source).steps
    cancel = Cancellation()
    events = project.resume(run.id, jobs=call.whole("--jobs", 1), cancel=cancel)
    return following.follow(console, project, events, cancel, [step.name for step in steps], call.flag("--quiet"))


def _chosen(call: Call, source: str) -> Project:
    from cellway.cli.places import project_of

    return project_of(call, source)


def _parameters(console: Console, call: Call, project: Project, source: str) -> tuple[Pipeline | None, dict[str, Any]]:
    """Parameter values; where some are given, the notebook is read for their types."""
    given_here = call.flag("--parameter") or call.flag("--parameters")
    if not given_here and not any(name.startswith("CELLWAY_PARAM_") for name in os.environ):
        return None, {}
    from cellway.cli import given

    pipeline = project.pipeline(source)
    return pipeline, given.parameters(call, pipeline.parameters, console)


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


def _answered(console: Console, answer: Answer, elapsed: float) -> int:
    """Nothing ran, and nothing had to be read to know it."""
    if console.json:
        steps = [{"step": step, "seconds": took} for step, took in answer.steps]
        console.data({"kind": "run-cached", "run": answer.run, "steps": steps}, line=True)
        return 0
    console.print(summary(console, {"cached": len(answer.steps)}, elapsed, sum(took for _, took in answer.steps)))
    return 0
