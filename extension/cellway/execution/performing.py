"""One attempt at one step, from the request to the result; runs in a thread of its own."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cellway.backends import Backend, Job, Listener
from cellway.errors import Cancelled, CannotStore, CellFailed, CellwayError, Place, StepError
from cellway.execution import handover
from cellway.execution.handover import Request, Result, Store
from cellway.records import StepOptions


@dataclass(frozen=True, slots=True)
class Task:
    """Everything an attempt needs; it knows neither the pipeline nor the ledger.

    Attributes:
        folder: the hand-over folder, which does not exist yet.
        executed: absolute path for the executed notebook.
        make: makes the step notebook.
        handover_parameter: name of the parameter that says where the hand-over folder is.
        parameters: values of the parameters that the step can reach.
    """

    request: Request
    folder: Path
    executed: Path
    backend: Backend
    make: Callable[[], Mapping[str, Any]]
    kernel: str | None
    language: str
    parameters: Mapping[str, Any]
    options: StepOptions
    handover_parameter: str = "handover"
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Performed:
    """How an attempt ended.

    Attributes:
        result: what the kernel handed over; beside an error it has everything that could be stored.
        retry: whether another attempt makes sense.
    """

    error: CellwayError | None
    result: Result | None
    started: float
    ended: float
    executed: bool
    retry: bool = False


def perform(task: Task, store: Store, listen: Listener, cancelled: threading.Event) -> Performed:
    """Attempt a step: hand over, execute, take over. Never raises; the hand-over folder is gone afterwards."""
    started = time.time()
    error: CellwayError | None = None
    result: Result | None = None
    try:
        handover.write(task.folder, task.request, store)
        outcome = task.backend.execute(_job(task), listen, cancelled)
        error = outcome.error
        # Nothing is taken over from a step that was stopped half-way; one that had come to its end counts.
        if not isinstance(error, Cancelled):
            result = handover.read(task.folder, Path(task.request.root), store)
            error = _judged(task, error, result)
    except CellwayError as caught:
        error = caught
    except Exception as caught:  # noqa: BLE001  # a defect of ours or of a plug-in must not leave the run hanging
        error = _unexpected(caught)
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(task.folder)
    if error is not None and error.place is None:
        error.place = Place(step=task.request.step)
    retry = isinstance(error, StepError) and not isinstance(error, CannotStore) and not cancelled.is_set()
    return Performed(error, result, started, time.time(), task.executed.exists(), retry)


def described(error: CellwayError) -> dict[str, Any]:
    """An error as the ledger keeps it (:class:`~cellway.records.StepRun`)."""
    place = error.place or Place()
    said: dict[str, Any] = {
        "kind": type(error).__name__,
        "message": error.message,
        "cell": place.cell,
        "line": place.line,
        "excerpt": place.excerpt,
        "name": error.name,
        "fix": error.fix,
    }
    if isinstance(error, CellFailed):
        said |= {"ename": error.ename, "evalue": error.evalue, "traceback": list(error.traceback)}
    return said


def _job(task: Task) -> Job:
    options = task.options
    return Job(
        name=task.request.step,
        notebook=task.make(),
        output=str(task.executed),
        workdir=task.request.workdir,
        handover=str(task.folder),
        kernel=task.kernel,
        language=task.language,
        parameters={**task.parameters, task.handover_parameter: str(task.folder)},
        env=task.env,
        timeout=options.timeout,
        cpus=options.cpus,
        memory=options.memory,
        gpus=options.gpus,
    )


def _judged(task: Task, error: CellwayError | None, result: Result | None) -> CellwayError | None:
    """The error that tells most: what could not be stored, before the generated cell that raised because of it."""
    if result is not None and result.error is not None:
        said = result.error
        name = said.get("name")
        place = error.place if error is not None else None
        if place is None or place.cell is None:
            place = Place(step=task.request.step)
        return CannotStore(
            str(said.get("message", "an output cannot be stored")), place=place, name=name, fix=str(said.get("fix", ""))
        )
    if error is not None:
        return error
    if result is None:
        return StepError(
            "the step's notebook ran to its end, but handed nothing over",
            fix="if one of its cells ends the kernel (exit(), os._exit()), leave that out; else look into its notebook",
        )
    expected = [name for name in task.request.outputs if name not in task.request.perhaps]
    if lacking := handover.missing(expected, result):
        names = ", ".join(lacking)
        return StepError(
            f"the step did not hand over {names}, which later steps read",
            name=lacking[0],
            fix=f"bind {names} on every path through the step, or name the step's outputs with --out",
        )
    return None


def _unexpected(error: Exception) -> StepError:
    import traceback

    frames = "".join(traceback.format_exception(error))
    return StepError(
        f"cellway itself failed: {type(error).__name__}: {error}\n{frames}",
        fix="please report this with the text above",
    )
