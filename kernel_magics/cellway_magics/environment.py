"""Which installed distributions the step's imports reached, with their versions.

``importlib.metadata`` would read every file list of the environment; names and versions stand in the names of the
``.dist-info`` folders, and file lists are read only for packages that are called otherwise (``sklearn``, ``PIL``).
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

# The kernel's own machinery: it runs the cells, and nothing that a step computes depends on it.
_MACHINERY = frozenset(
    (
        "asttokens blake3 cellway cloudpickle comm debugpy decorator executing ipykernel ipython "
        "ipython_pygments_lexers jedi jupyter_client jupyter_core matplotlib_inline nbclient nbformat nest_asyncio "
        "papermill parso pexpect pip platformdirs prompt_toolkit psutil ptyprocess pure_eval pygments pyzmq setuptools "
        "stack_data tornado traitlets wcwidth"
    ).split()
)

# Packages whose module has another name than the distribution, for the many that need no search then.
_ALIASES = {
    "PIL": "pillow", "attr": "attrs", "bs4": "beautifulsoup4", "cv2": "opencv_python", "dateutil": "python_dateutil",
    "mpl_toolkits": "matplotlib", "pylab": "matplotlib", "skimage": "scikit_image", "sklearn": "scikit_learn",
    "yaml": "pyyaml", "zmq": "pyzmq", "pkg_resources": "setuptools",
}  # fmt: skip

_searched: set[str] = set()
_by_folder: dict[str, dict[str, tuple[str, str]]] = {}
_by_module: dict[str, tuple[str, str] | None] = {}


def distributions(namespace: Mapping[str, Any]) -> dict[str, str]:
    """Distribution → version of everything imported so far.

    Args:
        namespace: the notebook's; a module bound in it counts even if the kernel needs it, too.
    """
    bound = {value.__name__.partition(".")[0] for value in list(namespace.values()) if isinstance(value, ModuleType)}
    found = {}
    for name, module in list(sys.modules.items()):
        if "." in name or name.startswith("_"):
            continue
        if name not in _by_module:
            _by_module[name] = _distribution(name, module)
        known = _by_module[name]
        if known is not None and (_normal(known[0]) not in _MACHINERY or name in bound):
            found[known[0]] = known[1]
    return dict(sorted(found.items()))


def _distribution(name: str, module: ModuleType) -> tuple[str, str] | None:
    path = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), None)
    if not isinstance(path, str):
        return None
    folder, first = path, ""
    while True:
        folder, tail = os.path.split(folder)
        if not tail:
            return None
        first = tail
        if os.path.basename(folder) in {"site-packages", "dist-packages"}:
            break
    installed = _installed(folder)
    module_name = first.partition(".")[0]
    direct = installed.get(_normal(_ALIASES.get(module_name, module_name)))
    if direct is not None:
        return direct
    return _search(folder, installed, name)


def _installed(folder: str) -> dict[str, tuple[str, str]]:
    """Normalised name → name and version of what is installed in a folder."""
    if folder not in _by_folder:
        found = {}
        with contextlib.suppress(OSError):
            for entry in os.listdir(folder):
                if entry.endswith(".dist-info"):
                    name, _, version = entry.removesuffix(".dist-info").partition("-")
                    found[_normal(name)] = (name, version)
        _by_folder[folder] = found
    return _by_folder[folder]


def _search(folder: str, installed: dict[str, tuple[str, str]], module: str) -> tuple[str, str] | None:
    """The distribution whose file list has the module; what is learned on the way is kept."""
    for name, version in installed.values():
        info = os.path.join(folder, f"{name}-{version}.dist-info")
        if info in _searched:
            continue
        _searched.add(info)
        for top in _tops(info):
            _by_module.setdefault(top, (name, version))
        if _by_module.get(module) == (name, version):
            return name, version
    return None


def _tops(info: str) -> set[str]:
    with contextlib.suppress(OSError), open(os.path.join(info, "top_level.txt"), encoding="utf-8") as file:
        return {line.strip() for line in file if line.strip()}
    with contextlib.suppress(OSError), open(os.path.join(info, "RECORD"), encoding="utf-8") as file:
        tops = {line.partition(",")[0].partition("/")[0] for line in file}
        return {top.partition(".")[0] for top in tops if not top.endswith((".dist-info", "..", ".data"))}
    return set()


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()
