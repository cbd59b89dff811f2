"""From a decided step to a task, and from the task's end to the step run that the ledger keeps."""

from __future__ import annotations

import contextlib
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellway import fingerprint, planning
from cellway.errors import Cancelled
from cellway.execution.deciding import Inputs
from cellway.execution.handover import Request
from cellway.execution.performing import Performed, Task, described
from cellway.execution.progress import State
from cellway.records import RANDOM, Key, Status, StepRun

if TYPE_CHECKING:
    from cellway.execution import Setting


def begun(run: str, state: State, inputs: Inputs, status: Status) -> StepRun:
    """A new step run with what is known when a step is decided."""
    now = time.time()
    return StepRun(
        id=f"{int(now * 1000):011x}-{secrets.token_hex(4)}",
        run=run,
        step=state.step.name,
        status=status,
        key=state.planned.key if state.planned is not None else None,
        code=state.code,
        inputs={name: artifact.fingerprint for name, (_, artifact) in inputs.items()},
        providers={name: provider for name, (provider, _) in inputs.items()},
        attempt=state.attempt,
        started=now,
    )


def task(
    setting: Setting,
    state: State,
    step_run: StepRun,
    inputs: Inputs,
    outputs: tuple[str, ...],
    current: Mapping[str, str],
) -> Task:
    """Everything that it takes to execute a step.

    Args:
        setting: of the run.
        state: of the step.
        step_run: as begun, with the path for the executed notebook.
        inputs: what the step starts from.
        outputs: names that it must store.
        current: fingerprint of the value that each name has where the step starts.
    """
    step = state.step
    providers = dict(step_run.providers)
    named = {name: artifact for name, (_, artifact) in inputs.items() if name != RANDOM}
    request = Request(
        step=step.name,
        run=step_run.run,
        step_run=step_run.id,
        root=setting.context.root,
        workdir=setting.context.folder,
        inputs=named,
        outputs=tuple(name for name in outputs if name != RANDOM),
        perhaps=tuple(name for name in outputs if name not in {*step.writes, *step.outputs, *step.reads, RANDOM}),
        optional=step.optional,
        watch=planning.watch(step),
        later=step.later,
        random=_random(setting, state, inputs),
        draws=step.draws,
        project_modules=setting.context.module_folders,
        declared=step.options.reads,
        sign_key=setting.options.sign_key,
        materializers=setting.options.materializers,
        current=current,
    )
    return Task(
        request=request,
        folder=setting.folder / "tmp" / step_run.id,
        executed=setting.folder / str(step_run.notebook),
        backend=setting.backend_for(step),
        make=lambda: setting.make_notebook(
            step, {name: provider for name, provider in providers.items() if name != RANDOM}, request.outputs
        ),
        kernel=step.options.kernel or setting.context.kernel,
        language=setting.pipeline.language,
        parameters={name: setting.context.parameters[name] for name in step.parameters},
        options=step.options,
        handover_parameter=setting.handover_parameter,
    )


def _random(setting: Setting, state: State, inputs: Inputs) -> Mapping[str, Any] | None:
    """How the random generators start (design §5.6)."""
    step = state.step
    if not step.draws:
        return {"seed": planning.seed(step, setting.context)}
    return {"input": inputs[RANDOM][1]} if RANDOM in inputs else None


def notebook_path(folder: Path, run: str, step: str) -> str:
    """Where the executed notebook goes, relative to ``.cellway``.

    One that is there stays: of a step that started from an old value, or of the part of the run before it was resumed.
    """
    name = re.sub(r"[^\w.-]", "_", step)
    if name != step:
        name += "-" + fingerprint.text("step", step)[:8]
    number = 1
    while True:
        path = f"runs/{run}/{name}.ipynb" if number == 1 else f"runs/{run}/{name}.{number}.ipynb"
        if not (folder / path).exists():
            return path
        number += 1


def ended(state: State, step_run: StepRun, news: Performed) -> StepRun:
    """The step run as the ledger will keep it."""
    planned = state.planned
    if (result := news.result) is not None:
        if state.drawn is not None and result.facts.draws:
            planned = state.drawn
        elif state.drawn is not None:
            # It was given the state of the generators in case it draws, and had no use for it.
            step_run = replace(
                step_run,
                inputs={name: value for name, value in step_run.inputs.items() if name != RANDOM},
                providers={name: step for name, step in step_run.providers.items() if name != RANDOM},
            )
        step_run = replace(
            step_run,
            artifacts=result.artifacts,
            files=result.files,
            facts=result.facts,
            touched=result.touched,
            environment=result.environment,
            watched=planning.watch(state.step),
            written=result.written,
        )
    stopped = isinstance(news.error, Cancelled)
    return replace(
        step_run,
        status=Status.CANCELLED if stopped else Status.FAILED if news.error else Status.COMPLETED,
        key=planned.key if planned is not None else None,
        error=described(news.error) if news.error is not None and not stopped else None,
        started=news.started,
        ended=news.ended,
        notebook=step_run.notebook if news.executed else None,
    )


def without_reuse(step_run: StepRun) -> StepRun:
    """A step run that is right for this run, but not for its key: what it imported is not what the key was made of.

    The parts stay, so that the next plan says what changed.
    """
    if step_run.key is None:
        return step_run
    return replace(step_run, key=Key(f"moved {step_run.key.digest}", step_run.key.parts))


def set_aside(folder: Path, state: State, step_run: StepRun) -> StepRun:
    """Name the notebook of a failed attempt after the attempt: the step's own name is for the last one."""
    if step_run.notebook is None:
        return step_run
    path = folder / step_run.notebook
    aside = path.with_name(f"{path.stem}.attempt{state.attempt}.ipynb")
    with contextlib.suppress(OSError):
        path.replace(aside)
        return replace(step_run, notebook=aside.relative_to(folder).as_posix())
    return step_run
