"""What a run in which nothing runs costs: asserted by its causes, never by a clock.

Times are measured by ``make bench`` (docs/benchmarks.md).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import small_notebooks

from cellway.ledger import Ledger
from cellway.project import Project

ALLOWED = {
    "cellway", "cellway._version", "cellway.cli", "cellway.cli.commands", "cellway.cli.console", "cellway.cli.parsing",
    "cellway.cli.running", "cellway.errors", "cellway.ledger", "cellway.ledger.database", "cellway.ledger.processes",
    "cellway.ledger.rows", "cellway.ledger.writing", "cellway.project", "cellway.project.answering", "cellway.receipt",
}  # fmt: skip
"""All of cellway that may be imported."""

FORBIDDEN = {
    "IPython", "argparse", "asyncio", "blake3", "contextlib", "dataclasses", "hashlib", "importlib.metadata", "inspect",
    "json", "logging", "nbclient", "nbformat", "numpy", "pandas", "papermill", "pathlib", "pyarrow", "re", "rich",
    "socket", "subprocess", "tempfile", "threading", "typing", "yaml",
}  # fmt: skip
"""Each of these costs between one millisecond and a second."""

LISTED = """
import sys
bare = set(sys.modules)
from cellway.cli import main
code = main(sys.argv[1:])
sys.stderr.write("\\n".join(sorted(set(sys.modules) - bare)))
sys.exit(code)
"""


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("noop")
    path = small_notebooks.write(
        folder / "nb.ipynb",
        [
            "import math",
            "%%parameters\nn: int = 3",
            "%%step load\nvalues = [1] * n",
            "%%step sum\ntotal = math.fsum(values)",
        ],
    )
    project = Project.find(path)
    for _ in range(20):
        time.sleep(0.06)
        list(project.run(path))
        if project.answer(path) is not None:
            return path
    raise AssertionError("no receipt was kept")


def _imported(notebook: Path, *words: str) -> tuple[set[str], str]:
    # -S: what the machine's own sitecustomize and .pth files import is not ours, and would hide what is.
    path = os.pathsep.join(dict.fromkeys([*map(str, _sources()), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]))
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {path.split(os.pathsep)!r}\n{LISTED}", *words],
        cwd=notebook.parent, text=True, capture_output=True, check=True, env=dict(os.environ),
    )  # fmt: skip
    return set(done.stderr.split("\n")), done.stdout


def _needed() -> set[str]:
    """What the database and the standard library's bare minimum import by themselves, on this Python."""
    program = "import __future__, binascii, collections.abc, os, sqlite3, sys, time; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-S", "-c", program], text=True, capture_output=True, check=True)
    return set(done.stdout.split())


def _sources() -> list[Path]:
    import cellway

    return [Path(str(cellway.__file__)).parents[1]]


@pytest.mark.parametrize("more", [[], ["--json"], ["--jobs", "2"], ["--quiet"]])
def test_a_fully_cached_run_imports_next_to_nothing(notebook: Path, more: list[str]) -> None:
    imported, printed = _imported(notebook, "run", "nb.ipynb", *more)
    own = {name for name in imported if name.partition(".")[0] in {"cellway", "cellway_magics"}}
    assert own == ALLOWED
    if "--json" not in more:
        assert not imported & (FORBIDDEN - _needed())
        assert imported - own <= _needed()
    assert not imported & (FORBIDDEN - _needed() - {"json", "re"})
    if more == ["--json"]:
        said = json.loads(printed)
        assert (said["kind"], [step["step"] for step in said["steps"]]) == ("run-cached", ["load", "sum"])
    else:
        assert "2 reused" in printed


def test_the_root_package_alone_imports_nothing(notebook: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys; bare = set(sys.modules); import cellway; print(*set(sys.modules) - bare)"],
        cwd=notebook.parent, text=True, capture_output=True, check=True,
    )  # fmt: skip
    assert set(done.stdout.split()) <= {"__future__", "cellway"}


def test_a_cached_run_of_any_length_takes_as_many_statements(tmp_path: Path) -> None:
    """One transaction, and no statement per step: rows go in by one ``executemany``."""
    from cellway.records import Key, Run, Status, StepRun

    counted = {}
    for length in (2, 300):
        ledger = Ledger(str(tmp_path / f"{length}.sqlite"))
        run = Run("first", "p", "/p.ipynb", Status.COMPLETED, {}, {}, 1.0, 2.0, "host", 1)
        with ledger._database.transaction() as connection:
            from cellway.ledger import writing

            writing.add_run(connection, run)
            for number in range(length):
                step = StepRun(f"id{number}", "first", f"s{number}", Status.COMPLETED, Key(f"k{number}", {}), "c", "")
                writing.add_step_run(connection, run, step)
        ledger.close()
        connection = ledger._database._open()
        statements: list[str] = []
        connection.set_trace_callback(statements.append)
        again = Run("again", "p", "/p.ipynb", Status.COMPLETED, {}, {}, 3.0, 4.0, "host", 1)
        ledger.append_cached_run(again, [(f"s{number}", f"id{number}") for number in range(length)])
        assert [step.producer for step in ledger.step_runs("again")] == [f"id{number}" for number in range(length)]
        counted[length] = len({text for text in statements if not text.startswith("SELECT") and "cached" not in text})
        assert sum(text == "COMMIT" for text in statements) == 1
    assert counted[2] == counted[300]
