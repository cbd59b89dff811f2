"""What a folder needs to run without cellway: ``run.py``, and the hand-over as a package of its own.

The package is a copy of ``cellway_magics.artifacts`` and of whatever it imports from cellway, found by following
imports, so that it stays complete as those files change; the packages' names are rewritten.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import math
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from cellway.conversion.naming import Generated
from cellway.errors import PluginError
from cellway.records import Parameter, Pipeline

ROOT = "cellway_magics.artifacts"
_PACKAGES = ("cellway_magics", "cellway")
_HEADER = """\
# SPDX-License-Identifier: BSD-3-Clause
# Part of cellway ({module}), copied so that this folder runs by itself.
"""
_INIT = '"""Hands values from step to step: copies of the parts of cellway that load and save them."""\n'


@lru_cache(maxsize=4)
def package(name: str) -> Mapping[str, str]:
    """The hand-over as a package.

    Args:
        name: what the package is called.

    Returns:
        Path inside the package → text.

    Raises:
        PluginError: a part of cellway is not there as source.
    """
    sources = _follow(ROOT)
    tops = {module.split(".")[1] for module in sources}
    files = {"__init__.py": _HEADER.format(module="cellway") + _INIT}
    for module, path in sorted(sources.items()):
        inner = module.split(".")[1:]
        file = "/".join(inner) + ("/__init__.py" if path.name == "__init__.py" else ".py")
        if file in files:
            raise PluginError(f"two parts of cellway would be copied to {file}", name=module)
        files[file] = _HEADER.format(module=module) + _renamed(path.read_text(encoding="utf-8"), tops, name)
    return files


def _follow(root: str) -> dict[str, Path]:
    """Modules of cellway that a module needs, itself included."""
    found: dict[str, Path] = {}
    waiting = [root]
    while waiting:
        module = waiting.pop()
        if module in found or "." not in module:
            continue
        path = _source(module)
        if path is None:
            if module == root:
                raise PluginError(f"{module} is not there as source", name=module, fix="install cellway again")
            continue
        found[module] = path
        waiting.append(module.rpartition(".")[0])
        waiting.extend(_needs(path))
    return found


def _source(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin and spec.origin.endswith(".py") else None


def _needs(path: Path) -> Iterator[str]:
    """Modules of cellway that a file names: in imports anywhere, and in texts (tables of what to load when)."""
    waiting: list[ast.AST] = [ast.parse(path.read_bytes())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting.extend(node.orelse)
            continue
        waiting.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if _ours(alias.name))
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in _PACKAGES:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _ours(node.value):
            yield node.value.partition(":")[0]
        elif isinstance(node, ast.JoinedStr) and node.values and isinstance(node.values[0], ast.Constant):
            start = str(node.values[0].value)
            if _ours(start) and start.endswith("."):
                yield from _inside(start.rstrip("."))


def _inside(package: str) -> Iterator[str]:
    path = _source(package)
    if path is not None and path.name == "__init__.py":
        yield from (f"{package}.{file.stem}" for file in sorted(path.parent.glob("*.py")) if file != path)


def _ours(text: str) -> bool:
    return re.fullmatch(r"cellway(_magics)?(\.\w+)*\.?(:\w+)?", text) is not None and text not in {
        "cellway",
        "cellway:",
    }


def _renamed(text: str, tops: set[str], name: str) -> str:
    """Source with cellway's packages called by another name; prose about cellway stays."""
    parts = "|".join(sorted(map(re.escape, tops)))
    text = re.sub(rf"(?<![\w./-])cellway(?:_magics)?(?=\.(?:{parts})\b)", name, text)
    return re.sub(r"(?m)^(\s*(?:from|import)\s+)cellway(?:_magics)?(?=\s)", rf"\g<1>{name}", text)


# --- run.py ----------------------------------------------------------------------------------------------------


def runner(pipeline: Pipeline, notebooks: Mapping[str, str], names: Generated, workdir: str, *, modules: bool) -> str:
    """``run.py``: the step notebooks in order, through papermill."""
    steps = "".join(
        f"    {json.dumps(notebooks[step.name])}: {json.dumps(list(step.parameters))},\n" for step in pipeline.steps
    )
    parameters = "".join(
        f"    {json.dumps(parameter.name)}: {_fields(parameter)},\n" for parameter in pipeline.parameters
    )
    template = (Path(__file__).parent / "run.py.txt").read_text(encoding="utf-8")
    for mark, value in {
        "«name»": pipeline.name,
        "«steps»": steps,
        "«parameters»": parameters,
        "«workdir»": json.dumps(workdir, ensure_ascii=False),
        "«handover»": json.dumps(names.handover),
        "«modules»": 'HERE / "modules", ' if modules else "",
    }.items():
        template = template.replace(mark, value)
    return template


def _fields(parameter: Parameter) -> str:
    fields = {"type": parameter.type, "default": parameter.default, "help": parameter.help}
    if parameter.choices:
        fields["choices"] = list(parameter.choices)
    if parameter.optional:
        fields["optional"] = True
    return "{" + ", ".join(f"{json.dumps(name)}: {_literal(value)}" for name, value in fields.items()) + "}"


def _literal(value: object) -> str:
    """A value as Python code."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    return repr(value)
