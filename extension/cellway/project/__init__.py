"""The one place that knows the order of the stages; holds store, ledger, settings.

The command line, the server and the magics call :class:`Project` and hold no logic of their own. Stages are imported
where
they are used: a fully cached run is answered from a receipt (:mod:`cellway.receipt`) before any of them is.
"""

from __future__ import annotations

import os
import sys
import time

from cellway import receipt
from cellway._version import __version__
from cellway.errors import UsageError

TYPE_CHECKING = False  # typing itself takes milliseconds to import
if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from cellway.ledger import Ledger, Produced
    from cellway.planning import Context, Selection
    from cellway.project.maintenance import Collected, Finding
    from cellway.project.settings import Settings
    from cellway.proposal import Proposal
    from cellway.records import Event, Notebook, Pipeline, Plan, Run, Step, StepRun
    from cellway.stores import Store

__all__ = ["Answer", "Project"]

STATE = ".cellway"
_MARKER = "[tool.cellway"
_DECIDING = (
    "PYTHONPATH", "PYTHONHOME", "PYTHONNOUSERSITE", "JUPYTER_PATH", "JUPYTER_DATA_DIR", "XDG_DATA_HOME", "HOME",
    "APPDATA", "PROGRAMDATA",
)  # fmt: skip
"""Environment variables that decide which modules, packages and kernels are found."""


class Answer:
    """A run in which nothing had to run.

    Attributes:
        run: its id.
        pipeline: name of the pipeline.
        steps: ``(step, seconds that its last execution took)`` in order.
    """

    __slots__ = ("pipeline", "run", "steps")

    def __init__(self, run: str, pipeline: str, steps: Sequence[tuple[str, float]]) -> None:
        self.run = run
        self.pipeline = pipeline
        self.steps = steps


class Project:
    """A folder with notebooks and ``.cellway``: what was run, and what came out.

    Args:
        folder: the project's folder; :meth:`find` finds it from a notebook.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._root = os.path.abspath(folder)
        self._ledger: Ledger | None = None
        self._settings: Settings | None = None

    @classmethod
    def find(cls, near: str | os.PathLike[str] = ".") -> Project:
        """The project that a notebook or folder belongs to.

        It is the nearest folder upwards with ``.cellway``, ``cellway.toml`` or ``[tool.cellway]`` in
        ``pyproject.toml``;
        without any, the notebook's own folder.
        """
        start = os.path.abspath(near)
        if not os.path.isdir(start) or os.path.isfile(os.path.join(start, "pipeline.yaml")):
            start = os.path.dirname(start)
        folder = start
        while True:
            if _marks_project(folder):
                return cls(folder)
            parent = os.path.dirname(folder)
            if parent == folder:
                return cls(start)
            folder = parent

    @property
    def root(self) -> Path:
        """The project's folder."""
        from pathlib import Path

        return Path(self._root)

    @property
    def state(self) -> Path:
        """The folder ``.cellway``: store, ledger, executed notebooks."""
        return self.root / STATE

    @property
    def settings(self) -> Settings:
        """From ``cellway.toml`` or ``pyproject.toml``.

        Raises:
            UsageError: the file is broken, or a setting unknown.
        """
        if self._settings is None:
            from cellway.project import settings

            self._settings = settings.load(self._root)
        return self._settings

    @property
    def ledger(self) -> Ledger:
        """The record of runs."""
        if self._ledger is None:
            from cellway.ledger import Ledger

            self._ledger = Ledger(os.path.join(self._root, STATE, "ledger.sqlite"))
        return self._ledger

    @property
    def store(self) -> Store:
        """Where the bytes of artifacts are."""
        name = self.settings.store
        if name == "local":
            # The same as by its entry point, without looking through everything that is installed.
            from cellway.stores.local import open_store

            return open_store(os.path.join(self._root, STATE))
        from cellway import plugins

        store: Store = plugins.load("stores", name)(os.path.join(self._root, STATE))
        return store

    # --- from notebook to pipeline -----------------------------------------------------------------------------

    def read(self, source: str | os.PathLike[str]) -> Notebook:
        """The notebook file, or a converted folder put together to one notebook.

        Raises:
            NotebookError: it cannot be read, or a tag is wrong.
        """
        from cellway import conversion, notebook

        if conversion.is_folder(os.fspath(source)):
            return conversion.folder_notebook(os.fspath(source))
        return notebook.read(source)

    def check(self, source: str | os.PathLike[str]) -> Pipeline:
        """The pipeline with everything that is wrong with it as ``diagnostics``; never raises for these."""
        from cellway.errors import NotebookError
        from cellway.records import Diagnostic, Pipeline

        try:
            return self._build(source)
        except NotebookError as error:
            place = error.place
            found = Diagnostic(
                "error",
                "tag" if type(error).__name__ == "TagError" else "unreadable",
                error.message,
                place.cell if place else None,
                place.line if place else None,
                error.name,
                place.step if place else None,
                error.fix,
            )
            path = os.path.abspath(source)
            name = os.path.splitext(os.path.basename(path))[0]
            return Pipeline(name, path, None, "python", (), diagnostics=(found,))

    def pipeline(self, source: str | os.PathLike[str]) -> Pipeline:
        """The pipeline of a notebook or converted folder.

        Raises:
            Refusal: it would not give what the notebook gives.
            NotebookError: the file cannot be read, or a tag is wrong.
        """
        from cellway.pipeline import require

        pipeline = self._build(source)
        if any(diagnostic.level == "error" for diagnostic in pipeline.diagnostics):
            require(pipeline, self.read(source))
        return pipeline

    def propose(self, source: str | os.PathLike[str]) -> tuple[Proposal, ...]:
        """Steps for a plain notebook, from its headings and data flow."""
        from cellway import analysis, proposal

        notebook = self.read(source)
        return proposal.propose(notebook, analysis.analyse(notebook, self.ledger))

    def apply(self, source: str | os.PathLike[str], proposals: Sequence[Proposal], style: str = "magics") -> Notebook:
        """Write proposed tags into the notebook file, as ``magics`` or ``tags``."""
        from cellway import notebook

        return notebook.write_tags(source, [(p.cell, p.role, p.step, None) for p in proposals], style)

    def _build(self, source: str | os.PathLike[str]) -> Pipeline:
        from cellway import analysis, conversion, pipeline

        self._exists(source)
        cache = self.ledger if os.path.isdir(os.path.join(self._root, STATE)) else None
        if conversion.is_folder(os.fspath(source)):
            return conversion.read_folder(
                os.fspath(source), analyse=lambda n: analysis.analyse(n, cache), build=pipeline.build
            )
        notebook = self.read(source)
        return pipeline.build(notebook, analysis.analyse(notebook, cache))

    def _exists(self, source: str | os.PathLike[str]) -> None:
        if not os.path.exists(source):
            raise _no_notebook(os.fspath(source))
        if os.path.isdir(source) and not os.path.isfile(os.path.join(source, "pipeline.yaml")):
            raise UsageError(
                f"{os.fspath(source)} is a folder, not a notebook, and `cellway convert` did not write it",
                name=os.fspath(source),
                fix=_of_these("name a notebook", _notebooks(os.fspath(source))),
            )

    # --- planning and running ----------------------------------------------------------------------------------

    def plan(
        self,
        source: str | os.PathLike[str],
        parameters: Mapping[str, Any] | None = None,
        selection: Selection | None = None,
        *,
        seed: int | None = None,
    ) -> Plan:
        """What a run would do with each step, and why."""
        from cellway import planning

        pipeline = self.pipeline(source)
        return planning.plan(pipeline, self._context(pipeline, parameters, selection, seed))

    def answer(
        self,
        source: str | os.PathLike[str],
        parameters: Mapping[str, Any] | None = None,
        *,
        seed: int | None = None,
    ) -> Answer | None:
        """Answer a run from the receipt of the last one, if nothing that decides moved since; milliseconds.

        The run is recorded like any other.
        """
        asked = self._question(source, parameters, seed)
        found = receipt.read(self._receipts, asked) if asked is not None else None
        if found is None:
            return None
        now = time.time()
        run = _CachedRun(_run_id(now), found.pipeline, os.path.abspath(source), now)
        try:
            self.ledger.append_cached_run(
                run,  # type: ignore[arg-type]
                [(step, producer) for step, producer, _ in found.steps],
                parameters=found.parameters,
            )
        except UsageError:
            return None  # the record of runs is another one now
        return Answer(run.id, run.pipeline, [(step, seconds) for step, _, seconds in found.steps])

    def run(
        self,
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
        pipeline = self.pipeline(source)
        selection = selection or Selection()
        context = self._context(pipeline, parameters, selection, seed)
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
            _run_id(now),
            pipeline.name,
            pipeline.source,
            Status.PENDING,
            context.parameters,
            {name: value for name, value in options.items() if value not in (None, [])},
            now,
            None,
            *_process(),
        )
        yield from self._execute(pipeline, run, context, jobs, keep_going, cancel)
        if selection == Selection():
            self._keep_receipt(source, pipeline, context, parameters, seed, began)

    def resume(
        self, ref: str = "last", *, jobs: int | None = None, cancel: threading.Event | None = None
    ) -> Iterator[Event]:
        """Continue a run that was interrupted or failed, with the notebook as it is now.

        Raises:
            UsageError: no such run, or it had come to its end.
        """
        import dataclasses

        from cellway.planning import Selection
        from cellway.records import Status

        run = self.ledger.run(ref)
        if run.status is Status.COMPLETED:
            raise UsageError(f"run {run.id} is complete; there is nothing to resume", name=run.id)
        if run.status is Status.RUNNING:
            raise UsageError(f"run {run.id} is still running (process {run.pid})", name=run.id)
        said = run.options
        selection = Selection(
            tuple(said.get("only", ())), tuple(said.get("from", ())), tuple(said.get("until", ())), ()
        )
        pipeline = self.pipeline(run.source)
        context = self._context(pipeline, run.parameters, selection, said.get("seed"))
        host, pid = _process()
        run = dataclasses.replace(run, status=Status.PENDING, ended=None, host=host, pid=pid)
        done = {s.step: s for s in self.ledger.step_runs(run.id) if s.status in {Status.COMPLETED, Status.CACHED}}
        yield from self._execute(
            pipeline, run, context, jobs or said.get("jobs"), said.get("keep_going"), cancel, resume=done
        )

    def _execute(
        self,
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

        self._prepare_state()
        folder = self._modules_folder(pipeline)

        def make_notebook(step: Step, providers: Mapping[str, str], outputs: tuple[str, ...]) -> Mapping[str, Any]:
            return conversion.step_notebook(pipeline, step, providers=providers, outputs=outputs, modules=folder)

        chosen = jobs or self.settings.jobs
        options = execution.RunOptions(
            jobs=chosen or execution.usual_jobs(),
            keep_going=self.settings.keep_going if keep_going is None else keep_going,
            resume=resume or {},
            cancel=cancel or Cancellation(),
            materializers=plugins.targets("materializers"),
        )
        steps = {step.name: step for step in pipeline.steps}
        events = execution.run(
            pipeline,
            run,
            context=context,
            store=self.store,
            recall=self.ledger.step_run,
            backend_for=self._backend_for,
            make_notebook=make_notebook,
            folder=self.state,
            options=options,
            handover_parameter=conversion.handover_parameter(pipeline),
        )
        executed = {Status.COMPLETED, Status.FAILED, Status.CANCELLED}
        try:
            for event in events:
                if event.step_run is not None and event.step_run.status in executed:
                    self.ledger.put_sources(planning.sources(steps[event.step_run.step], context))
                self.ledger.append(event)
                yield event
        finally:
            events.close()  # type: ignore[attr-defined]

    def _context(
        self,
        pipeline: Pipeline,
        parameters: Mapping[str, Any] | None,
        selection: Selection | None,
        seed: int | None,
    ) -> Context:
        from cellway import parameters as values
        from cellway.planning import Context, Selection

        folder, modules = self._folders(pipeline)
        return Context(
            root=self._root,
            source=pipeline.source,
            cache=self.ledger,
            has=self.store.has,
            parameters=values.check(pipeline, parameters or {}),
            kernel=pipeline.kernel or self.settings.kernel,
            language=pipeline.language,
            seed=self.settings.seed if seed is None else seed,
            selection=selection or Selection(),
            home=os.path.join(self._root, STATE),
            workdir=folder,
            modules_first=modules,
        )

    def _folders(self, pipeline: Pipeline) -> tuple[str, str | None]:
        """Where the pipeline's relative paths begin, and the folder of modules that travel with it."""
        from cellway import conversion

        if conversion.is_folder(pipeline.source):
            return str(conversion.workdir(pipeline.source)), self._modules_folder(pipeline)
        return os.path.dirname(pipeline.source), None

    def _modules_folder(self, pipeline: Pipeline) -> str | None:
        from cellway import conversion

        folder = os.path.join(pipeline.source, "modules")
        return folder if conversion.is_folder(pipeline.source) and os.path.isdir(folder) else None

    def _backend_for(self, step: Step) -> Any:
        from cellway import plugins

        name = step.options.backend or self.settings.backend
        if name == "local":
            from cellway.backends.local import LocalBackend

            return LocalBackend()
        return plugins.load("backends", name)()

    def _prepare_state(self) -> None:
        from cellway.errors import StoreError

        try:
            self.state.mkdir(parents=True, exist_ok=True)
            ignore = self.state / ".gitignore"
            if not ignore.exists():
                ignore.write_text("# made by cellway\n*\n", "utf-8")
        except OSError as error:
            raise StoreError(
                f"{self.state} cannot be written: {error.strerror or error}",
                name=str(self.state),
                fix="check the folder's permissions and the room on the disk",
            ) from error

    # --- receipts ----------------------------------------------------------------------------------------------

    @property
    def _receipts(self) -> str:
        return os.path.join(self._root, STATE, "receipts")

    def _question(
        self, source: str | os.PathLike[str], parameters: Mapping[str, Any] | None, seed: int | None
    ) -> str | None:
        return receipt.question(
            source=os.path.abspath(source),
            parameters=dict(parameters or {}),
            seed=seed,
            python=[sys.executable, sys.version],
            environment=[os.environ.get(name) for name in _DECIDING],
            cellway=__version__,
        )

    def _keep_receipt(
        self,
        source: str | os.PathLike[str],
        pipeline: Pipeline,
        context: Context,
        parameters: Mapping[str, Any] | None,
        seed: int | None,
        started: float,
    ) -> None:
        """If everything is cached now, remember what that rests on: what was looked at since ``started``."""
        from cellway.errors import CellwayError

        # Where something moved while the steps ran (their own outputs, the notebook being edited), the answer is no
        # longer theirs to give: all is read anew, once. A receipt only saves time, so nothing here is the run's error.
        try:
            if not self._write_receipt(source, pipeline, context, parameters, seed, started):
                started = time.time()
                pipeline = self.pipeline(source)
                context = self._context(pipeline, parameters, None, seed)
                self._write_receipt(source, pipeline, context, parameters, seed, started)
        except (CellwayError, OSError):
            pass

    def _write_receipt(
        self,
        source: str | os.PathLike[str],
        pipeline: Pipeline,
        context: Context,
        parameters: Mapping[str, Any] | None,
        seed: int | None,
        started: float,
    ) -> bool:
        """Whether that settled it; ``False`` if something moved since ``started``."""
        from cellway import planning
        from cellway.ledger import rows
        from cellway.project import settings
        from cellway.records import Status

        asked = self._question(source, parameters, seed)
        if asked is None or self.settings.store != "local" or any(step.options.no_cache for step in pipeline.steps):
            return True
        patterns = [pattern for step in pipeline.steps for pattern in step.options.reads]
        if any(character in pattern for pattern in patterns for character in "*?["):
            return True
        plan = planning.plan(pipeline, context)
        if any(planned.status is not Status.CACHED for planned in plan.steps):
            return True
        if settings.load(self._root) != self.settings:
            return True  # edited since this project was opened
        runs = {planned.step: self.ledger.step_run(planned.step_run or "") for planned in plan.steps}
        return receipt.write(
            self._receipts,
            asked,
            receipt.Receipt(
                pipeline.name,
                rows.dump(dict(context.parameters)),
                [(p.step, p.step_run or "", p.seconds or 0.0) for p in plan.steps],
            ),
            paths=self._deciding(pipeline, context),
            blobs={self.store.path(artifact.digest) for run in runs.values() for artifact in run.artifacts},
            started=started,
        )

    def _deciding(self, pipeline: Pipeline, context: Context) -> set[str]:
        """Every file and folder that decided the plan."""
        import shutil

        from cellway.planning import environment

        paths = {os.path.join(self._root, name) for name in ("cellway.toml", "pyproject.toml")} | context.looked_at()
        paths.add(pipeline.source)
        if os.path.isdir(pipeline.source):
            paths |= {entry.path for entry in os.scandir(pipeline.source) if entry.is_file()}
        for kernel in context.environments:
            python = environment.interpreter(kernel)
            paths.add(shutil.which(python) or python)
        return paths

    # --- conversion --------------------------------------------------------------------------------------------

    def convert(
        self,
        source: str | os.PathLike[str],
        folder: str | os.PathLike[str],
        *,
        standalone: bool = False,
        overwrite: bool = False,
    ) -> Path:
        """Write the pipeline as a folder of step notebooks, with the project's own modules and the environment."""
        from pathlib import Path

        from cellway import conversion, planning

        pipeline = self.pipeline(source)
        context = self._context(pipeline, None, None, None)
        modules: dict[str, str] = {}
        lock: dict[str, str] = {}
        for step in pipeline.steps:
            modules.update(planning.project_modules(step, context))
            lock.update(planning.distributions(step, context))
        environment = context.environment(pipeline.kernel or self.settings.kernel)
        return conversion.convert(
            pipeline,
            Path(folder),
            standalone=standalone,
            overwrite=overwrite,
            modules=modules,
            lock=lock,
            python=environment.python.split()[-1],
            workdir=context.folder,
            seeds={step.name: planning.seed(step, context) for step in pipeline.steps},
        )

    # --- looking back ------------------------------------------------------------------------------------------

    def runs(
        self, limit: int = 20, status: str | None = None, source: str | os.PathLike[str] | None = None
    ) -> tuple[Run, ...]:
        """Runs, newest first.

        Raises:
            UsageError: ``source`` is no file, and there are no runs of one.
        """
        found = self.ledger.runs(limit, 0, status, os.path.abspath(source) if source is not None else None)
        if source is not None and not found:
            self._exists(source)
        return found

    def run_record(self, ref: str = "last") -> Run:
        """One run, by id, the beginning of one, or ``last``."""
        return self.ledger.run(ref)

    def step_runs(self, ref: str = "last") -> tuple[StepRun, ...]:
        """What happened to each step of a run."""
        return self.ledger.step_runs(self.ledger.run(ref).id)

    def why(self, step: str, run: str = "last") -> StepRun:
        """What happened to a step in a run, with the reason.

        Raises:
            UsageError: the run has no such step.
        """
        found = [step_run for step_run in self.step_runs(run) if step_run.step == step]
        if not found:
            import difflib

            names = [step_run.step for step_run in self.step_runs(run)]
            close = difflib.get_close_matches(step, names, 1)
            hint = f"did you mean {close[0]}?" if close else f"its steps are {', '.join(names)}"
            raise UsageError(f"run {self.ledger.run(run).id} has no step {step}", name=step, fix=hint)
        return found[-1]

    def executed(self, step: str, run: str = "last") -> Path:
        """Path of the executed notebook of a step; of the run that executed it, if the step was reused.

        Raises:
            UsageError: it was never executed, or the notebook is gone.
        """
        step_run = self.why(step, run)
        if step_run.producer is not None:
            step_run = self.ledger.step_run(step_run.producer)
        path = self.state / step_run.notebook if step_run.notebook else None
        if path is None or not path.is_file():
            raise UsageError(f"there is no executed notebook of step {step}", name=step, fix="run the step again")
        return path

    def log(self, step: str, run: str = "last") -> str:
        """Everything that a step printed, as the kernel sent it, the traceback of a failure included."""
        from cellway.project import outputs

        return outputs.text(self.executed(step, run))

    def artifacts(self, run: str | None = None, step: str | None = None) -> tuple[Produced, ...]:
        """Artifacts, newest first; of a run, the reused ones among them.

        Raises:
            UsageError: the run has no such step.
        """
        found = self.ledger.artifacts(run, None, step)
        if not found and run is not None and step is not None:
            self.why(step, run)
        return found

    def artifact(self, ref: str) -> Produced:
        """One artifact by ``name``, ``step.name``, ``run:step.name`` or the beginning of its fingerprint."""
        return self.ledger.artifact(ref)

    def value(self, ref: str) -> Any:
        """The value of an artifact, loaded into this process.

        Values of the notebook's own classes need these classes; they are best looked at in the executed notebook.
        """
        from cellway.project import outputs

        return outputs.value(self.artifact(ref).artifact, self.store)

    def export(self, ref: str, target: str | os.PathLike[str]) -> Path:
        """Write an artifact as a file; the suffix says how (docs/reference/commands.md, ``export``)."""
        from cellway.project import outputs

        return outputs.export(self.artifact(ref).artifact, self.store, os.path.abspath(target))

    def gc(self, *, older_than: float | None = None, max_size: int | None = None, dry_run: bool = False) -> Collected:
        """Delete what no run refers to, and (by age in seconds or size in bytes) what was not used for longest."""
        from cellway.project import maintenance

        return maintenance.collect(self, older_than, max_size, dry_run)

    def doctor(self) -> tuple[Finding, ...]:
        """Look at everything that a run needs."""
        from cellway.project import maintenance

        return maintenance.examine(self)


def _no_notebook(source: str) -> UsageError:
    if not source:
        return UsageError("the name of the notebook is empty", fix="is a variable of the shell not set?")
    import difflib

    folder, name = os.path.split(source)
    there = _notebooks(folder or ".")
    meant = difflib.get_close_matches(name, there, 1)
    fix = f"did you mean `{os.path.join(folder, meant[0])}`?" if meant else _of_these("check the path", there)
    return UsageError(f"there is no notebook {source}", name=source, fix=fix)


def _notebooks(folder: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if name.endswith((".ipynb", ".py")))
    except OSError:
        return []


def _of_these(otherwise: str, names: Sequence[str]) -> str:
    more = ", …" if len(names) > 5 else ""
    return f"{otherwise}; there are {', '.join(f'`{name}`' for name in names[:5])}{more}" if names else otherwise


class _CachedRun:
    """As much of a :class:`~cellway.records.Run` as the ledger needs, without importing dataclasses."""

    def __init__(self, run: str, pipeline: str, source: str, started: float) -> None:
        self.id = run
        self.pipeline = pipeline
        self.source = source
        self.status = _Completed
        self.options: Mapping[str, Any] = {}
        self.started = started
        self.ended = time.time()
        self.host, self.pid = _process()


class _Completed:
    value = "completed"


def _run_id(now: float) -> str:
    """Sorts by time, and says it: ``20261120-104512-3f9a``."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(now))}-{os.urandom(2).hex()}"


def _process() -> tuple[str, int]:
    from cellway.ledger.processes import host

    return host(), os.getpid()


def _marks_project(folder: str) -> bool:
    if os.path.isdir(os.path.join(folder, STATE)) or os.path.isfile(os.path.join(folder, "cellway.toml")):
        return True
    try:
        with open(os.path.join(folder, "pyproject.toml"), encoding="utf-8") as stream:
            return _MARKER in stream.read()
    except (OSError, UnicodeDecodeError):
        return False
