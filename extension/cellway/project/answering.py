"""A run in which nothing moved: answered from the receipt of the last one, and the receipt itself.

On the path of :func:`answer` nothing is imported that takes time: no typing, no records, no pathlib.
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
    from collections.abc import Mapping, Sequence
    from typing import Any

    from cellway.planning import Context
    from cellway.project import Project
    from cellway.records import Pipeline

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


def answer(
    project: Project,
    source: str | os.PathLike[str],
    parameters: Mapping[str, Any] | None = None,
    *,
    seed: int | None = None,
) -> Answer | None:
    """Answer a run from the receipt of the last one, if nothing that decides moved since; milliseconds.

    The run is recorded like any other.
    """
    asked = _question(project, source, parameters, seed)
    found = receipt.read(_receipts(project), asked) if asked is not None else None
    if found is None:
        return None
    now = time.time()
    run = _CachedRun(run_id(now), found.pipeline, os.path.abspath(source), now)
    try:
        project.ledger.append_cached_run(
            run,  # type: ignore[arg-type]
            [(step, producer) for step, producer, _ in found.steps],
            parameters=found.parameters,
        )
    except UsageError:
        return None  # the record of runs is another one now
    return Answer(run.id, run.pipeline, [(step, seconds) for step, _, seconds in found.steps])


def keep(
    project: Project,
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
        if not _write(project, source, pipeline, context, parameters, seed, started):
            started = time.time()
            pipeline = project.pipeline(source)
            context = project.context(pipeline, parameters, None, seed)
            _write(project, source, pipeline, context, parameters, seed, started)
    except (CellwayError, OSError):
        pass


def _write(
    project: Project,
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

    asked = _question(project, source, parameters, seed)
    if asked is None or project.settings.store != "local" or any(step.options.no_cache for step in pipeline.steps):
        return True
    patterns = [pattern for step in pipeline.steps for pattern in step.options.reads]
    if any(character in pattern for pattern in patterns for character in "*?["):
        return True
    plan = planning.plan(pipeline, context)
    if any(planned.status is not Status.CACHED for planned in plan.steps):
        return True
    if settings.load(project.folder) != project.settings:
        return True  # edited since this project was opened
    runs = {planned.step: project.ledger.step_run(planned.step_run or "") for planned in plan.steps}
    return receipt.write(
        _receipts(project),
        asked,
        receipt.Receipt(
            pipeline.name,
            rows.dump(dict(context.parameters)),
            [(p.step, p.step_run or "", p.seconds or 0.0) for p in plan.steps],
        ),
        paths=_deciding(project, pipeline, context),
        blobs={project.store.path(artifact.digest) for run in runs.values() for artifact in run.artifacts},
        started=started,
    )


def _deciding(project: Project, pipeline: Pipeline, context: Context) -> set[str]:
    """Every file and folder that decided the plan."""
    import shutil

    from cellway.planning import environment

    paths = {os.path.join(project.folder, name) for name in ("cellway.toml", "pyproject.toml")} | context.looked_at()
    paths.add(pipeline.source)
    if os.path.isdir(pipeline.source):
        paths |= {entry.path for entry in os.scandir(pipeline.source) if entry.is_file()}
    for kernel in context.environments:
        python = environment.interpreter(kernel)
        paths.add(shutil.which(python) or python)
    return paths


def _question(
    project: Project, source: str | os.PathLike[str], parameters: Mapping[str, Any] | None, seed: int | None
) -> str | None:
    return receipt.question(
        source=os.path.abspath(source),
        parameters=dict(parameters or {}),
        seed=seed,
        python=[sys.executable, sys.version],
        environment=[os.environ.get(name) for name in _DECIDING],
        cellway=__version__,
    )


def _receipts(project: Project) -> str:
    return os.path.join(project.folder, ".cellway", "receipts")


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
        self.host, self.pid = process()


class _Completed:
    value = "completed"


def run_id(now: float) -> str:
    """Sorts by time, and says it: ``20261120-104512-3f9a``."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(now))}-{os.urandom(2).hex()}"


def process() -> tuple[str, int]:
    """Host and process id: whose run it is."""
    from cellway.ledger.processes import host

    return host(), os.getpid()
