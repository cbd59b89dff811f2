"""Converted folder → pipeline: what ``pipeline.yaml`` and the cells of the step notebooks say now, edits included.

The folder is turned back into one notebook, each piece of code at the place that it came from, and then goes the way
of any notebook. So an edit by hand meets the same rules, and a folder has the same keys as its notebook: one cache for
both.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cellway import fingerprint
from cellway.conversion import manifest, merging
from cellway.conversion.notebooks import about, is_injected, mark, parameter_line, source_of
from cellway.errors import UsageError
from cellway.records import Diagnostic, Names, Notebook, Parameter, Pipeline

_GENERATED = {"parameters", "begin", "inputs", "outputs"}


def is_folder(path: str | Path) -> bool:
    """Whether a path is a folder written by :func:`~cellway.conversion.convert`."""
    return (Path(path) / manifest.NAME).is_file()


def workdir(folder: str | Path) -> Path:
    """Folder in which the steps of a converted pipeline run: where relative paths in its cells start.

    Raises:
        UsageError: the folder is no converted pipeline.
    """
    home = Path(os.path.abspath(folder))
    return Path(os.path.normpath(home / str(manifest.load(home).get("workdir", "."))))


def read_folder(
    folder: str | Path,
    *,
    analyse: Callable[[Notebook], Sequence[Names]],
    build: Callable[[Notebook, tuple[Names, ...]], Pipeline],
) -> Pipeline:
    """The pipeline that a converted folder holds.

    Args:
        folder: written by :func:`~cellway.conversion.convert`.
        analyse: :func:`cellway.analysis.analyse`.
        build: :func:`cellway.pipeline.build`.

    Returns:
        The pipeline, with ``source`` the folder.

    Raises:
        UsageError: the folder is incomplete, or was edited in a way that has two meanings.
        NotebookError: the edited cells cannot be a pipeline.
    """
    notebook = folder_notebook(folder)
    said = manifest.load(Path(notebook.path))
    pipeline = build(notebook, tuple(analyse(notebook)))
    wanted = {parameter.name: parameter for parameter in manifest.parameters(said)}
    parameters = tuple(_as_said(parameter, wanted.get(parameter.name, parameter)) for parameter in pipeline.parameters)
    if said.get("seeded") and not pipeline.seeded:
        # Seeded in a cell that no step carries (below the last step, or computed from a step's value).
        steps = tuple(dataclasses.replace(s, draws=s.options.seed is None) for s in pipeline.steps)
        pipeline = dataclasses.replace(pipeline, seeded=True, steps=steps)
    return dataclasses.replace(
        pipeline,
        name=str(said.get("name", pipeline.name)),
        source=notebook.path,
        parameters=parameters,
        diagnostics=(*pipeline.diagnostics, *_ignored(Path(notebook.path), said, pipeline)),
    )


def folder_notebook(folder: str | Path) -> Notebook:
    """A converted folder as one notebook: ``path`` is the folder, cells stand where they stood in the notebook.

    Raises:
        UsageError: the folder is incomplete, or was edited in a way that has two meanings.
    """
    home = Path(os.path.abspath(folder))
    said = manifest.load(home)
    merge = merging.Merge()
    texts: list[str] = []
    sources: dict[str, str] = {}
    for entry in said["steps"]:
        options = manifest.options(entry)
        name, cells = str(entry["name"]), _cells(home, str(entry["notebook"]))
        _only_own_edits(str(entry["notebook"]), cells)
        merge.add_step(name, str(entry["notebook"]), cells, options)
        sources.update(merging.parameter_sources(cells))
        texts += [name, repr(options), *(source_of(cell) for cell in cells)]
    for parameter in manifest.parameters(said):
        merge.add_parameter(parameter, sources.get(parameter.name, "") or _line(parameter))
    for test in said["tests"]:
        merge.add_test(test)
    return Notebook(
        path=str(home),
        cells=merge.cells(),
        kernel=said.get("kernel"),
        language=str(said.get("language", "python")),
        digest=fingerprint.digest("folder", texts, [repr(p) for p in manifest.parameters(said)]),
    )


def _cells(home: Path, notebook: str) -> list[Mapping[str, Any]]:
    path = home / notebook
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        return [cell for cell in cells if cell["cell_type"] == "code" and not is_injected(cell)]
    except FileNotFoundError:
        raise UsageError(
            f"{home} is incomplete: {notebook} is missing",
            name=notebook,
            fix=f"convert the notebook again, or take the step out of {manifest.NAME}",
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} cannot be read as a notebook: {error}", name=notebook, fix="mend it, or convert again"
        ) from None


def _only_own_edits(notebook: str, cells: Sequence[Mapping[str, Any]]) -> None:
    """Refuse edits of generated cells, which nothing would follow."""
    for cell in cells:
        role, source = about(cell).get("role"), source_of(cell)
        if role in _GENERATED and about(cell).get("written") != mark(source):
            shown = {"parameters": "the default under `parameters`"}.get(str(role), "the step's `options`")
            raise UsageError(
                f"{notebook}: the generated cell of the {role} was edited, which has no effect on a run",
                name=notebook,
                fix=f"undo the edit and change {shown} in {manifest.NAME}, or convert again with --overwrite",
            )


def _line(parameter: Parameter) -> str:
    """A parameter as an assignment, from its fields."""
    annotation = parameter.type or ""
    if parameter.choices:
        annotation = f"Literal[{', '.join(map(repr, parameter.choices))}]"
    if annotation and parameter.optional:
        annotation += " | None"
    shown = f": {annotation}" if annotation else ""
    return parameter_line(dataclasses.replace(parameter, source=f"{parameter.name}{shown} = {parameter.default!r}"))


def _as_said(built: Parameter, wanted: Parameter) -> Parameter:
    """A parameter with what ``pipeline.yaml`` says about it now."""
    fields = ("type", "default", "help", "choices", "optional")
    if all(getattr(built, field) == getattr(wanted, field) for field in fields):
        return built
    return dataclasses.replace(wanted, source=_line(wanted), cell=built.cell, line=built.line)


def _ignored(home: Path, said: Mapping[str, Any], pipeline: Pipeline) -> list[Diagnostic]:
    """Warnings about edits of ``pipeline.yaml`` that nothing follows."""
    if manifest.is_sealed((home / manifest.NAME).read_text(encoding="utf-8")):
        return []
    steps = {step.name: manifest.derived(step) for step in pipeline.steps}
    return [
        Diagnostic(
            "warning",
            "derived-field",
            f"{manifest.NAME}: {field!r} of step {entry['name']} follows from the step's cells; the edit has no effect",
            step=str(entry["name"]),
            fix="use the step's `options` or edit its cells",
        )
        for entry in said["steps"]
        for field in manifest.DERIVED
        if entry.get(field, []) != steps.get(str(entry["name"]), {}).get(field, [])
    ]
