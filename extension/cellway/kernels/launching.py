"""How a kernel's process is started: transport, environment, and what to say when it does not start."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
from jupyter_client.manager import AsyncKernelManager

from cellway.errors import StepError

_SOCKET_LIMIT = 90
"""Characters of a folder in which sockets still fit into the 104 bytes that the smallest system allows."""
_USUAL = re.compile(r"frozen modules|PYDEVD_|make the debugger|Debugging will proceed|Parent appears to have exited")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


def manager(kernel: str, private: str) -> AsyncKernelManager:
    """A manager whose connection file and sockets lie in a private folder.

    Sockets in a folder of mode 0700 need no free ports and can be reached by nobody else. Where a path is too long for
    them, or the system has none, the loopback interface is used.

    Args:
        kernel: name of a kernelspec.
        private: an existing folder; the caller removes it.
    """
    settings: dict[str, Any] = {"kernel_name": kernel, "connection_file": str(Path(private, "kernel.json"))}
    if sys.platform != "win32" and len(private) <= _SOCKET_LIMIT:
        settings |= {"transport": "ipc", "ip": str(Path(private, "k"))}
    return AsyncKernelManager(**settings)


def environment(spec: Any, extra: Mapping[str, str], private: Path) -> dict[str, str]:
    """Environment variables for a kernel: this process's, the caller's, and a way to find cellway.

    Sets of strings must iterate alike in every kernel, or equal code gives unequal bytes: hence the fixed hash seed.
    """
    env = {**os.environ, "PYTHONHASHSEED": "0", **extra}
    if spec.language == "python" and not _is_own(spec.argv[0]):
        path = _links(private / "path")
        env["PYTHONPATH"] = os.pathsep.join([path, *filter(None, [env.get("PYTHONPATH")])])
    return env


def cannot_start(kernel: str, error: Exception) -> StepError:
    """Words for a kernelspec that is missing or whose command cannot be run."""
    if isinstance(error, NoSuchKernel):
        known = sorted(KernelSpecManager().find_kernel_specs())
        there = f"there are: {', '.join(known)}" if known else "there are none"
        return StepError(
            f"the kernel {kernel!r} is not installed ({there})",
            name=kernel,
            fix=f"python -m ipykernel install --user --name {kernel}  (with the python of that environment), "
            "or choose another kernel with --kernel",
        )
    return StepError(
        f"the kernel {kernel!r} cannot be started: {error}",
        name=kernel,
        fix=f"jupyter kernelspec list  (look at {kernel})",
    )


def did_not_start(kernel: str, spec: Any, code: int | None, said: str) -> StepError:
    """Words for a kernel's process that ended, or kept silent, before it was ready."""
    what = "did not answer in time" if code is None else f"ended before it was ready (exit code {code})"
    if re.search(r"No module named '?ipykernel", said):
        python = spec.argv[0]
        return StepError(
            f"the kernel {kernel!r} cannot be started: ipykernel is not installed for {python}",
            name=kernel,
            fix=f"{python} -m pip install ipykernel",
        )
    words = tail(said)
    return StepError(
        f"the kernel {kernel!r} {what}" + (f"; its last words:\n{words}" if words else ""),
        name=kernel,
        fix=f"try it by itself: jupyter run --kernel {kernel}",
    )


def tail(said: str, lines: int = 12) -> str:
    """The last lines of what a process said, without colours and without what ipykernel always says."""
    text = _ESCAPES.sub("", said)
    kept = [line.rstrip() for line in text.splitlines() if line.strip() and not _USUAL.search(line)]
    return "\n".join(kept[-lines:])


def _is_own(command: str) -> bool:
    """Whether a kernelspec's command is this interpreter (jupyter_client takes a bare ``python`` for it)."""
    own = Path(sys.executable)
    if command in {"python", "python3", f"python{sys.version_info.major}.{sys.version_info.minor}", "{executable}"}:
        return True
    # Not resolved: the interpreters of two virtual environments are links to the same file.
    return Path(command) in {own, own.parent / "python", own.parent / "python3"}


def _links(folder: Path) -> str:
    """A folder with nothing but our two packages, for an interpreter that has its own site-packages.

    The whole of our site-packages would shadow the versions that the other environment has installed on purpose.
    """
    from importlib.util import find_spec

    folder.mkdir()
    for name in ("cellway", "cellway_magics"):
        spec = find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            continue
        home = Path(next(iter(spec.submodule_search_locations)))
        try:
            (folder / name).symlink_to(home, target_is_directory=True)
        except OSError:  # no right to make links (Windows)
            shutil.copytree(home, folder / name, ignore=shutil.ignore_patterns("__pycache__", "labextension"))
    return str(folder)
