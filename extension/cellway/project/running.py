"""Runs of a pipeline: what is put together for them, and every event into the ledger before anyone sees it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from cellway.errors import UsageError
from cellway.project import answering
from cellway.project.answering import process, run_id

if TYPE_CHECKING:
    import threading

    from cellway.planning import Context, Selection
    from cellway.project import Project
    from cellway.records import Event, Pipeline, Run, Step, StepRun


def run(
    project: Project,
    source: str | os.PathLike[str],
    parameters: Mapping[str, Any] | None = None,
    selection: Selection | None = None,
    *,
    jobs: int | None = None,
    keep_going: bool | None = None,
    seed: int | None = None,
    cancel: threading.Event | None = None,
) -> Iterator[Event]:
    """Run a pipeline; each event is in the ledger before it is yielded.

    Args:
        source: notebook or converted folder.
        parameters: values, or texts that are read as the parameters' types.
        selection: which steps, and which of them anew; all by default.
        jobs: steps side by side.
        keep_going: after a failure, go on with steps that do not depend on it.
        seed: of a notebook that seeds nothing.
        cancel: set it to cancel.

    Raises:
        NotebookError: the notebook cannot be a pipeline; before the first event.
        UsageError: a parameter, step or setting is wrong; before the first event.
    """
    from cellway.planning import Selection
    from cellway.records import Run, Status

    began = time.time()
    pipeline = project.pipeline(source)
    selection = selection or Selection()
    context = context_of(project, pipeline, parameters, selection, seed)
    options = {
        "jobs": jobs,
        "keep_going": keep_going,
        "seed": seed,
        "only": list(selection.only),
        "from": list(selection.from_),
        "until": list(selection.until),
        "force": list(selection.force),
    }
    now = time.time()
    run = Run(
        run_id(now),
        pipeline.name,
        pipeline.source,
        Status.PENDING,
        context.parameters,
        {name: value for name, value in options.items() if value not in (None, [])},
        now,
        None,
        *process(),
    )
    yield from _execute(project, pipeline, run, context, jobs, keep_going, cancel)
    if selection == Selection():
        answering.keep(project, source, pipeline, context, parameters, seed, began)


def resume(
    project: Project, ref: str = "last", *, jobs: int | None = None, cancel: threading.Event | None = None
) -> Iterator[Event]:
    """Continue a run that was interrupted or failed, with the notebook as it is now.

    Raises:
        UsageError: no such run, or it had come to its end.
    """
    import dataclasses

    from cellway.planning import Selection
    from cellway.records import Status

    run = project.ledger.run(ref)
    if run.status is Status.COMPLETED:
        raise UsageError(f"run {run.id} is complete; there is nothing to resume", name=run.id)
    if run.status is Status.RUNNING:
        raise UsageError(f"run {run.id} is still running (process {run.pid})", name=run.id)
    said = run.options
    selection = Selection(tuple(said.get("only", ())), tuple(said.get("from", ())), tuple(said.get("until", ())), ())
    pipeline = project.pipeline(run.source)
    context = context_of(project, pipeline, run.parameters, selection, said.get("seed"))
    host, pid = process()
    run = dataclasses.replace(run, status=Status.PENDING, ended=None, host=host, pid=pid)
    done = {s.step: s for s in project.ledger.step_runs(run.id) if s.status in {Status.COMPLETED, Status.CACHED}}
    yield from _execute(
        project, pipeline, run, context, jobs or said.get("jobs"), said.get("keep_going"), cancel, resume=done
    )


def _execute(
    project: Project,
    pipeline: Pipeline,
    run: Run,
    context: Context,
    jobs: int | None,
    keep_going: bool | None,
    cancel: threading.Event | None,
    *,
    resume: Mapping[str, StepRun] | None = None,
) -> Iterator[Event]:
    from cellway import conversion, execution, planning, plugins
    from cellway.backends import Cancellation
    from cellway.records import Status

    _prepare_state(project)
    folder = _modules_folder(pipeline)

    def make_notebook(step: Step, providers: Mapping[str, str], outputs: tuple[str, ...]) -> Mapping[str, Any]:
        return conversion.step_notebook(pipeline, step, providers=providers, outputs=outputs, modules=folder)

    chosen = jobs or project.settings.jobs
    options = execution.RunOptions(
        jobs=chosen or execution.usual_jobs(),
        keep_going=project.settings.keep_going if keep_going is None else keep_going,
        resume=resume or {},
        cancel=cancel or Cancellation(),
        materializers=plugins.targets("materializers"),
    )
    steps = {step.name: step for step in pipeline.steps}
    events = execution.run(
        pipeline,
        run,
        context=context,
        store=project.store,
        recall=project.ledger.step_run,
        backend_for=lambda step: _backend_for(project, step),
        make_notebook=make_notebook,
        folder=project.state,
        options=options,
        handover_parameter=conversion.handover_parameter(pipeline),
    )
    executed = {Status.COMPLETED, Status.FAILED, Status.CANCELLED}
    try:
        for event in events:
            if event.step_run is not None and event.step_run.status in executed:
                project.ledger.put_sources(planning.sources(steps[event.step_run.step], context))
            project.ledger.append(event)
            yield event
    finally:
        events.close()  # type: ignore[attr-defined]


def context_of(
    project: Project,
    pipeline: Pipeline,
    parameters: Mapping[str, Any] | None,
    selection: Selection | None,
    seed: int | None,
) -> Context:
    """The world in which a pipeline of a project is planned."""
    from cellway import parameters as values
    from cellway.planning import Context, Selection

    folder, modules = _folders(project, pipeline)
    return Context(
        root=project.folder,
        source=pipeline.source,
        cache=project.ledger,
        has=project.store.has,
        parameters=values.check(pipeline, parameters or {}),
        kernel=pipeline.kernel or project.settings.kernel,
        language=pipeline.language,
        seed=project.settings.seed if seed is None else seed,
        selection=selection or Selection(),
        home=os.path.join(project.folder, ".cellway"),
        workdir=folder,
        modules_first=modules,
    )


def _folders(project: Project, pipeline: Pipeline) -> tuple[str, str | None]:
    """Where the pipeline's relative paths begin, and the folder of modules that travel with it."""
    from cellway import conversion

    if conversion.is_folder(pipeline.source):
        return str(conversion.workdir(pipeline.source)), _modules_folder(pipeline)
    return os.path.dirname(pipeline.source), None


def _modules_folder(pipeline: Pipeline) -> str | None:
    from cellway import conversion

    folder = os.path.join(pipeline.source, "modules")
    return folder if conversion.is_folder(pipeline.source) and os.path.isdir(folder) else None


def _backend_for(project: Project, step: Step) -> Any:
    from cellway import plugins

    name = step.options.backend or project.settings.backend
    if name == "local":
        from cellway.backends.local import LocalBackend

        return LocalBackend()
    return plugins.load("backends", name)()


def _prepare_state(project: Project) -> None:
    from cellway.errors import StoreError

    try:
        project.state.mkdir(parents=True, exist_ok=True)
        ignore = project.state / ".gitignore"
        if not ignore.exists():
            ignore.write_text("# made by cellway\n*\n", "utf-8")
    except OSError as error:
        raise StoreError(
            f"{project.state} cannot be written: {error.strerror or error}",
            name=str(project.state),
            fix="check the folder's permissions and the room on the disk",
        ) from error
