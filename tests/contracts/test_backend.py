"""What every backend promises; a plug-in's author adds a row to BACKENDS."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cellway.backends import Backend, Cancellation, Job, JobEvent, Outcome
from cellway.backends.local import LocalBackend
from cellway.errors import Cancelled, CellFailed, KernelDied, StepError, StepTimeout, StoreError

BACKENDS: dict[str, Callable[[], Backend]] = {"local": LocalBackend}


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    return BACKENDS[request.param]()


def notebook(*sources: str, role: str = "cell") -> dict[str, Any]:
    """A step notebook: parameters, a generated cell, then the author's (cells 10, 11 …, each under a line of magic)."""

    def code(cell_id: str, source: str, metadata: dict[str, Any]) -> dict[str, Any]:
        return {
            "cell_type": "code",
            "id": cell_id,
            "metadata": metadata,
            "source": source,
            "outputs": [],
            "execution_count": None,
        }

    cells = [
        code("parameters", "n = 1", {"tags": ["parameters"], "cellway": {"role": "parameters"}}),
        code("begin", "pass", {"cellway": {"role": "begin"}}),
    ]
    for index, source in enumerate(sources):
        cells.append(code(f"cell-{index}", source, {"cellway": {"role": role, "cell": 10 + index, "offset": 1}}))
    kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernelspec}, "cells": cells}


class Runner:
    """Executes notebooks on one backend and keeps what was heard."""

    def __init__(self, backend: Backend, folder: Path) -> None:
        self.backend = backend
        self.folder = folder
        self.output = folder / "executed" / "step.ipynb"
        self.events: list[JobEvent] = []
        self.cancelled = Cancellation()

    def __call__(self, *sources: str, **settings: Any) -> Outcome:
        job = Job("step", notebook(*sources), str(self.output), str(self.folder), **settings)
        return self.backend.execute(job, self.events.append, self.cancelled)

    def executed(self) -> dict[str, Any]:
        return json.loads(self.output.read_text("utf-8"))

    def text(self) -> str:
        streams = [out for cell in self.executed()["cells"] for out in cell.get("outputs", ()) if "text" in out]
        return "".join("".join(out["text"]) for out in streams)


@pytest.fixture
def run(backend: Backend, tmp_path: Path) -> Runner:
    return Runner(backend, tmp_path)


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie, which waits for a parent that does not care, does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone(pid: int) -> bool:
    for _ in range(400):
        if not alive(pid):
            return True
        time.sleep(0.05)
    return False


def test_it_is_a_backend(backend: Backend) -> None:
    assert isinstance(backend, Backend)


def test_parameters_folder_and_environment_reach_the_kernel(run: Runner, tmp_path: Path) -> None:
    outcome = run(
        "import os\nprint(n, os.getcwd(), os.environ['PYTHONHASHSEED'], os.environ['FLAVOUR'])",
        parameters={"n": 5},
        env={"FLAVOUR": "sour"},
    )
    assert outcome.error is None
    assert outcome.started <= outcome.ended
    assert run.text() == f"5 {tmp_path} 0 sour\n"


@pytest.mark.parametrize(
    "value",
    [None, True, 3, -2.5, float("inf"), "a 'quoted' \"text\"\n{braces}, é, \\ backslash", [1, [2]], {"a": {"b": 1}}],
    ids=repr,
)
def test_a_parameter_arrives_as_it_was(run: Runner, value: Any) -> None:
    assert run("print(ascii(n))", parameters={"n": value}).error is None
    assert run.text() == ascii(value) + "\n"


def test_the_job_is_not_changed(backend: Backend, tmp_path: Path) -> None:
    job = Job("step", notebook("print(1)"), str(tmp_path / "out.ipynb"), str(tmp_path), parameters={"n": 2})
    before = json.dumps(job.notebook)
    backend.execute(job, lambda event: None, threading.Event())
    assert json.dumps(job.notebook) == before


def test_progress_counts_the_authors_cells_and_streams_come_along(run: Runner) -> None:
    run("print('a')", "import sys\nprint('b', file=sys.stderr)")
    cells = [dict(event.data) for event in run.events if event.kind == "cell"]
    assert cells == [{"cell": 1, "cells": 2}, {"cell": 2, "cells": 2}]
    output = [(event.data["stream"], event.data["text"]) for event in run.events if event.kind == "output"]
    assert output == [("stdout", "a\n"), ("stderr", "b\n")]


def test_the_executed_notebook_is_valid_and_folds_what_cellway_wrote(run: Runner) -> None:
    import nbformat

    run("1 + 1", parameters={"n": 2})
    nbformat.validate(nbformat.read(run.output, as_version=4))
    hidden = [cell["metadata"].get("jupyter", {}).get("source_hidden") for cell in run.executed()["cells"]]
    assert hidden == [True, True, True, None]  # parameters, injected parameters, begin, the author's
    assert not [file for file in run.output.parent.iterdir() if file != run.output]


FAILURES = {
    "a line": ("x = 1\n1 / x\n\nraise KeyError('who')", "KeyError", "'who'", 5, "raise KeyError('who')"),
    "a function of the same cell": ("def f():\n    1 / 0\n\nf()", "ZeroDivisionError", "division by zero", 3, "1 / 0"),
    "a library": ("import json\n\njson.loads('[')", "JSONDecodeError", None, 4, "json.loads('[')"),
    "syntax": ("x = 1\ny = = 2", "SyntaxError", None, 3, "y = = 2"),
    "a timed cell": ("%%time\nz = 1\n1 / 0", "ZeroDivisionError", "division by zero", 4, "1 / 0"),
    "a shared text": ("assert False, 'Cell In[1], line 99'", "AssertionError", None, 2, "assert False"),
    "sys.exit": ("import sys\nsys.exit(0)", "SystemExit", "0", None, "import sys"),
    "input": ("input()", "StdinNotImplementedError", None, 2, "input()"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_an_exception_of_the_author_is_found_in_the_authors_cell(run: Runner, case: str) -> None:
    source, ename, evalue, line, excerpt = FAILURES[case]
    error = run("before = 1", source, "after = 1").error
    assert isinstance(error, CellFailed)
    assert error.ename == ename
    assert evalue is None or error.evalue == evalue
    assert error.place is not None
    assert (error.place.step, error.place.cell) == ("step", 11)
    assert error.place.excerpt.strip().startswith(excerpt)
    assert error.place.line == line  # None: IPython prints no frame for SystemExit
    states = [cell["metadata"]["papermill"]["status"] for cell in run.executed()["cells"] if "outputs" in cell]
    assert states == ["completed", "completed", "completed", "failed", "pending"]


def test_a_failure_in_a_function_of_another_cell_points_at_the_calling_line(run: Runner) -> None:
    error = run("def f():\n    return 1 / 0", "x = 1\nf()").error
    assert error is not None
    assert error.place is not None
    assert (error.place.cell, error.place.line, error.place.excerpt) == (11, 3, "f()")


def test_a_place_in_a_carried_symbol_is_the_line_where_it_stands(backend: Backend, tmp_path: Path) -> None:
    book = notebook("import json\n\n\nworst = 1 / 0", role="symbol")
    pieces = [{"name": "json", "at": 1, "line": 7}, {"name": "worst", "at": 4, "line": 31}]
    book["cells"][2]["metadata"]["cellway"] |= {"offset": 6, "pieces": pieces}
    job = Job("step", book, str(tmp_path / "out.ipynb"), str(tmp_path))
    error = backend.execute(job, lambda event: None, threading.Event()).error
    assert error is not None
    assert error.place is not None
    assert (error.place.cell, error.place.line) == (10, 31)


DEATHS = {
    "kill": ("os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL, probably because memory ran out"),
    "exit code": ("os._exit(3)", "exit code 3"),
    "native crash": ("import ctypes\nctypes.string_at(0)", "SIGSEGV"),
}


@pytest.mark.parametrize("case", DEATHS)
def test_a_dead_kernel_is_told_in_words_and_its_outputs_stay(run: Runner, case: str) -> None:
    source, words = DEATHS[case]
    error = run("a = 1", f"import os, signal, sys\nprint('so far', flush=True)\nsys.stdout.flush()\n{source}").error
    assert isinstance(error, KernelDied)
    assert words in error.message
    assert error.place is not None
    assert error.place.cell == 11
    assert run.text() == "so far\n"


def test_a_timeout_ends_the_whole_step_and_keeps_what_was_said(run: Runner) -> None:
    error = run("import os\nprint(os.getpid(), flush=True)\nimport time\ntime.sleep(600)", timeout=3.0).error
    assert isinstance(error, StepTimeout)
    assert "3 s" in error.message
    assert error.place is not None
    assert (error.place.cell, error.place.line) == (10, 5)
    assert gone(int(run.text().split()[0]))


STUBBORN = {
    "asleep": "time.sleep(600)",
    "deaf": "while True:\n    try:\n        time.sleep(600)\n    except KeyboardInterrupt:\n        pass",
    "swallowing": "try:\n    time.sleep(600)\nexcept KeyboardInterrupt:\n    pass",
    "native": "import ctypes\nctypes.CDLL(None).sleep(600)",
    "with a child": "child = subprocess.Popen(['sleep', '600'])\nprint(child.pid, flush=True)\nchild.wait()",
}


@pytest.mark.parametrize("at_once", [False, True], ids=["politely", "at once"])
@pytest.mark.parametrize("case", STUBBORN)
def test_cancelling_ends_the_kernel_and_its_children(run: Runner, case: str, at_once: bool) -> None:
    def listen(event: JobEvent) -> None:
        run.events.append(event)
        if event.kind == "output" and "here" in event.data["text"]:
            run.cancelled.kill() if at_once else run.cancelled.set()

    source = f"import os, subprocess, time\nprint(os.getpid(), flush=True)\nprint('here', flush=True)\n{STUBBORN[case]}"
    job = Job("step", notebook(source), str(run.output), str(run.folder))
    outcome = run.backend.execute(job, listen, run.cancelled)
    # Also the cell that took the interrupt for its end is not taken for finished: its results would be half of it.
    assert isinstance(outcome.error, Cancelled)
    words = "".join(event.data["text"] for event in run.events if event.kind == "output").split()
    assert all(gone(int(word)) for word in words if word.isdigit())
    assert run.output.exists()


def test_cancelled_before_it_began(run: Runner) -> None:
    run.cancelled.set()
    assert isinstance(run("print('never')").error, Cancelled)
    assert run.text() == ""


def test_no_process_is_left_after_a_normal_end(run: Runner) -> None:
    source = "import os, subprocess\nprint(os.getpid(), subprocess.Popen(['sleep', '600']).pid)"
    assert run(source).error is None
    assert all(gone(int(word)) for word in run.text().split())


def test_exit_handlers_run(run: Runner, tmp_path: Path) -> None:
    source = "import atexit, pathlib\natexit.register(pathlib.Path('bye').touch)"
    assert run(source).error is None
    assert (tmp_path / "bye").exists()


def test_a_missing_kernel_is_named_with_what_there_is(run: Runner) -> None:
    error = run("1", kernel="no-such-kernel").error
    assert isinstance(error, StepError)
    assert "no-such-kernel" in error.message
    assert "python3" in error.message
    assert "ipykernel install" in error.fix


def test_a_missing_folder_is_named(run: Runner, tmp_path: Path) -> None:
    job = Job("step", notebook("1"), str(run.output), str(tmp_path / "nowhere"))
    error = run.backend.execute(job, run.events.append, run.cancelled).error
    assert isinstance(error, StepError)
    assert "nowhere" in error.message


def test_an_executed_notebook_that_cannot_be_written_is_an_error(backend: Backend, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    job = Job("step", notebook("1"), str(tmp_path / "file" / "out.ipynb"), str(tmp_path))
    outcome = backend.execute(job, lambda event: None, threading.Event())
    assert isinstance(outcome.error, StoreError)
    assert "cannot be written" in outcome.error.message


def test_side_by_side_in_threads_of_one_process(backend: Backend, tmp_path: Path) -> None:
    """Each waits for the others' files: only if all run at the same time does any end. Folders must not mix."""
    here = os.getcwd()
    count = 3
    source = (
        "import pathlib, time\n"
        "pathlib.Path('..', f'here-{n}').touch()\n"
        f"while len(list(pathlib.Path('..').glob('here-*'))) < {count}:\n    time.sleep(0.02)\n"
        "pathlib.Path(f'mine-{n}').touch()\nprint(n)"
    )
    outcomes: dict[int, Outcome] = {}
    heard: dict[int, list[JobEvent]] = {n: [] for n in range(count)}

    def one(n: int) -> None:
        folder = tmp_path / f"folder-{n}"
        folder.mkdir()
        job = Job(f"s{n}", notebook(source), str(folder / "out.ipynb"), str(folder), parameters={"n": n}, timeout=120)
        outcomes[n] = backend.execute(job, heard[n].append, threading.Event())

    threads = [threading.Thread(target=one, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [outcomes[n].error for n in range(count)] == [None] * count
    assert all((tmp_path / f"folder-{n}" / f"mine-{n}").exists() for n in range(count))
    said = ["".join(e.data["text"] for e in heard[n] if e.kind == "output") for n in range(count)]
    assert said == ["0\n", "1\n", "2\n"]
    assert os.getcwd() == here


def test_nothing_is_written_to_the_terminal(run: Runner, capfd: pytest.CaptureFixture[str]) -> None:
    run("import sys, os\nos.write(1, b'raw')\nprint('x', file=sys.stderr)", "1 / 0", parameters={"n": 1, "other": 2})
    assert capfd.readouterr() == ("", "")


def test_from_a_running_event_loop(run: Runner) -> None:
    """The server's handlers run in one."""
    import asyncio

    async def main() -> Outcome:
        return run("print(6 * 7)")

    assert asyncio.run(main()).error is None
    assert run.text() == "42\n"
