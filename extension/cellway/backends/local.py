"""Steps in kernels on this machine, through papermill."""

from __future__ import annotations

import contextlib
import contextvars
import json
import logging
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cellway.backends import Job, JobEvent, Listener, Outcome
from cellway.errors import CellFailed, CellwayError, Place, PluginError, StepError, StoreError

ENGINE = "cellway"
"""Name of the papermill engine (entry point ``papermill.engine``)."""
_ENGINE_HOME = "cellway.kernels.engine:Engine"

_GENERATED = frozenset({"parameters", "injected", "begin", "inputs", "outputs"})
"""Roles of cells that the reader of an executed notebook sees folded."""

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
# IPython 8.? to 9: "Cell In[3], line 2", with "In [3]" in the 8.0s; a syntax error has it indented.
_FRAME = re.compile(r"^\s*(?:File )?Cell In ?\[(\d+)\],? line (\d+)", re.MULTILINE)
_TIMED = re.compile(r"^\s*File <timed exec>:(\d+)", re.MULTILINE)

_quiet: contextvars.ContextVar[bool] = contextvars.ContextVar("cellway_quiet", default=False)
_preparing = threading.Lock()


class LocalBackend:
    """Executes each job in a new kernel of its own."""

    def execute(self, job: Job, listen: Listener, cancelled: threading.Event) -> Outcome:
        """Execute a job through papermill; see :meth:`cellway.backends.Backend.execute`."""
        started = time.time()
        seen: list[Any] = []

        def keep(notebook: Any) -> None:
            if seen:
                _write(job.output, notebook)
            else:
                seen.append(notebook)

        error: CellwayError | None = None
        try:
            with _silence():
                _papermill(job, listen, cancelled, keep)
        except CellwayError as caught:
            error = caught
        if seen:
            error = _locate(seen[0], job.name, error)
            try:
                _write(job.output, seen[0])
            except StoreError as caught:
                error = error or caught
        return Outcome(error, started, time.time())


def _papermill(job: Job, listen: Listener, cancelled: threading.Event, keep: Any) -> None:
    papermill = _prepared()
    from nbformat.notebooknode import from_dict

    node: Any = from_dict(dict(job.notebook))  # type: ignore[no-untyped-call]
    kernel = job.kernel or node.metadata.get("kernelspec", {}).get("name") or "python3"
    try:
        papermill.execute_notebook(
            node,
            None,  # papermill would write in place; see _write
            parameters=dict(job.parameters),
            engine_name=ENGINE,
            request_save_on_cell_execute=False,
            progress_bar=False,
            kernel_name=kernel,
            language=job.language,
            autosave_cell_every=0,
            # Not `cwd`: papermill would change the working directory of this whole process, threads and all.
            workdir=job.workdir,
            env=job.env,
            step_timeout=job.timeout,
            listen=lambda kind, data: listen(JobEvent(kind, data)),
            keep=keep,
            cancelled=cancelled,
        )
    except papermill.PapermillExecutionError:
        # Nothing is lost: the cell is marked in the notebook, and _locate reads it from there.
        return
    except papermill.exceptions.PapermillException as error:
        raise StepError(f"papermill cannot execute the step: {error}", place=Place(step=job.name)) from error


def _prepared() -> Any:
    """papermill, imported once, with our engine in its list."""
    with _preparing:
        import papermill
        from papermill.engines import papermill_engines

        try:
            papermill_engines.get_engine(ENGINE)
        except papermill.exceptions.PapermillException:
            # papermill lists the engines of installed distributions; a source tree on the path is none.
            import pkgutil

            try:
                papermill_engines.register(ENGINE, pkgutil.resolve_name(_ENGINE_HOME))
            except ImportError as error:
                raise PluginError(
                    f"papermill's engine {ENGINE!r} cannot be loaded: {error}", fix="python -m pip install cellway"
                ) from error
        logger = logging.getLogger("papermill")
        if _not_ours not in logger.filters:
            logger.addFilter(_not_ours)
        return papermill


def _not_ours(_record: logging.LogRecord) -> bool:
    return not _quiet.get()


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep papermill's log lines out of the user's sight, but only for our own calls: it may be in use elsewhere."""
    token = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(token)


def _locate(notebook: Any, step: str, error: CellwayError | None) -> CellwayError | None:
    """The error with its place in the author's notebook; made from the notebook where the author's code raised."""
    for cell in notebook.cells:
        if cell.cell_type == "code" and "injected-parameters" in cell.metadata.get("tags", ()):
            cell.metadata.setdefault("cellway", {"role": "injected"})
        if cell.metadata.get("cellway", {}).get("role") in _GENERATED:
            cell.metadata.setdefault("jupyter", {})["source_hidden"] = True
    failed = next(
        (cell for cell in notebook.cells if cell.metadata.get("papermill", {}).get("status") == "failed"), None
    )
    if failed is None:
        if error is not None and error.place is None:
            error.place = Place(step=step)
        return error
    raised = next((output for output in failed.get("outputs", ()) if output.output_type == "error"), None)
    traceback = tuple(raised.traceback) if raised is not None else ()
    line = _line("\n".join(traceback), failed.execution_count, failed.source)
    if error is None:
        ename, evalue = (raised.ename, raised.evalue) if raised is not None else ("Error", "the cell failed")
        error = CellFailed(f"{ename}: {evalue}", ename=ename, evalue=evalue, traceback=traceback)
    error.place = _place(failed, step, line)
    return error


def _place(cell: Any, step: str, line: int | None) -> Place:
    """Where a cell of a step notebook stands in the author's, by the metadata that conversion wrote."""
    origin = cell.metadata.get("cellway", {})
    lines = cell.source.splitlines() or [""]
    excerpt = lines[line - 1] if line is not None and 0 < line <= len(lines) else lines[0]
    if "cell" not in origin:
        return Place(excerpt=excerpt, step=step)
    shown = None
    if line is not None:
        shown = line + int(origin.get("offset", 0))
        for piece in origin.get("pieces", ()):  # carried statements, from various lines of one cell
            if piece["at"] <= line:
                shown = line - int(piece["at"]) + int(piece["line"])
    return Place(cell=int(origin["cell"]), line=shown, excerpt=excerpt, step=step)


def _line(traceback: str, execution: int | None, source: str) -> int | None:
    """Line of the cell in its innermost frame, from 1; ``None`` if no frame of the traceback is in this cell."""
    text = _ESCAPES.sub("", traceback)
    timed = _TIMED.findall(text)
    if timed:  # the body of a %%time cell is compiled by itself
        above = next((i for i, line in enumerate(source.splitlines(), 1) if line.lstrip().startswith("%%time")), 0)
        return int(timed[-1]) + above
    lines = [int(line) for count, line in _FRAME.findall(text) if execution is None or int(count) == execution]
    return lines[-1] if lines else None


def _write(path: str, notebook: Mapping[str, Any]) -> None:
    """Write an executed notebook so that a reader sees the old one, or the new one, and nothing between.

    Raises:
        StoreError: the folder cannot be written, or the disk is full.
    """
    text = json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # A lone surrogate in an output becomes the escape that JSON has for it.
        with temporary.open("w", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise StoreError(
            f"the executed notebook cannot be written: {error.strerror or error}",
            name=str(target),
            fix="make room on the disk (cellway gc), or look at the folder's permissions",
        ) from error
