"""What the benchmarks share: notebooks, a way to run them without kernels, processes timed in turn, tables."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cellway.backends import Job, Listener, Outcome
from cellway.errors import CellFailed
from cellway.project import Project

# --- notebooks -------------------------------------------------------------------------------------------------------

HELPERS = "from places import where\n\n\ndef grown(values, by):\n    return [value + by for value in values]\n"
"""Functions of the project's own module, which every step uses."""


def long_notebook(folder: Path, steps: int) -> Path:
    """A project with a notebook of so many steps: two outputs each, a module of its own, a data file for every fifth.

    It settles first: a file that has just been written may be written again without a trace in its stat, and neither
    digests nor receipts are kept of such files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "helpers.py").write_text(HELPERS)
    (folder / "places.py").write_text("def where(number):\n    return f'data-{number}.txt'\n")
    cells = [
        "from helpers import grown, where",
        "%%parameters\nby: int = 1",
        "%%step s0\nvalues_0 = [0] * 10\ntotal_0 = 0",
    ]
    for number in range(1, steps):
        lines = [f"%%step s{number}", f"values_{number} = grown(values_{number - 1}, by)"]
        if number % 5 == 0:
            (folder / f"data-{number}.txt").write_text(f"{number}\n")
            lines += [f"with open(where({number})) as stream:", f"    values_{number}.append(int(stream.read()))"]
        lines += [f"total_{number} = sum(values_{number}) + total_{number - 1}"]
        cells.append("\n".join(lines))
    path = folder / "long.ipynb"
    code = [{"cell_type": "code", "execution_count": None, "id": f"c{number}", "metadata": {}, "outputs": [],
             "source": text} for number, text in enumerate(cells)]  # fmt: skip
    path.write_text(json.dumps({"cells": code, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    time.sleep(2.2)
    return path


class Here:
    """Executes step notebooks in this process, one at a time: the hand-over is the real one, only the kernel is not.

    What the benchmarks of a run with nothing to do measure comes after the steps, and 500 kernels would take minutes.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def execute(self, job: Job, listen: Listener, cancelled: threading.Event) -> Outcome:
        """See :class:`cellway.backends.Backend`."""
        del listen, cancelled
        started, error = time.time(), None
        with self._lock:
            home = os.getcwd()
            os.chdir(job.workdir)
            space: dict[str, object] = {"__name__": "__main__"}
            try:
                for cell in job.notebook["cells"]:
                    if cell["cell_type"] == "code":
                        exec("".join(cell["source"]), space)
                        if "parameters" in cell["metadata"].get("tags", ()):
                            space |= job.parameters
            except Exception as caught:  # noqa: BLE001 - it is the step's
                error = CellFailed(f"{type(caught).__name__}: {caught}")
            finally:
                os.chdir(home)
        Path(job.output).parent.mkdir(parents=True, exist_ok=True)
        Path(job.output).write_text(json.dumps(job.notebook))
        return Outcome(error, started, time.time())


def run_here(source: Path) -> Project:
    """Run a notebook in this process until nothing is left to do and a receipt says so."""
    project = Project.find(source)
    backend = Here()
    project._backend_for = lambda step: backend  # type: ignore[method-assign]
    for _ in range(3):
        for event in project.run(source, jobs=1):
            if event.kind == "run-finished" and event.run.status.value != "completed":
                raise RuntimeError(f"the run to be repeated did not succeed: {event}")
        if project.answer(source) is not None:
            return project
        time.sleep(0.2)
    raise RuntimeError("no receipt was kept of a run in which nothing was left to do")


# --- whole processes -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Took:
    """What one process took, in seconds."""

    wall: float
    cpu: float


def environment() -> dict[str, str]:
    """Of the measured processes: nothing is set about Python, so that modules are compiled and output is buffered."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def spawn(command: Sequence[str], folder: Path) -> Took:
    """Run a process to its end; processor time is the kernel's word on it and its children (``wait4``)."""
    null = os.open(os.devnull, os.O_RDWR)
    began = time.perf_counter()
    try:
        home = os.getcwd()
        os.chdir(folder)
        try:
            actions = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, null, 1)]
            pid = os.posix_spawn(command[0], list(command), environment(), file_actions=actions)
        finally:
            os.chdir(home)
        _, status, usage = os.wait4(pid, 0)
    finally:
        os.close(null)
    wall = time.perf_counter() - began
    if status:
        raise RuntimeError(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return Took(wall, usage.ru_utime + usage.ru_stime)


def alternate(works: Mapping[str, Callable[[], Took]], times: int) -> dict[str, list[Took]]:
    """Do several things in turn, so that what else the machine does meets all of them alike; once before it counts."""
    took: dict[str, list[Took]] = {name: [] for name in works}
    for round_ in range(times + 1):
        for name, work in works.items():
            one = work()
            if round_:
                took[name].append(one)
    return took


def middle(values: Sequence[float]) -> float:
    """Median."""
    return statistics.median(values)


def ratio(took: Mapping[str, list[Took]], name: str, base: str, what: str = "wall") -> float:
    """Median of the ratios of the pairs: each measurement against the baseline taken right beside it."""
    pairs = zip(took[name], took[base], strict=True)
    return middle([getattr(one, what) / getattr(two, what) for one, two in pairs])


# --- words -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a table."""

    what: str
    goal: str
    measured: str
    baseline: str
    ratio: str
    met: bool | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What one benchmark found."""

    title: str
    how: str
    rows: Sequence[Row]


def ms(seconds: float) -> str:
    """``12.3 ms``."""
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def machine() -> str:
    """The machine in one line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), {memory:.0f} GB of memory, {platform.system()}, "
        f"{platform.python_implementation()} {platform.python_version()}"
    )


def load() -> str:
    """Load averages of the last 1, 5 and 15 minutes."""
    return " ".join(f"{value:.1f}" for value in os.getloadavg())


PYTHON = sys.executable
