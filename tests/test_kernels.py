"""papermill's engine ``cellway``, and how it starts kernels."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import threading
import time
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest
from papermill.engines import papermill_engines

from cellway.backends import Job
from cellway.backends.local import LocalBackend
from cellway.kernels import launching
from cellway.kernels.engine import Engine


@pytest.fixture(autouse=True)
def _registered() -> None:
    papermill_engines.register("cellway", Engine)


def book(*sources: str) -> nbformat.NotebookNode:
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    cells[0].metadata["tags"] = ["parameters"]
    kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernelspec})


def text(executed: Any) -> str:
    return "".join(
        out.text for cell in executed.cells for out in cell.get("outputs", ()) if out.output_type == "stream"
    )


def kernelspec(folder: Path, name: str, argv: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    place = folder / "jupyter" / "kernels" / name
    place.mkdir(parents=True)
    (place / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": name, "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(folder / "jupyter"))


def test_the_engine_is_declared() -> None:
    declared = [point for point in entry_points(group="papermill.engine") if point.name == "cellway"]
    if not declared:
        pytest.skip("cellway is on the path, but not installed")
    assert declared[0].load().execute_notebook == Engine.execute_notebook


def test_papermill_alone_can_use_it(tmp_path: Path) -> None:
    """The stock engine's behaviour: parameters, outputs, metadata, and papermill's own error."""
    executed = papermill.execute_notebook(
        book("n = 1", "print(n)\nn * 7"),
        str(tmp_path / "out.ipynb"),
        {"n": 6},
        engine_name="cellway",
        progress_bar=False,
    )
    assert text(executed) == "6\n"
    assert executed.cells[2].outputs[1].data["text/plain"] == "42"
    assert [cell.metadata.papermill.status for cell in executed.cells] == ["completed"] * 3
    assert executed.metadata.language_info.name == "python"
    with pytest.raises(papermill.PapermillExecutionError, match="division by zero"):
        papermill.execute_notebook(
            book("1 / 0"), str(tmp_path / "bad.ipynb"), engine_name="cellway", progress_bar=False
        )
    assert "ZeroDivisionError" in (tmp_path / "bad.ipynb").read_text()


@pytest.mark.parametrize("engine", [None, "cellway"])
def test_the_same_notebook_as_with_the_stock_engine(tmp_path: Path, engine: str | None) -> None:
    """Streams, results, rich outputs and their updates, await, cleared outputs, captures, widgets."""
    node = book(
        "import sys\nprint('out')\nprint('err', file=sys.stderr)\n'result'",
        "from IPython.display import display, HTML\nhandle = display(HTML('<b>1</b>'), display_id=True)",
        "handle.update(HTML('<b>2</b>'))",
        "import asyncio\nawait asyncio.sleep(0)\nprint('awaited')",
        "from IPython.display import clear_output\nprint('gone')\nclear_output()\nprint('stays')",
        "%%capture captured\nprint('hidden')",
        "len(captured.stdout)",
        "import ipywidgets\nipywidgets.IntSlider(value=3)",
    )
    executed = papermill.execute_notebook(node, None, engine_name=engine, progress_bar=False)
    found = text(executed)
    lacking = [word for word in ("out", "err", "awaited", "stays") if f"{word}\n" not in found]
    assert not lacking
    assert "gone" not in found
    assert "hidden" not in found
    shown = [out.data for cell in executed.cells for out in cell.get("outputs", ()) if "data" in out]
    assert {"text/html": "<b>2</b>", "text/plain": "<IPython.core.display.HTML object>"} in shown
    assert shown[-2]["text/plain"] == "7"
    states = executed.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"].values()
    assert "IntSliderModel" in {state["model_name"] for state in states}


def test_sockets_lie_in_a_private_folder_or_on_the_loopback(tmp_path: Path) -> None:
    short = launching.manager("python3", "/tmp/cw-x")
    assert (short.transport, short.ip) == (("tcp", "127.0.0.1") if os.name == "nt" else ("ipc", "/tmp/cw-x/k"))
    long = launching.manager("python3", str(tmp_path / ("x" * 100)))
    assert long.transport == "tcp"


def test_the_temporary_folder_goes_and_is_nobody_elses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen = []
    cell = "import ipykernel, os\nprint(os.path.dirname(ipykernel.get_connection_file()))"
    executed = papermill.execute_notebook(
        book(cell), None, engine_name="cellway", progress_bar=False,
        listen=lambda kind, data: seen.append([(p.name, p.stat().st_mode & 0o777) for p in tmp_path.iterdir()]),
    )  # fmt: skip
    assert text(executed).startswith(str(tmp_path))
    assert seen
    assert all(mode == 0o700 for _, mode in seen[0])
    assert not list(tmp_path.iterdir())


def test_a_kernel_of_another_environment_finds_cellway_and_keeps_its_own_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An environment with ipykernel, and without cellway; what it has installed must not be shadowed by ours."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "env")], check=True)
    python = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
    site = Path(subprocess.check_output(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
    ).strip())  # fmt: skip
    (site / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")  # .pth files in there do not count
    (site / "json5.py").write_text("own = True")
    without = subprocess.run([python, "-c", "import ipykernel, cellway"], capture_output=True, text=True, check=False)
    assert "No module named 'cellway'" in without.stderr
    argv = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernelspec(tmp_path, "other", argv, monkeypatch)
    source = "import sys, json5\nfrom cellway import records\nimport cellway_magics\nprint(sys.prefix, json5.own)"
    executed: Any = papermill.execute_notebook(
        book(source), None, kernel_name="other", engine_name="cellway", progress_bar=False
    )
    assert text(executed) == f"{tmp_path / 'env'} True\n"


def test_an_environment_without_ipykernel_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "env")], check=True)
    python = str(tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin") / "python")
    kernelspec(tmp_path, "bare", [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"], monkeypatch)
    job = Job("s", dict(book("1")), str(tmp_path / "out.ipynb"), str(tmp_path), kernel="bare")
    error = LocalBackend().execute(job, lambda event: None, threading.Event()).error
    assert error is not None
    assert error.fix == f"{python} -m pip install ipykernel"


def test_a_kernel_that_ends_at_once_shows_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernelspec(tmp_path, "broken", [sys.executable, "-c", "raise SystemExit('no licence')"], monkeypatch)
    job = Job("s", dict(book("1")), str(tmp_path / "out.ipynb"), str(tmp_path), kernel="broken")
    error = LocalBackend().execute(job, lambda event: None, threading.Event()).error
    assert error is not None
    assert "ended before it was ready (exit code 1)" in error.message
    assert "no licence" in error.message


KILLED = """
import sys, threading
from cellway.backends import Job
from cellway.backends.local import LocalBackend
import nbformat
source = "import os, time\\nprint(os.getpid(), flush=True)\\ntime.sleep(600)"
cells = [nbformat.v4.new_code_cell(source)]
kernelspec = {"name": "python3", "display_name": "x", "language": "python"}
book = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernelspec})
job = Job("s", dict(book), sys.argv[1], ".")
print_text = lambda event: event.kind == "output" and print(event.data["text"], end="", flush=True)
LocalBackend().execute(job, print_text, threading.Event())
"""


def test_no_kernel_outlives_a_killed_parent(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "out.ipynb")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    process.kill()
    process.wait()
    for _ in range(400):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return
        if state == "Z":  # dead; its new parent has not looked yet
            return
        time.sleep(0.05)
    raise AssertionError("the kernel still runs")
