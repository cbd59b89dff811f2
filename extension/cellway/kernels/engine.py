"""papermill's engine ``cellway``: one kernel per notebook, supervised from start to end.

papermill keeps its say over parameters, metadata and error marks; nbclient keeps the protocol. What is added: progress
and streams as they come, an end within a second when asked for one, a limit for the whole notebook, words for a kernel
that died, and safety in threads. The last needs care: papermill changes the *process's* working directory when it is
given ``cwd``, so that two notebooks at a time would swap folders; the engine hands ``workdir`` to the kernel instead.

The engine works with papermill alone, too: ``papermill --engine cellway in.ipynb out.ipynb``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from queue import Empty
from typing import Any

from jupyter_client.kernelspec import NoSuchKernel
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine

from cellway.errors import Cancelled, KernelDied, StepError, StepTimeout
from cellway.kernels import launching

Keep = Callable[[Any], None]
Listen = Callable[[str, Mapping[str, Any]], None]

_TICK = 0.05
"""Seconds between two looks at the kernel's process and the wish to stop."""
_GRACE = 0.4
"""Seconds that an interrupted cell has to react, so that the executed notebook shows where it was."""
_POLITE = 5.0
"""Seconds that a kernel has to end by itself: exit handlers remove temporary files and flush what they buffer."""
_KEEP_EVERY = 10.0
"""Seconds after which the notebook so far is handed to ``keep`` again."""

_log = logging.getLogger(__name__)
_log.addHandler(logging.NullHandler())
_log.propagate = False


class Engine(NBClientEngine):  # type: ignore[misc]  # papermill has no types
    """What papermill knows as engine ``cellway``."""

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: Any,
        kernel_name: str,
        log_output: bool = False,
        stdout_file: Any = None,
        stderr_file: Any = None,
        start_timeout: float = 60,
        execution_timeout: int | None = None,
        *,
        workdir: str | None = None,
        env: Mapping[str, str] | None = None,
        step_timeout: float | None = None,
        listen: Listen | None = None,
        keep: Keep | None = None,
        cancelled: threading.Event | None = None,
        **traits: Any,
    ) -> None:
        """Execute the notebook that papermill manages.

        Args:
            nb_man: papermill's NotebookExecutionManager.
            kernel_name: name of the kernelspec.
            log_output: papermill's option of the same name, as are ``stdout_file`` and ``stderr_file``.
            stdout_file: see ``log_output``.
            stderr_file: see ``log_output``.
            start_timeout: seconds for the kernel's start.
            execution_timeout: seconds for a single cell.
            workdir: folder in which the kernel starts.
            env: environment variables on top of this process's.
            step_timeout: seconds for everything.
            listen: called with ``"cell"`` or ``"output"`` and the data of :class:`cellway.backends.JobEvent`.
            keep: called with the notebook so far at the start and every few seconds; it is the same object each time.
            cancelled: set to end the kernel.
            traits: further settings of nbclient.

        Raises:
            StepError: the kernel could not be started.
            StepTimeout: ``step_timeout`` passed.
            KernelDied: the kernel's process ended by itself.
            Cancelled: ``cancelled`` was set.
        """
        traits.pop("input_path", None)
        client = Client(
            nb_man,
            Watch(listen, keep, cancelled or threading.Event(), step_timeout, workdir, dict(env or {})),
            timeout=execution_timeout or traits.pop("timeout", None),
            startup_timeout=traits.pop("startup_timeout", start_timeout),
            kernel_name=kernel_name,
            log=_log,
            log_output=log_output,
            stdout_file=stdout_file,
            stderr_file=stderr_file,
            iopub_timeout=traits.pop("iopub_timeout", 30),
            **traits,
        )
        _run(client.drive)


class Watch:
    """What a caller wants to be told, and when to stop.

    Args: see :meth:`Engine.execute_managed_notebook`.
    """

    def __init__(
        self,
        listen: Listen | None,
        keep: Keep | None,
        cancelled: threading.Event,
        timeout: float | None,
        workdir: str | None,
        env: dict[str, str],
    ) -> None:
        self.listen = listen
        self.keep = keep
        self.cancelled = cancelled
        self.timeout = timeout
        self.workdir = workdir
        self.env = env


class Client(PapermillNotebookClient):  # type: ignore[misc]  # papermill has no types
    """Executes one notebook in one new kernel, in one event loop.

    Args:
        nb_man: papermill's NotebookExecutionManager.
        watch: whom to tell, and when to stop.
        traits: settings of nbclient.
    """

    km: Any
    kc: Any

    def __init__(self, nb_man: Any, watch: Watch, **traits: Any) -> None:
        super().__init__(nb_man, **traits)
        self.watch = watch
        self.running: int | None = None
        self._ready = False
        self._author = _author_cells(nb_man.nb)
        self._kept = 0.0

    async def drive(self) -> None:
        """Start the kernel, execute the cells, end the kernel; see :class:`Engine` for the errors."""
        deadline = None if self.watch.timeout is None else time.monotonic() + self.watch.timeout
        self.reset_execution_trackers()
        self.keep()
        with tempfile.TemporaryDirectory(prefix="cw-", ignore_cleanup_errors=True) as private:
            self.km = launching.manager(self.kernel_name, private)
            work = asyncio.ensure_future(self._work(Path(private)))
            try:
                await self._supervise(work, deadline, Path(private))
            except BaseException:
                await _drop(work)
                await self._end(polite=False)
                raise
            await self._end(polite=True)

    def keep(self) -> None:
        """Hand on the notebook so far."""
        self._kept = time.monotonic()
        if self.watch.keep is not None:
            self.watch.keep(self.nb)

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        """Pass streams on before nbclient files them as outputs."""
        if msg["msg_type"] == "stream" and self.watch.listen is not None:
            content = msg["content"]
            self.watch.listen("output", {"stream": content["name"], "text": content["text"]})
        return super().process_message(msg, cell, cell_index)

    async def _async_check_alive(self) -> None:
        # nbclient looks once more after the end, and would find no client.
        if self.kc is not None:
            await super()._async_check_alive()

    async def _work(self, private: Path) -> None:
        assert self.km is not None
        with (private / "kernel.log").open("wb") as log:
            await self.async_start_new_kernel(
                cwd=self.watch.workdir or os.getcwd(),  # what papermill itself would use
                env=launching.environment(self.km.kernel_spec, self.watch.env, private),
                stdin=None,
                stdout=log,
                stderr=log,
            )
        self.kc = self.km.client()
        self.kc.start_channels(stdin=False, hb=False, control=False)
        self.kc.allow_stdin = False
        self.nb.metadata["language_info"] = await _ready(self.kc, time.monotonic() + self.startup_timeout)
        self._ready = True
        await self._cells()
        self.set_widgets_metadata()

    async def _cells(self) -> None:
        """Execute cell by cell, with papermill's bookkeeping; like papermill, stop at the first cell that fails."""
        for index, cell in enumerate(self.nb.cells):
            self.running = index
            if index in self._author and self.watch.listen is not None:
                self.watch.listen("cell", {"cell": self._author[index], "cells": len(self._author)})
            try:
                self.nb_man.cell_start(cell, index)
                await self.async_execute_cell(cell, index)
            except CellExecutionError as error:
                self.nb_man.cell_exception(self.nb.cells[index], cell_index=index, exception=error)
                break
            finally:
                self.nb_man.cell_complete(self.nb.cells[index], cell_index=index)
            self.running = None
            if time.monotonic() - self._kept > _KEEP_EVERY:
                self.keep()

    async def _supervise(self, work: asyncio.Future[None], deadline: float | None, private: Path) -> None:
        while not work.done():
            await asyncio.wait({work}, timeout=_TICK)
            if work.done():
                break
            if self.watch.cancelled.is_set():
                await self._interrupt(work, at_once=getattr(self.watch.cancelled, "at_once", False))
                raise Cancelled("cancelled")
            if deadline is not None and time.monotonic() > deadline:
                await self._interrupt(work)
                raise StepTimeout(
                    f"took longer than its timeout of {self.watch.timeout:g} s",
                    fix="raise --timeout, or find out in the executed notebook what takes so long",
                )
            if (code := await self._exit_code()) is not None:
                # What the kernel said last may still be on its way.
                await asyncio.wait({work}, timeout=_GRACE)
                raise self._died(code, private)
        try:
            work.result()
        except (DeadKernelError, _NotReady) as error:
            raise self._died(await self._exit_code(), private) from error
        except CellTimeoutError as error:
            self._mark_failed()
            raise StepTimeout(f"a cell gave no sign of life: {error}".strip()) from error
        except (NoSuchKernel, OSError) as error:
            if self._ready:
                raise
            raise launching.cannot_start(self.kernel_name, error) from error

    async def _interrupt(self, work: asyncio.Future[None], at_once: bool = False) -> None:
        """Interrupt the cell that runs, so that its traceback shows where it was, but do not wait for long."""
        assert self.km is not None
        if self.running is not None and not at_once:
            with contextlib.suppress(RuntimeError, OSError):
                await self.km.interrupt_kernel()
            await asyncio.wait({work}, timeout=_GRACE)
        self._mark_failed()

    def _mark_failed(self) -> None:
        if self.running is not None:
            self.nb_man.cell_exception(self.nb.cells[self.running], cell_index=self.running, exception=None)

    async def _exit_code(self) -> int | None:
        """Exit code of the kernel's process, negative for a signal; ``None`` while it runs or before it was started."""
        if self.km is None or not self.km.has_kernel:
            return None
        code: int | None = await self.km.provisioner.poll()
        return code

    def _died(self, code: int | None, private: Path) -> StepError:
        self._mark_failed()
        said = ""
        with contextlib.suppress(OSError):
            said = (private / "kernel.log").read_text("utf-8", "replace")
        if not self._ready and self.km is not None:
            return launching.did_not_start(self.kernel_name, self.km.kernel_spec, code, said)
        return KernelDied(_last_words(code, said), fix=_advice(code))

    async def _end(self, polite: bool) -> None:
        """End the kernel's process and all it started, close the sockets; never raises."""
        manager, client = self.km, self.kc
        self.km = self.kc = None
        if manager is None:
            return
        with contextlib.suppress(Exception):
            if manager.has_kernel:
                await _end_process(manager, polite, self.watch.cancelled)
        with contextlib.suppress(Exception):
            if client is not None:
                client.stop_channels()
        with contextlib.suppress(Exception):
            await manager.cleanup_resources()


class _NotReady(Exception):
    """The kernel did not answer in time."""


async def _ready(client: Any, deadline: float) -> Any:
    """Wait until the kernel answers and its outputs reach us; its ``language_info``.

    The stock wait ends by listening for 0.2 s into the silence. One answered question is enough: when its "idle"
    arrives as an output, the subscription stands; if it was sent before that, we ask again.
    """
    while time.monotonic() < deadline:
        asked = client.kernel_info()
        try:
            while True:
                reply = await client.get_shell_msg(timeout=max(0.1, deadline - time.monotonic()))
                if reply["parent_header"].get("msg_id") == asked:
                    break
            while True:
                message = await client.get_iopub_msg(timeout=0.2)
                if (
                    message["parent_header"].get("msg_id") == asked
                    and message["content"].get("execution_state") == "idle"
                ):
                    return reply["content"]["language_info"]
        except Empty:
            continue
    raise _NotReady


async def _end_process(manager: AsyncKernelManager, polite: bool, hurry: threading.Event) -> None:
    provisioner = manager.provisioner
    assert provisioner is not None
    if polite:
        await manager.request_shutdown()
        deadline = time.monotonic() + _POLITE
        while await provisioner.poll() is None and time.monotonic() < deadline and not hurry.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    # Also after a polite end: the kernel leads a process group of its own, and nothing of it may outlive the step.
    with contextlib.suppress(ValueError, OSError):
        await provisioner.kill()
    while await provisioner.poll() is None:  # noqa: ASYNC110  # a process of another session sets no event
        await asyncio.sleep(0.005)
    await provisioner.wait()


async def _drop(task: asyncio.Future[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):
        await task


def _author_cells(notebook: Any) -> dict[int, int]:
    """Index → count of the author's cells; of all code cells in a notebook that cellway did not make."""
    code = [index for index, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    own = [index for index in code if notebook.cells[index].metadata.get("cellway", {}).get("role") == "cell"]
    return {index: count for count, index in enumerate(own or code, 1)}


def _last_words(code: int | None, said: str) -> str:
    if code is None:
        text = "the kernel stopped answering"
    elif code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        text = f"the kernel was killed by {name}"
        if name == "SIGKILL":
            text += ", probably because memory ran out"
        elif name in {"SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL", "SIGFPE"}:
            text += ", a crash in native code"
    else:
        text = f"the kernel's process ended with exit code {code}"
        if code == 0:
            text += " (exit() or quit() in a cell?)"
    tail = launching.tail(said)
    return f"{text}; its last words:\n{tail}" if tail else text


def _advice(code: int | None) -> str:
    if code is not None and -code == getattr(signal, "SIGKILL", 9):
        return "run fewer steps at a time (--jobs 1), work on less data at once, or use a machine with more memory"
    return ""


def _run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine to its end in an event loop of its own, whatever the calling thread is doing."""

    def run() -> None:
        # zmq needs a loop that can watch sockets, which the default one on Windows cannot.
        factory = asyncio.SelectorEventLoop if sys.platform == "win32" else None
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main())

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        run()
        return
    failure: list[BaseException] = []

    def guarded() -> None:
        try:
            run()
        except BaseException as error:  # noqa: BLE001  # raised again in the caller's thread
            failure.append(error)

    thread = threading.Thread(target=guarded, name="cellway notebook")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
