"""What is installed for the interpreter that runs this file; printed as JSON.

Run by other interpreters than cellway's own, too: standard library only, for every Python from 3.8 on, and nothing of
cellway. See :mod:`cellway.planning.environment`.
"""

from __future__ import annotations

import json
import os
import re
import sys


def main() -> None:
    """Print it."""
    if sys.path and sys.path[0] == "":
        del sys.path[0]  # the folder in which this was started
    import sysconfig

    paths = [os.path.abspath(path) for path in sys.path]
    standard = {os.path.abspath(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
    standard |= {os.path.join(path, "lib-dynload") for path in standard}
    standard |= {path for path in paths if path.endswith(".zip")}
    sites = [path for path in paths if os.path.basename(path) in ("site-packages", "dist-packages")]
    distributions, modules, elsewhere = installed()
    sys.stdout.write(
        json.dumps(
            {
                "implementation": sys.implementation.name,
                "version": "{}.{}".format(*sys.version_info[:2]),
                "standard": sorted(standard_modules(standard)),
                "paths": paths,
                "sites": sites,
                "sources": [path for path in paths if path not in standard and path not in sites],
                "distributions": distributions,
                "modules": modules,
                "elsewhere": elsewhere,
            }
        )
    )


def standard_modules(folders: set[str]) -> set[str]:
    """First names of the standard library."""
    names = set(getattr(sys, "stdlib_module_names", sys.builtin_module_names))
    if not hasattr(sys, "stdlib_module_names"):
        for folder in folders:
            if os.path.isdir(folder):
                names |= {entry.split(".")[0] for entry in os.listdir(folder)}
    return names


def installed() -> tuple[dict[str, list[object]], dict[str, list[str]], dict[str, list[str]]]:
    """Distributions (name → shown name, version, requirements), modules → distributions, editable modules → folders."""
    from importlib import metadata

    distributions: dict[str, list[object]] = {}
    modules: dict[str, list[str]] = {}
    elsewhere: dict[str, list[str]] = {}
    for distribution in metadata.distributions():
        shown = distribution.metadata["Name"]
        if not shown:
            continue
        name = re.sub(r"[-_.]+", "-", shown).lower()
        if name in distributions:
            continue  # shadowed by an earlier entry of sys.path
        required = set()
        for requirement in distribution.requires or ():
            match = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", requirement)
            if match and not re.search(r"\bextra\s*==", requirement):
                required.add(re.sub(r"[-_.]+", "-", match[0]).lower())
        distributions[name] = [shown, distribution.version, sorted(required)]
        for module in modules_of(distribution):
            modules.setdefault(module, []).append(name)
        for module, folder in editable(distribution):
            modules.setdefault(module, []).append(name)
            elsewhere.setdefault(module, []).append(folder)
    return distributions, modules, elsewhere


def modules_of(distribution: object) -> set[str]:
    """First names of the modules of a distribution."""
    names = set((distribution.read_text("top_level.txt") or "").split())  # type: ignore[attr-defined]
    for file in distribution.files or ():  # type: ignore[attr-defined]
        first, _, rest = str(file).replace("\\", "/").partition("/")
        if rest:
            names.add(first)
        elif first.endswith((".py", ".so", ".pyd")):
            names.add(first.split(".")[0])
    return {name for name in names if name.isidentifier() and name != "__pycache__"}


def editable(distribution: object) -> list[tuple[str, str]]:
    """``(module, folder)`` of an editable install whose finder maps names to folders (setuptools' way)."""
    found = []
    for file in distribution.files or ():  # type: ignore[attr-defined]
        if re.match(r"__editable__.*finder\.py$", str(file)):
            try:
                with open(str(distribution.locate_file(file)), encoding="utf-8") as stream:  # type: ignore[attr-defined]
                    text = stream.read()
            except OSError:
                continue
            mapping = re.search(r"^MAPPING[^=]*=\s*(\{.*\})\s*$", text, re.MULTILINE)
            if mapping:
                import ast

                for module, path in ast.literal_eval(mapping[1]).items():
                    found.append((module.split(".")[0], os.path.dirname(path)))
    return found


if __name__ == "__main__":
    main()
