"""The one place that knows the order of the stages; holds store, ledger, settings.

The command line, the server and the magics call :class:`Project` and hold no logic of their own. Stages are imported
where they are used: a fully cached run is answered from a receipt (:mod:`cellway.receipt`) before any of them is.
"""

from __future__ import annotations

import os

from cellway.errors import UsageError
from cellway.project import answering
from cellway.project.answering import Answer

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
    from cellway.records import Event, Notebook, Pipeline, Plan, Run, StepRun
    from cellway.stores import Store

__all__ = ["Answer", "Project"]

STATE = ".cellway"
_MARKER = "[tool.cellway"


class Project:
    """A folder with notebooks and ``.cellway``: what was run, and what came out.

    Args:
        folder: the project's folder; :meth:`find` finds it from a notebook.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = os.path.abspath(folder)
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

        return Path(self.folder)

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

            self._settings = settings.load(self.folder)
        return self._settings

    @property
    def ledger(self) -> Ledger:
        """The record of runs."""
        if self._ledger is None:
            from cellway.ledger import Ledger

            self._ledger = Ledger(os.path.join(self.folder, STATE, "ledger.sqlite"))
        return self._ledger

    @property
    def store(self) -> Store:
        """Where the bytes of artifacts are."""
        name = self.settings.store
        if name == "local":
            # The same as by its entry point, without looking through everything that is installed.
            from cellway.stores.local import open_store

            return open_store(os.path.join(self.folder, STATE))
        from cellway import plugins

        store: Store = plugins.load("stores", name)(os.path.join(self.folder, STATE))
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
        cache = self.ledger if os.path.isdir(os.path.join(self.folder, STATE)) else None
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
        return planning.plan(pipeline, self.context(pipeline, parameters, selection, seed))

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
        return answering.answer(self, source, parameters, seed=seed)

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
        from cellway.project import running

        return running.run(
            self, source, parameters, selection, jobs=jobs, keep_going=keep_going, seed=seed, cancel=cancel
        )

    def resume(
        self, ref: str = "last", *, jobs: int | None = None, cancel: threading.Event | None = None
    ) -> Iterator[Event]:
        """Continue a run that was interrupted or failed, with the notebook as it is now.

        Raises:
            UsageError: no such run, or it had come to its end.
        """
        from cellway.project import running

        return running.resume(self, ref, jobs=jobs, cancel=cancel)

    def context(
        self,
        pipeline: Pipeline,
        parameters: Mapping[str, Any] | None = None,
        selection: Selection | None = None,
        seed: int | None = None,
    ) -> Context:
        """The world in which a pipeline of this project is planned."""
        from cellway.project import running

        return running.context_of(self, pipeline, parameters, selection, seed)

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
        context = self.context(pipeline)
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


def _marks_project(folder: str) -> bool:
    if os.path.isdir(os.path.join(folder, STATE)) or os.path.isfile(os.path.join(folder, "cellway.toml")):
        return True
    try:
        with open(os.path.join(folder, "pyproject.toml"), encoding="utf-8") as stream:
            return _MARKER in stream.read()
    except (OSError, UnicodeDecodeError):
        return False
