"""One step → one notebook: nbformat 4.5 JSON that papermill, Jupyter and a reader understand.

The order of the cells: title · parameters · hand-over begin · symbols and setup · inputs · the user's cells · outputs.
The same step gives the same bytes. Every cell says in ``metadata.cellway`` what it is:

* ``role``: ``title``, ``parameters``, ``begin``, ``symbol``, ``setup``, ``inputs``, ``cell``, ``outputs``, ``text``;
* ``cell``, ``offset``: the notebook's cell that the code stands in (from 0), and what to add to a line of the step
  notebook's cell to get the line that the author sees;
* ``name``, ``fingerprint``: of the code, as in the key; a cell of several symbols lists them as ``pieces``;
* ``written``: digest of a generated cell's text, by which an edit by hand is noticed.
"""

from __future__ import annotations

import ast
import builtins
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from cellway import fingerprint
from cellway.conversion.naming import Generated, generated
from cellway.errors import Place, Refusal
from cellway.records import RANDOM, Code, Parameter, Pipeline, Step

FORMAT = 1
_WIDTH = 100
_ID_LENGTH = 64  # nbformat 4.5


def step_notebook(
    pipeline: Pipeline,
    step: Step | str,
    *,
    providers: Mapping[str, str] | None = None,
    outputs: Sequence[str] | None = None,
    optional: Sequence[str] | None = None,
    handover: str = "artifacts",
    standalone: bool = False,
    modules: str | None = None,
    seed: int | None = None,
) -> dict[str, Any]:
    """The notebook that executes one step.

    Args:
        pipeline: the pipeline that the step belongs to.
        step: the step, or its name.
        providers: name → step that provides it, if facts of earlier runs say more than the static rules
            (``step.inputs``).
        outputs: names to save, instead of ``step.outputs``.
        optional: names to save if they are small, instead of ``step.optional``.
        handover: default of the parameter that names the hand-over folder.
        standalone: whether the hand-over comes from the package in the exported folder instead of ``cellway_magics``.
        modules: folder of the project's own modules, put first on ``sys.path`` by the step; ``None`` if the modules
            are found where the step runs.
        seed: what the random generators start from, if no state is handed over; a request of ``cellway run`` says it
            anew.

    Returns:
        A notebook as nbformat 4.5 describes it, ready for :func:`notebook_text`.

    Raises:
        Refusal: the notebook's kernel is not Python.
        KeyError: the pipeline has no such step.
    """
    if isinstance(step, str):
        step = _find(pipeline, step)
    _only_python(pipeline, step)
    names = generated(pipeline)
    if providers is None:
        providers = step.inputs
    outputs = step.outputs if outputs is None else outputs
    optional = step.optional if optional is None else optional
    cells = [
        _title(pipeline, step, providers, outputs),
        _parameters(pipeline, step, names, handover),
        _begin(step, names, optional, standalone, modules, seed),
        *_carried(step),
        *_inputs(pipeline, step, names, providers),
        *(_own(code, "cell") for code in step.cells),
        _written("outputs", _call(f"{names.artifacts}.save", ["globals()", *map(_quote, outputs)])),
    ]
    _unique_ids(cells)
    about: dict[str, Any] = {"format": FORMAT, "pipeline": pipeline.name, "step": step.name}
    about["digest"] = digest_of(cells)
    return {
        "cells": cells,
        "metadata": {"cellway": about, **_kernel(pipeline, step)},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def handover_parameter(pipeline: Pipeline) -> str:
    """Name of the papermill parameter that says where a step's inputs and outputs are.

    ``handover``, unless the notebook itself uses that name.
    """
    return generated(pipeline).handover


def notebook_text(notebook: Mapping[str, Any]) -> str:
    """A notebook as text, in the layout that Jupyter writes."""
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def source_of(cell: Mapping[str, Any]) -> str:
    """Text of a cell of notebook JSON, which may be one string or a list of lines."""
    source = cell.get("source", "")
    return source if isinstance(source, str) else "".join(source)


def digest_of(cells: Iterable[Mapping[str, Any]]) -> str:
    """Digest of what cells say: outputs, and cells that papermill injected, do not count."""
    said = [
        [cell.get("cell_type", ""), source_of(cell), json.dumps(about(cell), sort_keys=True)]
        for cell in cells
        if not is_injected(cell)
    ]
    return fingerprint.digest("step notebook", said)[:16]


def about(cell: Mapping[str, Any]) -> Mapping[str, Any]:
    """A cell's ``metadata.cellway``, empty for cells that somebody added."""
    value = cell.get("metadata", {}).get("cellway", {})
    return value if isinstance(value, Mapping) else {}


def is_injected(cell: Mapping[str, Any]) -> bool:
    """Whether papermill put the cell there, with the parameters of one run."""
    return "injected-parameters" in cell.get("metadata", {}).get("tags", ())


def mark(source: str) -> str:
    """Short digest of a generated cell's text."""
    return fingerprint.text("generated cell", source)[:16]


def parameter_line(parameter: Parameter) -> str:
    """The assignment of a parameter as it stands in a parameters cell.

    Verbatim, but for an annotation that needs an import (``Literal["a", "b"]``): nothing is imported yet where the
    parameters stand, so it goes into quotes.
    """
    source = parameter.source.strip() or f"{parameter.name} = {parameter.default!r}"
    if ":" in source.partition("=")[0]:
        source = _quoted_annotation(source, parameter.name)
    if parameter.help and "#" not in source:
        source += f"  # {parameter.help}"
    return source


def _quoted_annotation(source: str, name: str) -> str:
    for node in ast.parse(source).body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name) or node.target.id != name:
            continue
        words = {n.id for n in ast.walk(node.annotation) if isinstance(n, ast.Name)}
        text = ast.get_source_segment(source, node.annotation)
        if words and text and not all(hasattr(builtins, word) for word in words):
            return source.replace(text, json.dumps(text, ensure_ascii=False), 1)
    return source


def _find(pipeline: Pipeline, name: str) -> Step:
    for step in pipeline.steps:
        if step.name == name:
            return step
    raise KeyError(name)


def _only_python(pipeline: Pipeline, step: Step) -> None:
    if pipeline.language.lower() not in {"python", "python3", "ipython"}:
        raise Refusal(
            f"the notebook's kernel runs {pipeline.language}; cellway hands values over between Python cells only",
            place=Place(step=step.name),
            fix="non-Python kernels come with a later version; until then, run this notebook as a whole with papermill",
        )


def _kernel(pipeline: Pipeline, step: Step) -> dict[str, Any]:
    name = step.options.kernel or pipeline.kernel or "python3"
    shown = "Python 3 (ipykernel)" if name == "python3" else name
    return {
        "kernelspec": {"display_name": shown, "language": "python", "name": name},
        "language_info": {"name": "python"},
    }


# --- cells -----------------------------------------------------------------------------------------------------


def _code(cell_id: str, source: str, metadata: dict[str, Any]) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": cell_id,
        "metadata": metadata,
        "outputs": [],
        "source": source.splitlines(keepends=True),
    }


def _written(role: str, source: str, *, tags: Sequence[str] = (), hidden: bool = False) -> dict[str, Any]:
    """A code cell that cellway wrote."""
    metadata: dict[str, Any] = {"cellway": {"role": role, "written": mark(source)}}
    if hidden:
        metadata["jupyter"] = {"source_hidden": True}
    metadata["tags"] = [*tags, "cellway"]
    return _code(f"cellway-{role}", source, metadata)


def _own(code: Code, role: str) -> dict[str, Any]:
    """A cell of the user's, verbatim."""
    said = {
        "role": role,
        "cell": code.cell,
        "offset": code.line - 1,
        "name": code.name,
        "fingerprint": code.fingerprint,
    }
    return _code(_valid_id(code.cell_id or f"cell-{code.cell + 1}"), code.source, {"cellway": said})


def _title(pipeline: Pipeline, step: Step, providers: Mapping[str, str], outputs: Sequence[str]) -> dict[str, Any]:
    source = PurePath(pipeline.source)
    origin = source.name if source.suffix else pipeline.name
    numbers = sorted({code.cell + 1 for code in step.cells})
    cells = f"{'cell' if len(numbers) == 1 else 'cells'} {_spoken([str(n) for n in numbers])}"
    place = f"Step {step.position + 1} of {len(pipeline.steps)} of *{origin}* ({cells})."
    text = "\n".join([f"# {step.name}", "", place, *_table(pipeline, step, providers, outputs)])
    metadata = {"cellway": {"role": "title", "written": mark(text)}, "tags": ["cellway"]}
    return {
        "cell_type": "markdown",
        "id": "cellway-title",
        "metadata": metadata,
        "source": text.splitlines(keepends=True),
    }


def _table(pipeline: Pipeline, step: Step, providers: Mapping[str, str], outputs: Sequence[str]) -> list[str]:
    """What goes in and out, one line per neighbour."""
    rows = []
    for provider in dict.fromkeys(providers.values()):
        names = [name for name in _ordered(step.reads, providers) if providers[name] == provider]
        rows.append(("in", _ticks(names), f"from **{provider}**"))
    if RANDOM in providers:
        rows.append(("in", "random state", f"from **{providers[RANDOM]}**"))
    rows += [
        ("parameter", _ticks([parameter.name]), parameter.help.replace("|", "\\|"))
        for parameter in pipeline.parameters
        if parameter.name in step.parameters
    ]
    readers: dict[tuple[str, ...], list[str]] = {}
    for name in outputs:
        users = tuple(s.name for s in pipeline.steps if s.inputs.get(name) == step.name)
        readers.setdefault(users, []).append(name)
    for users, names in readers.items():
        rows.append(("out", _ticks(names), f"to {_spoken([f'**{user}**' for user in users])}" if users else ""))
    if not rows:
        return []
    shown, last = ["", "| | | |", "|---|---|---|"], ""
    for kind, listed, note in (row for row in rows if row[1]):
        shown.append(f"| {kind if kind != last else ''} | {listed} | {note} |")
        last = kind
    return shown


def _parameters(pipeline: Pipeline, step: Step, names: Generated, handover: str) -> dict[str, Any]:
    lines = [parameter_line(parameter) for parameter in pipeline.parameters if parameter.name in step.parameters]
    lines = list(dict.fromkeys(lines))  # two on one line have the same source
    lines.append(f"{names.handover} = {_quote(handover)}  # folder from which inputs are read and to which outputs go")
    return _written("parameters", "\n".join(lines), tags=["parameters"])


def _begin(
    step: Step, names: Generated, optional: Sequence[str], standalone: bool, modules: str | None, seed: int | None
) -> dict[str, Any]:
    package = names.package if standalone else "cellway_magics"
    renamed = "" if names.artifacts == "artifacts" else f" as {names.artifacts}"
    arguments = [names.handover, f"step={_quote(step.name)}"]
    for keyword, values in (
        ("watch", [name for name in step.may_change if name in step.later]),
        ("later", list(step.later)),  # names of other steps too: they may share objects with what this one takes
        ("optional", list(optional)),
    ):
        if values:
            arguments.append(f"{keyword}=[{', '.join(map(_quote, values))}]")
    if step.draws:
        arguments.append("draws=True")
    elif seed is not None:
        arguments.append(f"seed={seed}")
    lines = [f"from {package} import artifacts{renamed}", ""]
    if modules is not None:
        lines[:0] = ["import sys", ""]
        lines += [f"sys.path.insert(0, {_quote(modules)})  # the project's own modules"]
    return _written("begin", "\n".join([*lines, _call(f"{names.artifacts}.begin", arguments)]), hidden=True)


def _inputs(pipeline: Pipeline, step: Step, names: Generated, providers: Mapping[str, str]) -> list[dict[str, Any]]:
    loaded = _ordered(step.reads, providers)
    lines = []
    if loaded:
        call = _call(f"{names.artifacts}.load", list(map(_quote, loaded)))
        target = ", ".join(loaded)
        if len(target) + len(call.partition("\n")[0]) + 3 > _WIDTH:
            target = "(\n" + _filled(loaded) + "\n)"
        lines.append(f"{target} = {call}")
    else:
        # Also without inputs: the state of the random generators is set here, after %%setup has run.
        lines.append(f"{names.artifacts}.load()")
    return [_written("inputs", "\n".join(lines))]


def _carried(step: Step) -> list[dict[str, Any]]:
    """Symbols and setup in notebook order; neighbours of one notebook cell stand in one cell."""
    cells: list[dict[str, Any]] = []
    run: list[Code] = []
    for code in step.carried:
        if run and (code.role != "symbol" or code.cell != run[0].cell):
            cells.append(_symbols(run))
            run = []
        if code.role == "symbol":
            run.append(code)
        else:
            cells.append(_own(code, code.role))
    if run:
        cells.append(_symbols(run))
    return cells


def _symbols(codes: Sequence[Code]) -> dict[str, Any]:
    """One cell of several carried statements, laid out as PEP 8 asks."""
    lines: list[str] = []
    pieces: list[dict[str, Any]] = []
    previous: Code | None = None
    for code in codes:
        if previous is not None:
            lines += [""] * _gap(previous, code)
        at = len(lines) + 1
        lines += code.source.split("\n")
        piece = {"name": code.name, "binds": list(code.binds), "at": at, "line": _start(code)}
        pieces.append(piece | {"fingerprint": code.fingerprint})
        previous = code
    first = codes[0]
    said: dict[str, Any] = {"role": "symbol", "cell": first.cell, "offset": _start(first) - 1}
    said["name"] = ", ".join(code.name for code in codes)
    said["fingerprint"] = first.fingerprint
    if len(codes) > 1:
        said["fingerprint"] = fingerprint.digest("symbols", [code.fingerprint for code in codes])
    source = "\n".join(lines)
    said |= {"id": first.cell_id, "pieces": pieces, "written": mark(source)}
    return _code(_valid_id(f"{first.cell_id or f'cell-{first.cell + 1}'}-symbols"), source, {"cellway": said})


_BLOCK = re.compile(r"^(?:async\s+def|def|class)\b", re.MULTILINE)


def _start(code: Code) -> int:
    """Line of the notebook's cell in which a symbol's text begins: its comments stand above its ``line``."""
    comments = 0
    for line in code.source.split("\n"):
        if not line.lstrip().startswith("#"):
            break
        comments += 1
    return max(1, code.line - comments)


def _gap(before: Code, after: Code) -> int:
    """Blank lines between two statements."""
    if _BLOCK.search(before.source) or _BLOCK.search(after.source):
        return 2
    end = _start(before) + before.source.count("\n")
    imports = [code.source.startswith(("import ", "from ")) for code in (before, after)]
    if all(imports):
        return 0  # lines between them are imports that the step does not use
    return 1 if any(imports) or _start(after) - end > 1 else 0


# --- text ------------------------------------------------------------------------------------------------------


def _ordered(reads: Sequence[str], providers: Mapping[str, str]) -> list[str]:
    names = [name for name in reads if name in providers]
    return [name for name in dict.fromkeys([*names, *providers]) if name != RANDOM]


def _quote(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)


def _ticks(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _spoken(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _call(function: str, arguments: Sequence[str]) -> str:
    line = f"{function}({', '.join(arguments)})"
    return line if len(line) <= _WIDTH else f"{function}(\n{_filled(arguments)}\n)"


def _filled(words: Sequence[str]) -> str:
    """Words with commas, in as few indented lines as fit."""
    lines = ["   "]
    for word in words:
        if len(lines[-1]) + len(word) + 2 > _WIDTH and lines[-1].strip():
            lines.append("   ")
        lines[-1] += f" {word},"
    return "\n".join(lines)


# --- ids -------------------------------------------------------------------------------------------------------


def _valid_id(wanted: str) -> str:
    """An id as nbformat 4.5 asks: 1 to 64 letters, digits, hyphens and underscores."""
    usable = re.sub(r"[^a-zA-Z0-9_-]", "-", wanted) or "cell"
    if usable != wanted or len(usable) > _ID_LENGTH:
        usable = f"{usable[: _ID_LENGTH - 9]}-{fingerprint.text('cell id', wanted)[:8]}"
    return usable


def _unique_ids(cells: list[dict[str, Any]]) -> None:
    """Mend ids that occur twice; the user's keep theirs."""
    seen = {cell["id"] for cell in cells if about(cell).get("role") in {"cell", "setup"}}
    taken: set[str] = set()
    for cell in cells:
        kept = about(cell).get("role") in {"cell", "setup"}
        number, wanted = 1, cell["id"]
        while cell["id"] in taken or (not kept and cell["id"] in seen):
            number += 1
            cell["id"] = _valid_id(f"{wanted}-{number}")
        taken.add(cell["id"])
