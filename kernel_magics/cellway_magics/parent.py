"""A kernel does not outlive the run that started it, and neither does what its cells started."""

from __future__ import annotations

import _thread
import os
import signal
import time

_POLL = 0.1
"""Seconds between two looks. Shorter than ipykernel's own, which ends the kernel alone."""

_following = False


def follow() -> None:
    """End this kernel's process group as soon as the process that started it is gone, by SIGKILL or a crash.

    Only where that process said who it is and gave the kernel a group of its own, as Jupyter does. A thread polls: a
    signal of the parent's death (Linux) would come at the end of the thread that started the kernel.
    """
    global _following  # noqa: PLW0603
    if _following or os.name != "posix" or os.getpgrp() != os.getpid():
        return
    if os.environ.get("JPY_PARENT_PID") != str(os.getppid()):
        return
    _following = True
    _thread.start_new_thread(_poll, (os.getppid(), os.getpid()))


def _poll(parent: int, kernel: int) -> None:
    while os.getpid() == kernel:
        if os.getppid() != parent:
            os.killpg(kernel, signal.SIGKILL)
        time.sleep(_POLL)
