"""Whether the process that runs a run still lives."""

from __future__ import annotations

import os


def host() -> str:
    """Name of this machine, as it stands in :class:`~cellway.records.Run`."""
    if hasattr(os, "uname"):
        return os.uname().nodename  # what gethostname() gives, without importing sockets
    import socket

    return socket.gethostname()


def born(pid: int) -> str:
    """A mark of when a process on this machine started: a process id is used again, the pair with this mark is not.

    Returns:
        ``""`` if there is no such process; ``"?"`` if there is one, and this platform does not tell more.
    """
    if os.path.exists("/proc/self/stat"):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                stat = file.read()
        except OSError:
            return ""
        # Field 2 is the program's name in parentheses and may itself contain spaces and parentheses (proc(5)).
        fields = stat.rpartition(")")[2].split()
        if fields[0] in {"Z", "X"}:
            return ""
        return f"{_boot()}.{fields[19]}"
    return _asked(pid)


def alive(where: str, pid: int, mark: str) -> bool:
    """Whether the process that :func:`born` marked still runs.

    Of another machine nothing is known: what runs there counts as alive.
    """
    if where != host():
        return True
    now = born(pid)
    return bool(now) and ("?" in {now, mark} or now == mark)


def _boot() -> str:
    # The start time in /proc counts from the boot, so that it alone could repeat after a reboot.
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _asked(pid: int) -> str:
    import importlib

    try:
        psutil = importlib.import_module("psutil")  # comes with ipykernel
    except ImportError:
        return _exists(pid)
    try:
        return str(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return ""
    except psutil.Error:
        return "?"


def _exists(pid: int) -> str:
    if os.name == "nt":  # os.kill(pid, 0) would end the process there
        return "?"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        return "?"
    return "?"
