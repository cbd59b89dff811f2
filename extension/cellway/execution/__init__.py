"""Plan + backends → StepRuns, one by one (design §8).

:func:`run` is a generator of events. Who iterates appends each to the ledger before taking the next one: a step that
has finished is in the record, and its key is free for others, before anything else happens. Nothing is lost when the
process dies in between; the steps that had finished are cached, and the run can be resumed.

Steps whose inputs are there run side by side. What only running can show (what a step changes, whether it draws random
numbers) is assumed from earlier runs; where the assumption was wrong, the steps that stood on it run again, and a
``step-outdated`` event says so.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellway.backends import Backend, Cancellation
from cellway.execution.handover import Store
from cellway.records import Event, Pipeline, Run, Step, StepRun

if TYPE_CHECKING:
    from cellway.planning import Context

__all__ = ["Cancellation", "RunOptions", "Setting", "Store", "run"]

MakeNotebook = Callable[[Step, Mapping[str, str], tuple[str, ...]], Mapping[str, Any]]


def usual_jobs() -> int:
    """How many steps run side by side if nothing is said: one per processor, four at most."""
    return min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run goes about it; none of it can change a result.

    Attributes:
        jobs: how many steps run side by side.
        keep_going: after a failure, go on with steps that do not depend on it.
        resume: step → what the interrupted part of this run has finished; used also where the cache is not to be asked.
        cancel: set to cancel the run; a :class:`~cellway.backends.Cancellation` can also ask for haste.
        pause: seconds before the first retry; doubled for each further one.
        sign_key: with which pickles are signed, in hexadecimal.
        materializers: plug-ins as ``module:attribute``, asked before the built-in ones.
    """

    jobs: int = field(default_factory=usual_jobs)
    keep_going: bool = False
    resume: Mapping[str, StepRun] = field(default_factory=dict)
    cancel: threading.Event = field(default_factory=Cancellation)
    pause: float = 1.0
    sign_key: str | None = None
    materializers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Setting:
    """What :func:`run` was called with; see there."""

    pipeline: Pipeline
    run: Run
    context: Context
    store: Store
    recall: Callable[[str], StepRun]
    backend_for: Callable[[Step], Backend]
    make_notebook: MakeNotebook
    folder: Path
    options: RunOptions
    handover_parameter: str = "handover"


def run(
    pipeline: Pipeline,
    run: Run,
    *,
    context: Context,
    store: Store,
    recall: Callable[[str], StepRun],
    backend_for: Callable[[Step], Backend],
    make_notebook: MakeNotebook,
    folder: str | os.PathLike[str],
    options: RunOptions | None = None,
    handover_parameter: str = "handover",
) -> Iterator[Event]:
    """Run a pipeline.

    Args:
        pipeline: what to run.
        run: the record of this run; the events carry it with its status.
        context: the world as planning sees it: parameter values, cache, selection.
        store: where artifacts are.
        recall: step run by id, from the ledger.
        backend_for: where a step is executed.
        make_notebook: makes a step notebook from the step, its ``name → provider`` and the names to store.
        folder: the project's ``.cellway``.
        options: see :class:`RunOptions`.
        handover_parameter: the papermill parameter that tells a step notebook its hand-over folder.

    Yields:
        ``run-started``; for each step ``step-waiting``, ``step-started``, ``cell``, ``output``, ``step-retry``,
        ``step-outdated`` and ``step-finished`` as they apply; ``run-finished``. Append each to the ledger before taking
        the next.

    Raises:
        UsageError: what a selected step needs is neither selected nor in the cache; a ``--when`` cannot be evaluated.
            ``run-finished`` comes first.
        StoreError: the project's folder cannot be written. ``run-finished`` comes first.

    Closing the generator ends all kernels at once. A ``KeyboardInterrupt`` while it waits cancels the run; a second one
    ends the kernels without giving them time.
    """
    from cellway.execution.scheduler import Scheduler

    setting = Setting(
        pipeline,
        run,
        context,
        store,
        recall,
        backend_for,
        make_notebook,
        Path(folder).absolute(),
        options or RunOptions(),
        handover_parameter,
    )
    scheduler = Scheduler(setting)
    try:
        yield from scheduler.events()
    finally:
        scheduler.close()
