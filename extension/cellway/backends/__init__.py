"""Where step notebooks are executed.

A backend gets a finished step notebook and gives it back executed. It knows neither the pipeline nor the ledger nor the
store; what a step hands over lies in the folder that the parameter ``handover`` names.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from cellway.errors import CellwayError


class Cancellation(threading.Event):
    """Asks running steps to stop: set once politely, twice at once.

    :meth:`set` interrupts the kernels as Ctrl-C would, and ends them when they do not stop by themselves soon after.
    :meth:`kill` leaves out the first half.
    """

    def __init__(self) -> None:
        super().__init__()
        self.at_once = False

    def kill(self) -> None:
        """Stop without giving the kernels time to react."""
        self.at_once = True
        self.set()


@dataclass(frozen=True, slots=True)
class Job:
    """A step notebook and how to execute it.

    Attributes:
        name: of the step, for messages.
        notebook: the step notebook as nbformat 4 JSON; it is not changed.
        output: absolute path to which the executed notebook is written, whether or not the step succeeds.
        workdir: folder in which the kernel starts.
        handover: folder of ``request.json`` and, afterwards, of ``result.json`` (a remote backend carries it along).
        kernel: name of the kernelspec; ``None``: the one that the notebook names.
        language: of the kernel; papermill writes the parameters in it.
        parameters: values that papermill injects.
        env: environment variables of the kernel, on top of the backend's own.
        timeout: seconds for the whole step, the kernel's start included.
        cpus, memory, gpus: what the step asks for; memory in bytes.
    """

    name: str
    notebook: Mapping[str, Any]
    output: str
    workdir: str
    handover: str = ""
    kernel: str | None = None
    language: str = "python"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    timeout: float | None = None
    cpus: float | None = None
    memory: int | None = None
    gpus: int | None = None


@dataclass(frozen=True, slots=True)
class JobEvent:
    """Something that happened while a notebook ran.

    Attributes:
        kind: ``cell`` (``data = {"cell": i, "cells": n}``: the i-th of the author's n cells starts, from 1) or
            ``output`` (``data = {"stream": "stdout" | "stderr", "text": …}``).
    """

    kind: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended.

    Attributes:
        error: ``None`` if every cell ran to its end; else :class:`~cellway.errors.CellFailed`,
            :class:`~cellway.errors.StepTimeout`, :class:`~cellway.errors.KernelDied`,
            :class:`~cellway.errors.Cancelled`, :class:`~cellway.errors.StepError` (the kernel could not be started) or
            :class:`~cellway.errors.StoreError` (the executed notebook could not be written).
        started, ended: seconds since the epoch, UTC.
    """

    error: CellwayError | None
    started: float
    ended: float


Listener = Callable[[JobEvent], None]


@runtime_checkable
class Backend(Protocol):
    """Executes step notebooks (``tests/contracts/test_backend.py`` says what that means)."""

    def execute(self, job: Job, listen: Listener, cancelled: threading.Event) -> Outcome:
        """Execute a job and wait for its end.

        Several calls may run at the same time in threads of one process.

        Args:
            job: what to execute.
            listen: called for each event, in order, in any thread; it returns at once.
            cancelled: when it is set, the call returns within about a second and leaves no process behind. A
                :class:`Cancellation` may ask for more haste.

        Returns:
            How it ended; a failing step is an outcome, not an exception.

        Raises:
            PluginError: the backend itself cannot be used.
        """
