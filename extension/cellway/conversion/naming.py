"""Names that generated cells may use: never one of the notebook's own."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cellway.records import Code, Pipeline


@dataclass(frozen=True, slots=True)
class Generated:
    """What generated cells call things.

    Attributes:
        artifacts: the module that loads and saves.
        handover: the papermill parameter that names the hand-over folder.
        package: the package of the standalone folder.
    """

    artifacts: str
    handover: str
    package: str


def generated(pipeline: Pipeline) -> Generated:
    """Names for one pipeline: the plain ones, or ``cellway_…`` where the notebook itself uses them."""
    names = {
        *(parameter.name for parameter in pipeline.parameters),
        *(name for step in pipeline.steps for name in (*step.reads, *step.writes, *step.optional)),
    }
    codes = [code for step in pipeline.steps for code in (*step.carried, *step.cells)]
    modules = {module.split(".")[0] for module in pipeline.modules}
    artifacts, handover = (_free(word, names, codes) for word in ("artifacts", "handover"))
    package = "handover" if "handover" not in modules else "notebook_handover"
    return Generated(artifacts, handover, package)


def _free(word: str, names: set[str], codes: Iterable[Code]) -> str:
    codes = tuple(codes)
    candidate = word
    while candidate in names or any(_uses(code.source, candidate) for code in codes):
        candidate = f"cellway_{word}" if candidate == word else f"{candidate}_"
    return candidate


def _uses(source: str, name: str) -> bool:
    if name not in source:
        return False
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        # Magics are not Python: any mention counts.
        return re.search(rf"\b{re.escape(name)}\b", source) is not None
    return any(found == name for found in _identifiers(tree))


def _identifiers(tree: ast.AST) -> Iterator[str]:
    """Every identifier of a tree but attributes and keywords."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant):
            continue
        for field, value in ast.iter_fields(node):
            if (isinstance(node, ast.Attribute) and field == "attr") or isinstance(node, ast.keyword):
                continue
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, str):
                    yield item.split(".")[0]
