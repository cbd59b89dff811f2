"""The README of a converted folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cellway.conversion.naming import Generated
from cellway.records import Pipeline


def text(
    pipeline: Pipeline,
    notebooks: Mapping[str, str],
    names: Generated,
    workdir: str,
    standalone: bool,
    environment: str,
    *,
    modules: bool,
) -> str:
    """What is in the folder and how to run it."""
    parts = [_opening(pipeline, notebooks), _contents(pipeline, names, standalone, environment, modules=modules)]
    if standalone:
        parts.append(_with_runner(pipeline, environment))
    else:
        parts.append(_with_cellway(pipeline))
    parts += [
        _with_papermill(pipeline, notebooks, names, workdir, standalone, modules=modules),
        _edits(standalone),
    ]
    return "\n\n".join(parts) + "\n"


def _opening(pipeline: Pipeline, notebooks: Mapping[str, str]) -> str:
    rows = ["| | notebook | takes | gives |", "|---|---|---|---|"]
    for number, step in enumerate(pipeline.steps, start=1):
        takes = ", ".join(f"`{name}`" for name in step.inputs if not name.startswith("__"))
        gives = ", ".join(f"`{name}`" for name in step.outputs)
        rows.append(f"| {number} | [{step.name}]({notebooks[step.name]}) | {takes} | {gives} |")
    origin = Path(pipeline.source).name
    return (
        f"# {pipeline.name}\n\nA pipeline of {len(pipeline.steps)} notebooks, made from *{origin}* by cellway.\n\n"
        + "\n".join(rows)
    )


def _contents(pipeline: Pipeline, names: Generated, standalone: bool, environment: str, *, modules: bool) -> str:
    lines = ["`pipeline.yaml` says the same in words: parameters, steps, what flows between them."]
    if modules:
        lines.append("`modules/` holds the project's own modules as they were when the folder was written.")
    if environment:
        lines.append(f"`{environment}` names the distributions that the notebooks' imports reach, with their versions.")
    if standalone:
        lines.append(
            f"`{names.package}/` loads and saves the values that go from step to step. cellway itself is not needed."
        )
    return "\n".join(lines)


def _example(pipeline: Pipeline) -> str:
    plain = (p for p in pipeline.parameters if isinstance(p.default, (int, float)))
    return next((f" -p {p.name}={p.default}" for p in plain), "")


def _with_cellway(pipeline: Pipeline) -> str:
    command = f"cellway run .{_example(pipeline)}"
    return f"## Run it with cellway\n\n```sh\n{command}\n```\n\nFinished steps are kept and not run again."


def _with_runner(pipeline: Pipeline, environment: str) -> str:
    install = f"python -m pip install -r {environment}\n" if environment else ""
    return (
        f"## Run it\n\n```sh\n{install}python run.py{_example(pipeline)}\n```\n\n"
        "Each run gets a new folder in `runs/`: the executed notebooks, and in `artifacts/` the values."
    )


def _with_papermill(
    pipeline: Pipeline, notebooks: Mapping[str, str], names: Generated, workdir: str, standalone: bool, *, modules: bool
) -> str:
    lines = []
    path = [part for part, wanted in (("$PWD", standalone), ("$PWD/modules", modules)) if wanted]
    if path:
        lines.append(f'export PYTHONPATH="{":".join(path)}"')
    lines.append("mkdir -p executed")
    cwd = "" if workdir == "." else f' --cwd "{workdir}"'
    for step in pipeline.steps:
        notebook = notebooks[step.name]
        lines.append(f'papermill{cwd} {notebook} executed/{notebook} -p {names.handover} "$PWD/artifacts"')
    needs = "" if standalone else " (cellway must be installed: it loads and saves the values)"
    script = "\n".join(lines)
    return (
        f"## Step by step, with papermill{' alone' if standalone else ''}{needs}\n\n```sh\n{script}\n```\n\n"
        "In this order, from this folder. A parameter is set with `-p name value` at each step that lists it. The\n"
        "values are in `artifacts/`; remove that folder for a fresh start. In Jupyter, run the notebooks in the same\n"
        "order."
    )


def _edits(standalone: bool) -> str:
    follows = "" if standalone else "`cellway run` follows such changes.\n"
    return (
        "## What may be edited\n\n"
        f"The cells that came from the notebook, and cells added next to them.\n{follows}"
        "Cells tagged `cellway` are generated: parameters and options are changed in `pipeline.yaml`.\n"
        "Converting again brings the folder up to date, and stops before it would lose an edit."
    )
