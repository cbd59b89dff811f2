"""Installed distributions of the interpreter that runs the steps.

Reading the metadata of everything that is installed takes about half a second, so what was found is kept in
``.cellway/cache``, with the stat of each metadata folder. On a run in which nothing runs, only these are looked at.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

from cellway import fingerprint
from cellway.errors import UsageError
from cellway.planning.modules import OWN

_FORMAT = 1


class Environment:
    """What is installed for one interpreter.

    Attributes:
        paths: folders of ``sys.path``.
        sources: folders on ``sys.path`` that hold plain source rather than installed packages (``PYTHONPATH``, editable
            installs).
        elsewhere: first name → folders, of editable installs that are not on ``sys.path``.
    """

    def __init__(self, snapshot: Mapping[str, Any]) -> None:
        self.python = f"{snapshot['implementation']} {snapshot['version']}"
        self.sources: list[str] = snapshot["sources"]
        self.elsewhere: dict[str, list[str]] = snapshot["elsewhere"]
        self.paths: list[str] = snapshot["paths"]
        self._sites: list[str] = snapshot["sites"]
        self._standard = frozenset(snapshot["standard"])
        self._modules: dict[str, list[str]] = snapshot["modules"]
        self._distributions: dict[str, tuple[str, str, list[str]]] = snapshot["distributions"]

    def unknown(self, modules: Iterable[str]) -> list[str]:
        """First names that belong neither to a distribution nor to the standard library."""
        known = (self._modules, self._standard, OWN)
        return sorted(name for name in modules if not any(name in names for names in known))

    def strays(self, module: str) -> list[str]:
        """Folders of installed packages in which a module lies that no distribution owns."""
        return [
            site
            for site in self._sites
            if os.path.isdir(os.path.join(site, module)) or os.path.isfile(os.path.join(site, module + ".py"))
        ]

    def distributions(self, modules: Iterable[str]) -> dict[str, str]:
        """Distributions to which modules belong, and what these require, and so on: name → version."""
        found: dict[str, str] = {}
        queue = [name for module in modules for name in self._modules.get(module, ()) if module not in OWN]
        while queue:
            name = queue.pop()
            entry = self._distributions.get(name)
            if entry is not None and entry[0] not in found:
                found[entry[0]] = entry[1]
                queue += entry[2]
        return found

    def version(self, distribution: str) -> str | None:
        """Of a distribution by any spelling of its name; ``None`` if it is not installed."""
        entry = self._distributions.get(distribution) or self._distributions.get(_normalised(distribution))
        return entry[1] if entry is not None else None


def interpreter(kernel: str | None) -> str:
    """Path of the Python that a kernelspec starts.

    Args:
        kernel: name of the kernelspec; ``None`` and ``python3`` without a kernelspec are this interpreter's own.

    Raises:
        UsageError: there is no such kernelspec.
    """
    if kernel is None:
        return sys.executable
    spec = _kernelspec(kernel)
    if spec is None:
        if kernel == "python3":
            return sys.executable
        raise UsageError(
            f"there is no kernel named {kernel!r} on this machine",
            name=kernel,
            fix=f"`python -m ipykernel install --user --name {kernel}`, with the python of its environment, installs "
            "it; or choose another one (`jupyter kernelspec list`) in the notebook, or with `%%step NAME --kernel`",
        )
    command = spec.get("argv") or [""]
    # Jupyter puts its own interpreter in the place of a bare name, too.
    bare = {"python", f"python{sys.version_info[0]}", "python{}.{}".format(*sys.version_info[:2])}
    return sys.executable if command[0] in bare else str(command[0])


def language(kernel: str | None) -> str:
    """Language of a kernelspec in lower case; ``python`` if there is no such kernelspec."""
    spec = _kernelspec(kernel) if kernel is not None else None
    return str((spec or {}).get("language") or "python").lower()


def load(python: str, folder: str) -> Environment:
    """What is installed for an interpreter.

    Args:
        python: path of the interpreter.
        folder: where what was found is kept.

    Raises:
        UsageError: the interpreter does not start.
    """
    search = [os.environ.get(name, "") for name in ("PYTHONPATH", "PYTHONHOME", "PYTHONNOUSERSITE")]
    name = fingerprint.digest("environment", _FORMAT, python, search)[:16]
    path = os.path.join(folder, f"environment-{name}.json")
    try:
        with open(path, encoding="utf-8") as file:
            kept = json.load(file)
        if kept["stamp"] == _stamp(python, kept["snapshot"]["paths"]):
            return Environment(kept["snapshot"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # never made, or half of it: it is made anew
    begun = time.time_ns()
    snapshot = _ask(python)
    if all(_modified(site) < begun - 2_000_000_000 for site in snapshot["sites"]):
        # Else something is being installed right now, and the answer may be older than the stamp.
        _keep(path, {"stamp": _stamp(python, snapshot["paths"]), "snapshot": snapshot})
    return Environment(snapshot)


def _ask(python: str) -> dict[str, Any]:
    import subprocess

    script = os.path.join(os.path.dirname(__file__), "interpreter.py")
    with open(script, encoding="utf-8") as file:
        text = file.read()
    try:
        done = subprocess.run([python, "-c", text], capture_output=True, text=True, check=True, timeout=120)
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        told = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        raise UsageError(
            f"cannot ask {python} what is installed: {told[-1] if told else type(error).__name__}",
            name=python,
            fix="the kernel's interpreter must start; `jupyter kernelspec list` shows where each kernel is defined",
        ) from error
    return answer


def _keep(path: str, value: Mapping[str, Any]) -> None:
    temporary = f"{path}.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(value, file)
        os.replace(temporary, path)
    except OSError:
        pass  # it is a cache: without it the next plan only takes longer


def _stamp(python: str, paths: Iterable[str]) -> str:
    """Changes whenever something is installed, removed or upgraded."""
    stamps: list[Any] = [_stat(python)]
    for path in paths:
        try:
            entries = list(os.scandir(path))
        except OSError:
            stamps.append([path])
            continue
        metadata = sorted(
            entry.name for entry in entries if entry.name.endswith((".dist-info", ".egg-info", ".egg-link", ".pth"))
        )
        stamps.append([path, [[name, _stat(path, name), _stat(path, name, "METADATA")] for name in metadata]])
    return fingerprint.digest("stamp", stamps)


def _modified(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _stat(*parts: str) -> str:
    try:
        stat = os.stat(os.path.join(*parts))
    except OSError:
        return ""
    return f"{stat.st_mtime_ns}:{stat.st_ino}"


def specifications(kernel: str | None) -> list[str]:
    """Paths at which Jupyter looks for the ``kernel.json`` of a kernel (its documentation, "data files"), in order."""
    if kernel is None:
        return []
    home = os.path.expanduser("~")
    folders = [path for path in os.environ.get("JUPYTER_PATH", "").split(os.pathsep) if path]
    folders.append(os.environ.get("JUPYTER_DATA_DIR") or _user_folder(home))
    folders.append(os.path.join(sys.prefix, "share", "jupyter"))
    folders += [os.path.join(os.environ.get("PROGRAMDATA", "C:\\ProgramData"), "jupyter")] if os.name == "nt" else []
    folders += ["/usr/local/share/jupyter", "/usr/share/jupyter"] if os.name != "nt" else []
    names = dict.fromkeys((kernel, kernel.lower()))
    return [os.path.join(folder, "kernels", name, "kernel.json") for folder in folders for name in names]


def _kernelspec(name: str) -> Mapping[str, Any] | None:
    for path in specifications(name):
        try:
            with open(path, encoding="utf-8") as file:
                spec: Mapping[str, Any] = json.load(file)
            return spec
        except (OSError, ValueError):
            continue
    return None


def _user_folder(home: str) -> str:
    if os.name == "nt":
        return os.path.join(os.environ.get("APPDATA", home), "jupyter")
    if sys.platform == "darwin":
        return os.path.join(home, "Library", "Jupyter")
    return os.path.join(os.environ.get("XDG_DATA_HOME") or os.path.join(home, ".local", "share"), "jupyter")


def _normalised(name: str) -> str:
    import re

    return re.sub(r"[-_.]+", "-", name).lower()
